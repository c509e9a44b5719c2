// The tokens of a vocabulary in the order of their bytes, as a trie. It is built once per tokenizer
// and shared by all requests.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/tokenizer/base/vocabulary.h"

namespace deltaserve {

// Thread safety: constant after construction.
class TokenTable {
 public:
  // Tokens of more bytes than this are left out, and so are those with the byte 0xFF, which is
  // never in UTF-8. No constrained answer contains them.
  static constexpr size_t kTokenBytes = 4096;
  static constexpr uint8_t kControlByte = 0xFF;

  // Builds the trie of the tokens 0 .. size - 1 of `vocabulary`.
  TokenTable(const Vocabulary& vocabulary, int32_t size);

  // A node of the trie, in preorder: the subtree of node i is nodes_[i] up to nodes_[i].end.
  struct Node {
    uint32_t end;
    uint32_t first_token;  // in sorted_tokens(): the tokens whose bytes end here begin ...
    uint32_t past_token;   // ... and end
    uint16_t depth;        // bytes from the root, which is no node: at least 1
    uint8_t byte;
  };
  std::span<const Node> nodes() const { return nodes_; }
  // Returns the bytes of the longest token.
  size_t depth() const { return depth_; }
  std::span<const int32_t> sorted_tokens() const { return sorted_tokens_; }
  // Returns the bytes that a grammar has for the token: its text, or control_name() if it has no
  // text. They are empty for tokens that are left out and for ids beyond the vocabulary.
  std::string_view bytes(int32_t token) const {
    if (token < 0 || token >= size()) return {};
    return std::string_view(text_).substr(offsets_[token], offsets_[token + 1] - offsets_[token]);
  }
  int32_t size() const { return static_cast<int32_t>(offsets_.size()) - 1; }
  // Returns the tokens that are this byte alone.
  std::span<const int32_t> tokens_of_byte(uint8_t byte) const;

 private:
  std::string text_;
  std::vector<uint32_t> offsets_;  // by token, one more at the end
  std::vector<int32_t> sorted_tokens_;
  std::vector<Node> nodes_;
  size_t depth_ = 0;
  std::vector<uint32_t> byte_nodes_;  // by byte: the node of depth 1, or nodes_.size()
};

// Returns five bytes that represent a control token, which has no text, in grammars. They begin
// with kControlByte; the others are continuation bytes of UTF-8. So no text contains them.
std::string control_name(int32_t token);

}  // namespace deltaserve
