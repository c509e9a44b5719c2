#include "engine/sequence_group.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/engine/fake_runner.h"

namespace deltaserve {
namespace {

constexpr SteadyTime kNow{std::chrono::seconds(100)};

class SequenceGroupTest : public testing::Test {
 protected:
  SequenceGroupTest() { request_.prompt = tokens_of("prompt"); }

  void make(int num_choices, size_t capacity = 100) {
    for (int i = 0; i < num_choices; ++i) {
      streams_.push_back(std::make_shared<TokenStream>(capacity, nullptr));
    }
    group_ = std::make_unique<SequenceGroup>(request_.clone(), &context_, streams_, kNow);
  }

  void append(int rows) {
    plan_ = {};
    head_rows_.clear();
    group_->append_rows(rows, kNow, &plan_, &head_rows_);
  }

  // Draw i brings the token 'a' + i.
  void commit(int rows) {
    std::vector<DrawResult> results(head_rows_.size());
    int32_t token = 'a';
    for (size_t i = 0; i < results.size(); ++i) {
      if (head_rows_[i].sample) results[i].token = token++;
      if (head_rows_[i].target >= 0) results[i].target_logprob = -1.0f;
    }
    EXPECT_EQ(group_->commit(rows, results.data(), kNow), results.data() + results.size());
  }

