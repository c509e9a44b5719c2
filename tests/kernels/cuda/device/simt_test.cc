// The emulation finds what a GPU would punish: kernels that do not await the launches before, or
// read in front of that what those write.
#include "kernels/cuda/device/simt.h"

#include <gtest/gtest.h>

#include <vector>

namespace deltaserve::simt {
namespace {

DS_KERNEL void write_kernel(int* to, int value) {
  await_launches_before();
  if (thread_index() == 0) *to = value;
}

// out[0]: what `from` holds before the kernel awaits, out[1]: behind.
DS_KERNEL void read_kernel(int* from, int* out) {
  const int early = *from;
  await_launches_before();
  if (thread_index() > 0) return;
  out[0] = early;
  out[1] = *from;
}

DS_KERNEL void impatient_kernel(int* to) {
  *to = 1;
}

DS_KERNEL void meeting_kernel() {
  sync_block();
  await_launches_before();
}

class Overlap : public testing::Test {
 protected:
  // Writes 1, then 2, reads.
  void launch_all(Stream stream) {
    launch(stream, {3, 2, 1}, kWarp, 0, write_kernel, &value_, 1);
    launch(stream, {1, 1, 1}, 2 * kWarp, 0, write_kernel, &value_, 2);
    launch(stream, {1, 1, 1}, kWarp, 0, read_kernel, &value_, &read_[0]);
    host::run(queue_, queue_.size());
  }

  std::vector<host::Work> queue_;
  int value_ = 0;
  int read_[2] = {};
};

TEST_F(Overlap, ReadsThatComeEarlySeeOldValues) {
  launch_all({&queue_, true});
  EXPECT_EQ(read_[0], 1);
  EXPECT_EQ(read_[1], 2);
}

TEST_F(Overlap, OtherLaunchesComeOneAfterTheOther) {
  launch_all({&queue_, false});
  EXPECT_EQ(read_[0], 2);
  EXPECT_EQ(read_[1], 2);
}

TEST_F(Overlap, NothingOvertakesACopy) {
  queue_.push_back({{}, [this] { value_ = 7; }});
  launch({&queue_, true}, {1, 1, 1}, kWarp, 0, read_kernel, &value_, &read_[0]);
  host::run(queue_, queue_.size());
  EXPECT_EQ(read_[0], 7);
}

TEST_F(Overlap, WhoDoesNotAwaitIsFound) {
  EXPECT_DEATH(launch({}, {1, 1, 1}, kWarp, 0, impatient_kernel, &value_),
               "a thread does not await the launches before");
}

TEST_F(Overlap, WhoMeetsOthersBeforeIsFound) {
  launch({&queue_, true}, {1, 1, 1}, kWarp, 0, write_kernel, &value_, 1);
  launch({&queue_, true}, {1, 1, 1}, kWarp, 0, meeting_kernel);
  EXPECT_DEATH(host::run(queue_, queue_.size()), "meets others before it awaits");
}

}  // namespace
}  // namespace deltaserve::simt
