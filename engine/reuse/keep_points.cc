#include "engine/reuse/keep_points.h"

#include <algorithm>

#include "kernels/mixer/delta_rule.h"

namespace deltaserve {
namespace {

constexpr int64_t kRungFactor = 4;  // of the distances from the end of neighbouring rungs

int64_t grid_point_up_to(int64_t position) {
  return position / kChunkTokens * kChunkTokens;
}

}  // namespace

std::vector<KeepPoint> keep_points(int64_t num_tokens, int64_t begin, int64_t seen, bool read_ahead,
                                   std::span<const PrefixMark> marks) {
  std::vector<KeepPoint> points;
  const int64_t last = grid_point_up_to(num_tokens - 1);
  const auto add = [&](int64_t position, SnapshotKind kind) {
    const int64_t point = std::min(grid_point_up_to(position), last);
    if (point > begin) points.push_back({point, kind});
  };
  add(last, read_ahead ? SnapshotKind::kReadAhead : SnapshotKind::kPromptEnd);
  for (const PrefixMark& mark : marks) add(mark.position, mark.kind);
  add(seen, SnapshotKind::kDivergence);
  for (int64_t back = kChunkTokens; back < last; back *= kRungFactor) {
    add(last - back, SnapshotKind::kLadder);
  }
  // A prompt that differs from this one within its last tenth finds most of the common beginning.
  add(last - num_tokens / 10, SnapshotKind::kLadder);
  std::sort(points.begin(), points.end(), [](const KeepPoint& a, const KeepPoint& b) {
    return a.position != b.position ? a.position < b.position : a.kind < b.kind;
  });
  const auto same = [](const KeepPoint& a, const KeepPoint& b) { return a.position == b.position; };
  points.erase(std::unique(points.begin(), points.end(), same), points.end());
  return points;
}

}  // namespace deltaserve
