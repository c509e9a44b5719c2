// Computes how many tokens a rendered chat shares with variations of it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "models/tokenizer/base/tokenizer.h"
#include "server/template/chat_template.h"

namespace deltaserve {

// A special piece of a template is a token by itself, and what is after it is encoded without
// regard to what is before it. So only the text between the special pieces around the first
// difference is encoded again, however long the chat is.
//
// Thread safety: one thread at a time.
class SharedPrefix {
 public:
  // `ids` encodes `whole`; both outlive the object. `max_bytes` bounds the text of all variations
  // that is encoded again.
  SharedPrefix(const Tokenizer& tokenizer, std::span<const RenderedPart> whole,
               const std::vector<int32_t>& ids, size_t max_bytes);

  // Returns the length of the common prefix of both lists of tokens; also 0 if the bound is
  // reached.
  int64_t tokens_shared_with(std::span<const RenderedPart> other);
  int64_t num_tokens() const { return static_cast<int64_t>(ids_.size()); }

 private:
  // A special piece of `whole`.
  struct Anchor {
    size_t begin = 0, end = 0;  // bytes of the text
    size_t token = 0;           // its index in `ids`
  };

  std::vector<int32_t> encode(std::span<const TextPart> parts) const;
  void find_special_pieces();
  void find_anchors();
  // Returns the size of the special piece with which `text` begins, 0 if there is none.
  size_t special_size(std::string_view text) const;
  // Returns where the first special piece at or after byte `from` begins, or the text's end.
  size_t next_special(std::span<const RenderedPart> parts, size_t from) const;

  const Tokenizer& tokenizer_;
  const std::span<const RenderedPart> whole_;
  const std::vector<int32_t>& ids_;
  size_t bytes_left_;
  std::vector<std::pair<std::string, int32_t>> special_;  // the longest first
  std::vector<Anchor> anchors_;
};

}  // namespace deltaserve
