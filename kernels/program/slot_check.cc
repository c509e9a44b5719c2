#include "kernels/program/slot_check.h"

#include "kernels/base/check.h"

namespace deltaserve {

SlotCheck::Writer& SlotCheck::writer(int32_t slot) {
  DS_CHECK(slot >= 0 && slot < static_cast<int64_t>(writers_.size()));
  return writers_[static_cast<size_t>(slot)];
}

void SlotCheck::write(int32_t slot, int32_t segment) {
  Writer& last = writer(slot);
  DS_CHECK(last.step != steps_);
  last = {steps_, segment};
}

void SlotCheck::check(const StepView& step) {
  ++steps_;
  for (int32_t s = 0; s < step.num_segments; ++s) {
    const Segment& segment = step.segments[s];
    if (segment.write_slot >= 0) write(segment.write_slot, s);
    if (segment.keep_slot >= 0) write(segment.keep_slot, s);
  }
  for (int32_t s = 0; s < step.num_segments; ++s) {
    const Segment& segment = step.segments[s];
    if (segment.write_slot < 0 || segment.position == 0) continue;
    const Writer& last = writer(segment.read_slot);
    DS_CHECK(last.step != steps_ || last.segment == s);
  }
}

}  // namespace deltaserve
