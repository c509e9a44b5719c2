// A trie of byte strings that is built once and searched for the prefixes of a text.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace deltaserve::tokenizer_json {

class ByteTrie {
 public:
  ByteTrie() = default;
  // Takes keys with their values, which are not negative. Of equal keys the last counts; an empty
  // key is ignored.
  explicit ByteTrie(std::vector<std::pair<std::string, int32_t>> entries);

  bool empty() const { return values_.empty(); }

  // Walks along a text: begin at kRoot, and step() by its bytes.
  static constexpr uint32_t kRoot = 0;
  static constexpr uint32_t kNowhere = UINT32_MAX;
  uint32_t step(uint32_t node, char byte) const {
    if (node == kRoot) return roots_[static_cast<uint8_t>(byte)];
    const auto label = static_cast<uint8_t>(byte);
    for (uint32_t child = first_child_[node]; child < first_child_[node + 1]; ++child) {
      if (labels_[child] == label) return child;
    }
    return kNowhere;
  }
  // Returns the value of the key that ends at a node; -1 if none does.
  int32_t value(uint32_t node) const { return values_[node]; }

  struct Found {
    int32_t value = -1;  // -1: there is none
    size_t bytes = 0;
  };
  // Returns the longest key with which a text begins.
  Found longest_prefix(std::string_view text) const {
    Found found;
    if (empty()) return found;
    uint32_t node = kRoot;
    for (size_t end = 0; end < text.size();) {
      node = step(node, text[end++]);
      if (node == kNowhere) break;
      if (value(node) >= 0) found = {value(node), end};
    }
    return found;
  }

 private:
  // Nodes are numbered level by level, so that the children of a node are neighbours.
  std::vector<uint32_t> first_child_;
  std::vector<uint8_t> labels_;
  std::vector<int32_t> values_;
  std::vector<uint32_t> roots_ = std::vector<uint32_t>(256, kNowhere);
};

}  // namespace deltaserve::tokenizer_json
