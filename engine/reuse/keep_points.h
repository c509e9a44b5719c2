// Which points of a prompt are worth keeping the state of.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "engine/reuse/reuse.h"

namespace deltaserve {

// A grid point whose state shall be kept.
struct KeepPoint {
  int64_t position = 0;
  SnapshotKind kind = SnapshotKind::kLadder;
};

// Returns the points behind `begin` of a prompt with `num_tokens` tokens, in order and distinct:
// its last grid point, the marks, where it parts from prompts before it (`seen`, a grid point; 0 =
// nowhere), and a ladder of points further and further from its end. A point that has several
// reasons gets the kind that is likeliest to be used.
//
// All points have a token behind them.
std::vector<KeepPoint> keep_points(int64_t num_tokens, int64_t begin, int64_t seen, bool read_ahead,
                                   std::span<const PrefixMark> marks);

}  // namespace deltaserve
