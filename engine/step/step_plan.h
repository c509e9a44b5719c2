// The rows of one step: a flat batch of tokens cut into segments, decode rows first.
#pragma once
#include <cstdint>
#include <vector>

#include "engine/reuse/prefix_index.h"
#include "kernels/program/step.h"

namespace deltaserve {

struct StepPlan {
  std::vector<int32_t> token_ids;  // one per row
  std::vector<Segment> segments;   // a decode segment has one row
  // Pins the kept states that segments read and write until the step is queued.
  std::vector<SnapshotPin> pins;

  // Returns the step, which points into the plan and is valid until the plan changes.
  Step step() const { return {array_of(token_ids), array_of(segments)}; }
  // Empties the plan but keeps its memory.
  void clear() {
    token_ids.clear();
    segments.clear();
    pins.clear();
  }
};

}  // namespace deltaserve
