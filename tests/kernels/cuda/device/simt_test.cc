// The emulation finds what a GPU would punish: kernels that do not await the launches before, or
// read in front of that what those write.
#include "kernels/cuda/device/simt.h"

#include <gtest/gtest.h>

#include <cmath>
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

// Every block writes its rank; then the first reads the last one's, which stays for it or not.
DS_KERNEL void cluster_kernel(bool stays, float* out) {
  await_launches_before();
  auto* own = static_cast<float*>(shared_memory());
  const int rank = block_index().x;
  if (thread_index() == 0) *own = static_cast<float>(rank);
  sync_cluster();
  if (rank == 0 && thread_index() == 0) *out = load_of_cluster(own, 1);
  if (stays) sync_cluster();
}

// The last block runs first, and is at its end when the first one reads.
TEST(Clusters, ABlockThatEndsTakesItsMemoryAlong) {
  float out = 0;
  host::set_order(host::Order::kBackward);
  launch_clusters({}, {2, 1, 1}, 2, kWarp, 16, cluster_kernel, true, &out);
  EXPECT_EQ(out, 1);
  EXPECT_DEATH(launch_clusters({}, {2, 1, 1}, 2, kWarp, 16, cluster_kernel, false, &out),
               "the shared memory of a block that has ended");
  host::set_order(host::Order::kForward);
}

// Copies two groups of four values, the second over old ones; out: the first value of each before
// any wait, behind a wait for the first group, and behind a wait for both.
DS_KERNEL void copy_kernel(const float* from, float* out) {
  await_launches_before();
  if (thread_index() > 0) return;
  auto* to = static_cast<float*>(shared_memory());
  to[4] = 7;
  for (int group = 0; group < 2; ++group) {
    copy_async(to + 4 * group, from + 4 * group);
    commit_copies();
  }
  const auto look = [&](int at) {
    out[2 * at] = to[0];
    out[2 * at + 1] = to[4];
  };
  look(0);
  wait_copies<1>();
  look(1);
  wait_copies<0>();
  look(2);
}

TEST(Copies, ArriveAsLateOrAsEarlyAsAGpuMayDeliverThem) {
  const simt::Float4 from[2] = {{{1, 1, 1, 1}}, {{2, 2, 2, 2}}};
  for (const host::Order order : {host::Order::kForward, host::Order::kBackward}) {
    const bool late = order == host::Order::kForward;
    float out[6] = {};
    host::set_order(order);
    launch({}, {1, 1, 1}, kWarp, 32, copy_kernel, &from[0].x[0], &out[0]);
    host::set_order(host::Order::kForward);
    EXPECT_EQ(std::isnan(out[0]), late);
    EXPECT_EQ(std::isnan(out[1]), late);
    EXPECT_EQ(out[2], 1);
    EXPECT_EQ(std::isnan(out[3]), late);
    EXPECT_EQ(out[4], 1);
    EXPECT_EQ(out[5], 2);
  }
}

// Writes, of 8 values a lane, over 16 neighbouring lanes: the sum that scattered_sum leaves in the
// lane, that of lanes_sum for the same value, the other half's, and the values of lanes 1, 4 and 7
// of the warp.
DS_KERNEL void sum_kernel(const float* from, float* out) {
  await_launches_before();
  float values[8];
  for (int i = 0; i < 8; ++i) values[i] = from[thread_index() * 8 + i];
  const float scattered = scattered_sum<16>(values);
  lanes_sum<16>(values);
  float lanes[3];
  from_lanes<3>(static_cast<float>(thread_index()), 1, lanes);
  float* own = out + thread_index() * 6;
  own[0] = scattered;
  own[1] = values[thread_index() % 16 / 2];
  own[2] = exchange(scattered, 8);
  for (int i = 0; i < 3; ++i) own[3 + i] = lanes[i];
}

TEST(Exchanges, ScatteredSumsHaveTheBitsOfSums) {
  std::vector<float> from(2 * kWarp * 8);
  for (size_t i = 0; i < from.size(); ++i) from[i] = 1.0f / static_cast<float>(i % 97 + 1);
  std::vector<float> out(2 * kWarp * 6);
  launch({}, {1, 1, 1}, 2 * kWarp, 0, sum_kernel, from.data(), out.data());
  for (int thread = 0; thread < 2 * kWarp; ++thread) {
    const float* own = &out[static_cast<size_t>(thread) * 6];
    EXPECT_EQ(own[0], own[1]) << thread;
    EXPECT_EQ(own[2], out[static_cast<size_t>(thread ^ 8) * 6]) << thread;
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(own[3 + i], static_cast<float>(thread / kWarp * kWarp + 1 + 3 * i)) << thread;
    }
  }
}

}  // namespace
}  // namespace deltaserve::simt
