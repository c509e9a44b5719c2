// Chooses the points of a prompt whose states are worth keeping.
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

// Returns the points after `begin` of a prompt with `num_tokens` tokens, in order and distinct: its
// last grid point, the marks, the point where it leaves earlier prompts (`seen`, a grid point; 0 =
// nowhere), and a ladder of points at growing distances from its end. A point that has several
// reasons gets the kind that is likeliest to be used.
//
// All points have a token after them.
std::vector<KeepPoint> keep_points(int64_t num_tokens, int64_t begin, int64_t seen, bool read_ahead,
                                   std::span<const PrefixMark> marks);

}  // namespace deltaserve
