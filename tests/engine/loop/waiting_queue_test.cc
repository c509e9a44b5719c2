#include "engine/loop/waiting_queue.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <vector>

#include "tests/engine/sequence/fake_runner.h"

namespace deltaserve {
namespace {

constexpr SteadyTime kNow{std::chrono::seconds(100)};

class WaitingQueueTest : public testing::Test {
 protected:
  // Identifies requests by the length of their prompts.
  void push(int64_t name, int num_choices = 1, int32_t priority = 0,
            SteadyTime deadline = SteadyTime::max(), bool read_ahead = false) {
    GenerateRequest request;
    request.reuse.read_ahead = read_ahead;
    request.prompt.assign(name, 1);
    request.priority = priority;
    request.deadline = deadline;
    streams_.clear();
    for (int i = 0; i < num_choices; ++i) {
      streams_.push_back(std::make_shared<TokenStream>(8, nullptr));
    }
    queue_.push(std::make_unique<SequenceGroup>(std::move(request), &context_, streams_, kNow,
                                                ++arrivals_));
  }

  // Returns 0 if no request waits.
  int64_t pop() {
    const auto group = queue_.pop_request();
    return group == nullptr ? 0 : group->prompt_left();
  }

  const Vocabulary vocabulary_ = byte_vocabulary();
  const std::vector<int32_t> eos_{kTestEos};
  const SequenceContext context_{&vocabulary_, &eos_, kTestVocabSize};
  WaitingQueue queue_;
  uint64_t arrivals_ = 0;
  std::vector<std::shared_ptr<TokenStream>> streams_;  // of the last push
  Sequences ended_;
};

TEST_F(WaitingQueueTest, FirstComeFirstServedWithinAPriority) {
  push(1);
  push(2, 1, 5);
  push(3);
  push(4, 1, -5);
  push(5, 1, 5);
  push(6, 1, -5);
  for (const int64_t name : {4, 6, 1, 2, 3, 5, 0}) EXPECT_EQ(pop(), name);
}

TEST_F(WaitingQueueTest, EveryFourthAdmissionIsTheOldest) {
  push(1, 1, 9);
  push(2, 1, 8);
  for (int64_t name = 3; name <= 10; ++name) push(name);
  for (const int64_t name : {3, 4, 5, 1, 6, 7, 8, 2, 9, 10}) EXPECT_EQ(pop(), name);
}

TEST_F(WaitingQueueTest, ReadAheadsHaveAQueueOfTheirOwn) {
  push(1, 1, 0, SteadyTime::max(), true);
  EXPECT_FALSE(queue_.has_requests());
  EXPECT_FALSE(queue_.empty());
  push(2);
  push(3, 1, 0, SteadyTime::max(), true);
  EXPECT_EQ(queue_.num_read_aheads(), 2);
  EXPECT_EQ(pop(), 2);
  EXPECT_EQ(pop(), 0);
  EXPECT_EQ(queue_.pop_read_ahead()->prompt_left(), 1);
  queue_.end_read_aheads(FinishReason::kCancelled, kNow, &ended_);
  EXPECT_EQ(ended_.size(), 1u);
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(queue_.pop_read_ahead(), nullptr);
}

TEST_F(WaitingQueueTest, CancelledChoicesLeave) {
  push(1, 3);
  streams_[1]->cancel();
  queue_.end_unwanted(kNow, &ended_);
  ASSERT_EQ(ended_.size(), 1u);
  EXPECT_EQ(ended_[0]->finish(), FinishReason::kCancelled);
  EXPECT_EQ(queue_.pop_request()->num_choices(), 2);
  push(2, 2);
  for (const auto& stream : streams_) stream->cancel();
  queue_.end_unwanted(kNow, &ended_);
  EXPECT_TRUE(queue_.empty());
}

TEST_F(WaitingQueueTest, Deadlines) {
  EXPECT_EQ(queue_.earliest_deadline(), SteadyTime::max());
  const auto later = kNow + std::chrono::seconds(2);
  push(1);
  push(2, 2, 0, later);
  push(3, 1, 0, later + std::chrono::seconds(1));
  EXPECT_EQ(queue_.earliest_deadline(), later);
  queue_.end_unwanted(kNow, &ended_);
  EXPECT_TRUE(ended_.empty());
  queue_.end_unwanted(later, &ended_);
  ASSERT_EQ(ended_.size(), 2u);
  EXPECT_EQ(ended_[1]->finish(), FinishReason::kDeadline);
  queue_.end_all(FinishReason::kCancelled, later, &ended_);
  EXPECT_EQ(ended_.size(), 4u);
  EXPECT_TRUE(queue_.empty());
}

}  // namespace
}  // namespace deltaserve
