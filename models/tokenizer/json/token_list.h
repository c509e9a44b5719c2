// TokenList keeps the tokens of a text that is decoded in one buffer. A string for each would take
// ten times the memory of the text.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "models/base/cancellation.h"
#include "models/tokenizer/base/reserve_sparingly.h"

namespace deltaserve::tokenizer_json {

class TokenList {
 public:
  struct Token {
    std::string_view text;
    bool first = false;
    bool last = false;
  };

  TokenList() = default;
  explicit TokenList(std::string text) : bytes_(std::move(text)) {
    lengths_.push_back(static_cast<uint32_t>(bytes_.size()));
  }

  // A token has fewer than 2^32 bytes because of limits::kDecodedBytes.
  void append(std::string_view token) {
    reserve_sparingly(bytes_.size() + token.size(), &bytes_);
    reserve_sparingly(lengths_.size() + 1, &lengths_);
    bytes_ += token;
    lengths_.push_back(static_cast<uint32_t>(token.size()));
  }

  // Returns the tokens' text, without anything between them.
  const std::string& text() const { return bytes_; }
  std::string take_text() && { return std::move(bytes_); }
  bool empty() const { return lengths_.empty(); }

  // Calls take(token) for the tokens in their order and returns the first status that is not OK.
  // Also returns an error if the work is no longer wanted (check_wanted).
  template <class Take>
  absl::Status for_each(Take take) const {
    const std::string_view all = bytes_;
    size_t at = 0;
    for (size_t i = 0; i < lengths_.size(); ++i) {
      absl::Status status = check_wanted(lengths_[i] + size_t{4});
      if (status.ok()) {
        status = take(Token{all.substr(at, lengths_[i]), i == 0, i + 1 == lengths_.size()});
      }
      if (!status.ok()) return status;
      at += lengths_[i];
    }
    return absl::OkStatus();
  }

 private:
  std::string bytes_;
  std::vector<uint32_t> lengths_;
};

}  // namespace deltaserve::tokenizer_json