  const Vocabulary vocabulary_ = byte_vocabulary();
  const std::vector<int32_t> eos_{kTestEos};
  const SequenceContext context_{&vocabulary_, &eos_, kTestVocabSize};
  FakeRunner runner_{512, 4};
  StatePool pool_{4};
  GenerateRequest request_;
  std::vector<std::shared_ptr<TokenStream>> streams_;
  std::unique_ptr<SequenceGroup> group_;
  StepPlan plan_;
  std::vector<Draw> head_rows_;
  Sequences decoding_, ended_;
};

TEST_F(SequenceGroupTest, RowsSayWhatIsWanted) {
  request_.prompt_logprobs = 1;
  request_.logprobs = 2;
  request_.choice = 4;
  make(2);
  group_->admit(&pool_, kNow);
  EXPECT_EQ(pool_.num_free(), 2);
  append(6);
  EXPECT_EQ(plan_.token_ids, request_.prompt);
  ASSERT_EQ(plan_.segments.size(), 1u);
  EXPECT_EQ(plan_.segments[0].num_rows, 6);
  EXPECT_EQ(plan_.segments[0].position, 0);
  ASSERT_EQ(head_rows_.size(), 7u);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(head_rows_[i].row, i);
    EXPECT_EQ(head_rows_[i].target, request_.prompt[i + 1]);
    EXPECT_EQ(head_rows_[i].num_top, 1);
    EXPECT_FALSE(head_rows_[i].sample);
  }
  for (int i = 0; i < 2; ++i) {
    const Draw& draw = head_rows_[5 + i];
    EXPECT_TRUE(draw.sample);
    EXPECT_EQ(draw.row, 5);
    EXPECT_EQ(draw.target, -1);
    EXPECT_EQ(draw.num_top, 2);
    EXPECT_EQ(draw.choice, 4u + static_cast<uint32_t>(i));
    EXPECT_EQ(draw.position, 6u);
  }
  commit(6);
  for (const auto& choice : group_->choices()) choice->publish();
  for (int i = 0; i < 2; ++i) {
    const TokenUpdate update = *streams_[i]->take();
    EXPECT_EQ(update.text, std::string(1, static_cast<char>('a' + i)));
    EXPECT_EQ(update.prompt_logprobs.size(), 5u);
    EXPECT_EQ(update.prompt_tokens_read, 6);
  }
  group_->start_choices(&runner_, &decoding_, &ended_);
  EXPECT_EQ(decoding_.size(), 2u);
  EXPECT_EQ(runner_.num_copies(), 1);
  decoding_.clear();
  EXPECT_EQ(pool_.num_free(), 4);
}

TEST_F(SequenceGroupTest, PiecesOfThePromptFeedThePenalties) {
  request_.prompt.assign(64, 'p');
  request_.prompt.push_back('q');
  request_.sampling.repetition_penalty = 2;
  make(2);
  group_->admit(&pool_, kNow);
  append(64);
  EXPECT_TRUE(head_rows_.empty());
  commit(64);
  EXPECT_EQ(group_->prompt_left(), 1);
  append(1);
  ASSERT_EQ(head_rows_.size(), 2u);
  for (const Draw& draw : head_rows_) {
    ASSERT_EQ(draw.num_adjustments, 2);
    EXPECT_EQ(draw.adjustments[0].token, 'p');
    EXPECT_EQ(draw.adjustments[1].token, 'q');
  }
  commit(1);
  group_->start_choices(&runner_, &decoding_, &ended_);
  for (size_t i = 0; i < 2; ++i) {
    head_rows_.clear();
    decoding_[i]->prepare_draw(kNow);
    decoding_[i]->append_row(&plan_, &head_rows_);
    ASSERT_EQ(head_rows_[0].num_adjustments, 3);
    EXPECT_EQ(head_rows_[0].adjustments[2].token, 'a' + static_cast<int32_t>(i));
  }
  decoding_.clear();
}

TEST_F(SequenceGroupTest, ACancelledChoiceFreesASlotAndHarmsNobody) {
  make(3);
  group_->admit(&pool_, kNow);
  EXPECT_EQ(pool_.num_free(), 1);
  streams_[0]->cancel();
  group_->end_unwanted(kNow, &ended_);
  EXPECT_EQ(pool_.num_free(), 2);
  ASSERT_EQ(ended_.size(), 1u);
  EXPECT_EQ(ended_[0]->finish(), FinishReason::kCancelled);
  append(6);
  ASSERT_EQ(head_rows_.size(), 2u);
  EXPECT_EQ(head_rows_[0].choice, 1u);
  EXPECT_EQ(head_rows_[1].choice, 2u);
  commit(6);
  group_->start_choices(&runner_, &decoding_, &ended_);
  EXPECT_EQ(decoding_.size(), 2u);
  decoding_.clear();
  for (const auto& stream : streams_) stream->cancel();
}

TEST_F(SequenceGroupTest, ChoicesThatEndWithTheirFirstTokenTakeNoState) {
  request_.stop_token_ids = {'a', 'c'};
  make(4);
  group_->admit(&pool_, kNow);
  append(6);
  commit(6);
  group_->start_choices(&runner_, &decoding_, &ended_);
  EXPECT_EQ(decoding_.size(), 2u);
  EXPECT_EQ(ended_.size(), 2u);
  EXPECT_EQ(runner_.num_copies(), 1);
  EXPECT_EQ(pool_.num_free(), 2);
  decoding_.clear();
}

TEST_F(SequenceGroupTest, NoDrawWithoutTokens) {
  request_.max_tokens = 0;
  make(2);
  group_->admit(&pool_, kNow);
  append(6);
  EXPECT_TRUE(head_rows_.empty());
  commit(6);
  group_->start_choices(&runner_, &decoding_, &ended_);
  ASSERT_EQ(ended_.size(), 2u);
  EXPECT_EQ(ended_[0]->finish(), FinishReason::kLength);
  EXPECT_EQ(pool_.num_free(), 4);
}

TEST_F(SequenceGroupTest, AConstraintWithoutAWayOnEndsBeforeTheDraw) {
  request_.constraint =
      std::make_unique<TableConstraint>(std::vector<std::vector<int32_t>>{{}, {'a'}});
  make(2);
  group_->admit(&pool_, kNow);
  append(6);
  EXPECT_TRUE(head_rows_.empty());
  commit(6);
  group_->start_choices(&runner_, &decoding_, &ended_);
  ASSERT_EQ(ended_.size(), 2u);
  EXPECT_EQ(ended_[1]->finish(), FinishReason::kError);
}

TEST_F(SequenceGroupTest, OneFullStreamPausesThePrompt) {
  make(2, 1);
  EXPECT_FALSE(group_->paused());
  TokenUpdate update;
  update.text = "x";
  streams_[1]->push(std::move(update));
  EXPECT_TRUE(group_->paused());
  streams_[1]->take();
  EXPECT_FALSE(group_->paused());
}

}  // namespace
}  // namespace deltaserve
