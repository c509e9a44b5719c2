// What one step computes: a flat batch of rows cut into segments, decode rows first.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels/program/step.h"

namespace deltaserve {

struct StepPlan {
  std::vector<int32_t> token_ids;  // one per row
  std::vector<Segment> segments;   // a decode segment has one row

  // Valid until the plan changes.
  Step step() const { return {array_of(token_ids), array_of(segments)}; }
  // Keeps the memory.
  void clear() {
    token_ids.clear();
    segments.clear();
  }
};

}  // namespace deltaserve
