// The bytes of each token, separate from the tokenizer because the engine needs no more.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace deltaserve {

// Says what a tokenizer writes for bytes that are not UTF-8.
enum class IllFormed : uint8_t {
  kPart,  // a U+FFFD for each maximal part of a character: byte-level BPE
  kByte,  // a U+FFFD for each byte: sentencepiece, and tokens of bytes beside those of text
};

// The bytes of each token when it is generated. Joining them gives the text; a token may hold part
// of a UTF-8 character. Constant after construction.
class Vocabulary {
 public:
  Vocabulary() = default;
  // `names` are those of tokens without bytes that have one.
  explicit Vocabulary(std::vector<std::string> bytes_by_token,
                      std::map<int32_t, std::string> names = {},
                      IllFormed ill_formed = IllFormed::kPart)
      : bytes_(std::move(bytes_by_token)), names_(std::move(names)), ill_formed_(ill_formed) {}

  // Returns the bytes of a token; empty for control tokens and for ids the tokenizer does not have.
  std::string_view bytes(int32_t token) const {
    return token >= 0 && static_cast<size_t>(token) < bytes_.size() ? bytes_[token]
                                                                    : std::string_view();
  }
  // Returns how the file spells a control token ("</s>"); empty for every other id.
  std::string_view name(int32_t token) const {
    const auto found = names_.find(token);
    return found != names_.end() ? std::string_view(found->second) : std::string_view();
  }
  bool empty() const { return bytes_.empty(); }
  // Says what stands in the text for joined bytes that are not UTF-8.
  IllFormed ill_formed() const { return ill_formed_; }

 private:
  std::vector<std::string> bytes_;
  std::map<int32_t, std::string> names_;
  IllFormed ill_formed_ = IllFormed::kPart;
};

}  // namespace deltaserve
