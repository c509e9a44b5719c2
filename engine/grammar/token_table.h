// The tokens of a vocabulary in the order of their bytes, as a trie: built once for a tokenizer and
// shared by all requests.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/vocabulary.h"

namespace deltaserve {

// Thread safety: constant after construction.
class TokenTable {
 public:
  // A token is left out when its bytes are empty (control tokens) or more than kTokenBytes: no
  // constrained answer contains it.
  static constexpr size_t kTokenBytes = 4096;

  // The tokens 0 .. size - 1 of `vocabulary`.
  TokenTable(const Vocabulary& vocabulary, int32_t size);

  // Preorder: the subtree of node i is nodes_[i] up to nodes_[i].end.
  struct Node {
    uint32_t end;
    uint32_t first_token;  // in sorted_tokens(): those whose bytes lead exactly here ...
    uint32_t past_token;   // ... end here
    uint16_t depth;        // bytes from the root, which is no node: at least 1
    uint8_t byte;
  };
  std::span<const Node> nodes() const { return nodes_; }
  // Of the longest token.
  size_t depth() const { return depth_; }
  std::span<const int32_t> sorted_tokens() const { return sorted_tokens_; }
  // Empty for tokens that are left out and for ids beyond the vocabulary.
  std::string_view bytes(int32_t token) const {
    if (token < 0 || token >= size()) return {};
    return std::string_view(text_).substr(offsets_[token], offsets_[token + 1] - offsets_[token]);
  }
  int32_t size() const { return static_cast<int32_t>(offsets_.size()) - 1; }
  // Tokens that are this byte alone.
  std::span<const int32_t> tokens_of_byte(uint8_t byte) const;

 private:
  std::string text_;
  std::vector<uint32_t> offsets_;  // by token, one more at the end
  std::vector<int32_t> sorted_tokens_;
  std::vector<Node> nodes_;
  size_t depth_ = 0;
  std::vector<uint32_t> byte_nodes_;  // by byte: the node of depth 1, or nodes_.size()
};

}  // namespace deltaserve
