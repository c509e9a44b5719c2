#include "engine/grammar/nfa.h"

#include <utility>

namespace deltaserve::grammar {

void Nfa::index_edges() {
  first_.assign(states_ + 1, 0);
  for (const Edge& edge : edges_) ++first_[edge.source + 1];
  for (uint32_t s = 0; s < states_; ++s) first_[s + 1] += first_[s];
  std::vector<uint32_t> next(first_.begin(), first_.end() - 1);
  std::vector<Edge> sorted(edges_.size());
  for (const Edge& edge : edges_) sorted[next[edge.source]++] = edge;
  edges_ = std::move(sorted);

  std::array<bool, 257> begins{};  // whether a class begins at this byte
  for (const Edge& edge : edges_) {
    if (edge.kind != Edge::Kind::kBytes) continue;
    begins[edge.first] = true;
    begins[edge.last + 1] = true;
  }
  int current = 0;
  for (int byte = 0; byte < 256; ++byte) {
    if (byte > 0 && begins[byte]) ++current;
    if (byte == 0 || begins[byte]) first_byte_[current] = static_cast<uint8_t>(byte);
    class_of_[byte] = static_cast<uint8_t>(current);
  }
  classes_ = current + 1;
}

}  // namespace deltaserve::grammar
