// Tests what the checks of steps refuse.
#include <gtest/gtest.h>

#include <vector>

#include "kernels/program/slot_check.h"

namespace deltaserve {
namespace {

constexpr int kSlots = 4;

// Segments of one step, one after the other; `first_row` is filled in.
StepView view_of(std::vector<Segment>& segments) {
  int32_t rows = 0;
  for (Segment& segment : segments) {
    segment.first_row = rows;
    rows += segment.num_rows;
  }
  return StepView::of({{nullptr, rows}, array_of(segments)});
}
void view(std::vector<Segment> segments) {
  view_of(segments);
}
void check_slots(std::vector<Segment> segments) {
  SlotCheck(kSlots).check(view_of(segments));
}

Segment decode(int read, int write) {
  return {RowKind::kDecode, read, write, 0, 1, 7};
}
Segment prefill(int read, int write, int rows, int64_t position, int keep = -1) {
  return {RowKind::kPrefill, read, write, 0, rows, position, keep};
}

TEST(KeptRows, AreTheWholeChunks) {
  EXPECT_EQ(kept_rows(prefill(0, 0, 200, 64)), 0);
  EXPECT_EQ(kept_rows(prefill(0, 0, 63, 64, 1)), 0);
  EXPECT_EQ(kept_rows(prefill(0, 0, 64, 64, 0)), 64);
  EXPECT_EQ(kept_rows(prefill(0, 0, 200, 0, 1)), 192);
}

TEST(StepDeathTest, AKeptStateNeedsAGridPointOfAPrefill) {
  view({prefill(0, 0, 64, 128, 1)});
  Segment keeps = decode(0, 0);
  keeps.keep_slot = 1;
  EXPECT_DEATH(view({keeps}), "invariant broken");
  EXPECT_DEATH(view({prefill(0, 0, 63, 0, 1)}), "invariant broken");
  EXPECT_DEATH(view({prefill(0, 0, 64, 63, 1)}), "invariant broken");
  EXPECT_DEATH(view({prefill(-1, -1, 64, 0, 1)}), "invariant broken");
}

TEST(StepDeathTest, SlotsMustExist) {
  check_slots({decode(0, 3), decode(-1, -1), prefill(-1, 2, 64, 0, 1)});
  EXPECT_DEATH(check_slots({decode(0, 4)}), "invariant broken");
  EXPECT_DEATH(check_slots({decode(4, 0)}), "invariant broken");
  EXPECT_DEATH(check_slots({decode(-1, 0)}), "invariant broken");
  EXPECT_DEATH(check_slots({prefill(0, 0, 64, 0, 4)}), "invariant broken");
}

TEST(StepDeathTest, ASlotHasOneWriterAndItsReadersAreItself) {
  check_slots({decode(0, 1), decode(0, 2)});
  check_slots({decode(2, 2), prefill(1, 0, 64, 64, 1)});
  EXPECT_DEATH(check_slots({decode(0, 1), decode(2, 1)}), "invariant broken");
  EXPECT_DEATH(check_slots({decode(0, 1), prefill(2, 2, 64, 64, 1)}), "invariant broken");
  EXPECT_DEATH(check_slots({prefill(2, 2, 64, 64, 2)}), "invariant broken");
  EXPECT_DEATH(check_slots({decode(0, 0), decode(0, 1)}), "invariant broken");
  EXPECT_DEATH(check_slots({decode(1, 0), prefill(2, 2, 64, 64, 1)}), "invariant broken");
}

TEST(SlotCheck, LooksAtEachStepAlone) {
  SlotCheck check(kSlots);
  std::vector<Segment> segments = {prefill(0, 1, 64, 0, 2)};
  for (int step = 0; step < 3; ++step) check.check(view_of(segments));
}

}  // namespace
}  // namespace deltaserve
