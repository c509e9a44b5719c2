#include "engine/grammar/token_table.h"

#include <algorithm>

namespace deltaserve {

TokenTable::TokenTable(const Vocabulary& vocabulary, int32_t size) {
  offsets_.push_back(0);
  for (int32_t token = 0; token < size; ++token) {
    const std::string_view bytes = vocabulary.bytes(token);
    if (bytes.empty()) {
      text_ += control_name(token);
    } else if (bytes.size() <= kTokenBytes && bytes.find('\xFF') == bytes.npos) {
      text_ += bytes;
    }
    offsets_.push_back(static_cast<uint32_t>(text_.size()));
    if (offsets_[token + 1] > offsets_[token]) sorted_tokens_.push_back(token);
  }
  std::stable_sort(sorted_tokens_.begin(), sorted_tokens_.end(),
                   [&](int32_t a, int32_t b) { return bytes(a) < bytes(b); });

  std::vector<uint32_t> path;  // nodes from the root to the last token's
  std::string_view previous;
  for (uint32_t i = 0; i < sorted_tokens_.size(); ++i) {
    const std::string_view next = bytes(sorted_tokens_[i]);
    const size_t common =
        std::mismatch(previous.begin(), previous.end(), next.begin(), next.end()).first -
        previous.begin();
    for (; path.size() > common; path.pop_back()) {
      nodes_[path.back()].end = static_cast<uint32_t>(nodes_.size());
    }
    while (path.size() < next.size()) {
      const auto byte = static_cast<uint8_t>(next[path.size()]);
      path.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.push_back({.end = 0,
                        .first_token = i,
                        .past_token = i,
                        .depth = static_cast<uint16_t>(path.size()),
                        .byte = byte});
    }
    nodes_[path.back()].past_token = i + 1;
    depth_ = std::max(depth_, path.size());
    previous = next;
  }
  for (const uint32_t node : path) nodes_[node].end = static_cast<uint32_t>(nodes_.size());

  byte_nodes_.assign(256, static_cast<uint32_t>(nodes_.size()));
  for (uint32_t node = 0; node < nodes_.size(); node = nodes_[node].end) {
    byte_nodes_[nodes_[node].byte] = node;
  }
}

std::string control_name(int32_t token) {
  std::string name(1, static_cast<char>(TokenTable::kControlByte));
  for (int shift = 18; shift >= 0; shift -= 6) {
    name += static_cast<char>(0x80 | (token >> shift & 0x3F));
  }
  return name;
}

std::span<const int32_t> TokenTable::tokens_of_byte(uint8_t byte) const {
  const uint32_t node = byte_nodes_[byte];
  if (node >= nodes_.size()) return {};
  const uint32_t first = nodes_[node].first_token;
  return std::span(sorted_tokens_).subspan(first, nodes_[node].past_token - first);
}

}  // namespace deltaserve
