#include "models/tokenizer/json/byte_trie.h"

#include <algorithm>

namespace deltaserve::tokenizer_json {
namespace {

// The entries below a node: they share their first `depth` bytes.
struct Below {
  size_t first;
  size_t end;
  size_t depth;
};

}  // namespace

ByteTrie::ByteTrie(std::vector<std::pair<std::string, int32_t>> entries) {
  std::erase_if(entries, [](const auto& entry) { return entry.first.empty(); });
  if (entries.empty()) return;
  std::stable_sort(entries.begin(), entries.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Below> nodes{{0, entries.size(), 0}};
  labels_.push_back(0);
  for (size_t node = 0; node < nodes.size(); ++node) {
    auto [first, end, depth] = nodes[node];
    int32_t value = -1;
    for (; first < end && entries[first].first.size() == depth; ++first) {
      value = entries[first].second;
    }
    values_.push_back(value);
    first_child_.push_back(static_cast<uint32_t>(nodes.size()));
    while (first < end) {
      const char label = entries[first].first[depth];
      size_t last = first;
      while (last < end && entries[last].first[depth] == label) ++last;
      if (node == kRoot) {
        roots_[static_cast<uint8_t>(label)] = static_cast<uint32_t>(nodes.size());
      }
      nodes.push_back({first, last, depth + 1});
      labels_.push_back(static_cast<uint8_t>(label));
      first = last;
    }
  }
  first_child_.push_back(static_cast<uint32_t>(nodes.size()));
}

}  // namespace deltaserve::tokenizer_json
