// What one step computes: a flat batch of rows cut into segments, decode rows first.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels/program/step.h"

namespace deltaserve {

struct StepPlan {
  std::vector<int32_t> token_ids;  // one per row
  std::vector<Segment> segments;   // the first num_decode have one row each
  int num_decode = 0;

  StepView view() const {
    return {token_ids.data(), static_cast<int32_t>(token_ids.size()), segments.data(),
            static_cast<int32_t>(segments.size()), num_decode};
  }
};

}  // namespace deltaserve
