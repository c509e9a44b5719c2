// The bytes of each token, separate from the tokenizer because the engine needs no more.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace deltaserve {

// The bytes of each token when it is generated. Joining them gives the text; a token may hold part
// of a UTF-8 character. Constant after construction.
class Vocabulary {
 public:
  Vocabulary() = default;
  explicit Vocabulary(std::vector<std::string> bytes_by_token)
      : bytes_(std::move(bytes_by_token)) {}

  // Returns the bytes of a token; empty for control tokens and for ids the tokenizer does not have.
  std::string_view bytes(int32_t token) const {
    return token >= 0 && static_cast<size_t>(token) < bytes_.size() ? bytes_[token]
                                                                    : std::string_view();
  }
  bool empty() const { return bytes_.empty(); }

 private:
  std::vector<std::string> bytes_;
};

}  // namespace deltaserve
