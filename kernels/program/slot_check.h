// Checks that steps name slots that exist, and write no slot that another segment of the step uses.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/program/step.h"

namespace deltaserve {

// Checks the slots that the steps of a backend name.
class SlotCheck {
 public:
  explicit SlotCheck(int32_t num_slots = 0) : writers_(static_cast<size_t>(num_slots)) {}

  // Aborts if a segment names a slot that does not exist, or if a slot that it reads or writes is
  // written by another segment.
  void check(const StepView& step);

 private:
  struct Writer {
    uint64_t step = 0;  // the last one that wrote the slot, from 1
    int32_t segment = 0;
  };

  Writer& writer(int32_t slot);
  void write(int32_t slot, int32_t segment);

  uint64_t steps_ = 0;
  std::vector<Writer> writers_;  // by slot
};

}  // namespace deltaserve
