// A tokenizer whose answers must not be errors, for tests.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "models/tokenizer/base/tokenizer.h"

namespace deltaserve {

class SureTokenizer {
 public:
  SureTokenizer() = default;
  explicit SureTokenizer(std::unique_ptr<Tokenizer> tokenizer) : tokenizer_(std::move(tokenizer)) {}

  // Lets a SureTokenizer be used like a pointer to a tokenizer.
  const SureTokenizer* operator->() const { return this; }

  std::vector<int32_t> encode(std::string_view text) const {
    return tokenizer_->encode(text).value();
  }
  std::vector<int32_t> encode_as_text(std::string_view text) const {
    return tokenizer_->encode_as_text(text).value();
  }
  std::vector<int32_t> encode_parts(std::span<const TextPart> parts) const {
    return tokenizer_->encode_parts(parts).value();
  }
  std::string decode(const std::vector<int32_t>& tokens,
                     SpecialTokens special = SpecialTokens::kSkip) const {
    return tokenizer_->decode(tokens, special).value();
  }
  int32_t size() const { return tokenizer_->size(); }
  int32_t piece_id(std::string_view piece) const { return tokenizer_->piece_id(piece); }
  std::string piece(int32_t id) const { return tokenizer_->piece(id); }
  const Vocabulary& vocabulary() const { return tokenizer_->vocabulary(); }

 private:
  std::unique_ptr<Tokenizer> tokenizer_;
};

}  // namespace deltaserve
