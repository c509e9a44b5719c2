#include "engine/sequence/sequence_group.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/engine/sequence/fake_runner.h"

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

  // Queues and draws the prompt's next piece in a step of its own.
  void append(int rows) {
    plan_ = {};
    draws_.clear();
    piece_ = group_->append_rows(rows, &prefixes_, kNow, &plan_);
    if (group_->prompt_left() == 0) group_->start_choices(&pool_, &runner_, &decoding_, &waiting_);
    group_->add_draws(&piece_, kNow, &draws_);
  }

  // Commits the step; draw i returns the token 'a' + i.
  void commit() {
    std::vector<DrawResult> results(draws_.size());
    int32_t token = 'a';
    for (size_t i = 0; i < results.size(); ++i) {
      if (draws_[i].sample) results[i].token = token++;
      if (draws_[i].target >= 0) results[i].target_logprob = -1.0f;
    }
    EXPECT_EQ(group_->commit(piece_, results.data(), kNow), results.data() + results.size());
  }

  int num_ended() const {
    return static_cast<int>(std::count_if(decoding_.begin(), decoding_.end(),
                                          [](const auto& choice) { return choice->ended(); }));
  }

  const Vocabulary vocabulary_ = byte_vocabulary();
  const std::vector<int32_t> eos_{kTestEos};
  const SequenceContext context_{&vocabulary_, &eos_, kTestVocabSize};
  FakeRunner runner_{0, 512, 4};
  StatePool pool_{4};
  PrefixIndex prefixes_{4, 8, 0, 1000};
  GenerateRequest request_;
  std::vector<std::shared_ptr<TokenStream>> streams_;
  std::unique_ptr<SequenceGroup> group_;
  StepPlan plan_;
  SequenceGroup::Piece piece_;
  std::vector<Draw> draws_;
  Sequences decoding_, ended_;
  std::vector<std::unique_ptr<SequenceGroup>> waiting_;
};

TEST_F(SequenceGroupTest, RowsSayWhatIsWanted) {
  request_.prompt_logprobs = 1;
  request_.logprobs = 2;
  request_.choice = 4;
  make(2);
  group_->admit(&pool_, &prefixes_, kNow);
  EXPECT_EQ(pool_.num_free(), 3) << "one slot reads the prompt";
  append(6);
  EXPECT_EQ(plan_.token_ids, request_.prompt);
  ASSERT_EQ(plan_.segments.size(), 1u);
  EXPECT_EQ(plan_.segments[0].kind, RowKind::kPrefill);
  EXPECT_EQ(plan_.segments[0].num_rows, 6);
  EXPECT_EQ(plan_.segments[0].position, 0);
  ASSERT_EQ(draws_.size(), 7u);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(draws_[i].row, i);
    EXPECT_EQ(draws_[i].target, request_.prompt[i + 1]);
    EXPECT_EQ(draws_[i].num_top, 1);
    EXPECT_FALSE(draws_[i].sample);
  }
  for (int i = 0; i < 2; ++i) {
    const Draw& draw = draws_[5 + i];
    EXPECT_TRUE(draw.sample);
    EXPECT_EQ(draw.row, 5);
    EXPECT_EQ(draw.slot, i);
    EXPECT_EQ(draw.target, -1);
    EXPECT_EQ(draw.num_top, 2);
    EXPECT_EQ(draw.choice, 4u + static_cast<uint32_t>(i));
    EXPECT_EQ(draw.position, 6u);
  }
  commit();
  for (Sequence* choice : group_->members()) choice->publish();
  for (int i = 0; i < 2; ++i) {
    const TokenUpdate update = *streams_[i]->take();
    EXPECT_EQ(update.text, std::string(1, static_cast<char>('a' + i)));
    EXPECT_EQ(update.prompt_logprobs.size(), 5u);
    EXPECT_EQ(update.prompt_tokens_read, 6);
  }
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
  group_->admit(&pool_, &prefixes_, kNow);
  append(64);
  EXPECT_TRUE(draws_.empty());
  commit();
  EXPECT_EQ(group_->prompt_left(), 1);
  append(1);
  ASSERT_EQ(draws_.size(), 2u);
  for (const Draw& draw : draws_) {
    ASSERT_EQ(draw.num_adjustments, 2);
    EXPECT_EQ(draw.adjustments[0].token, 'p');
    EXPECT_EQ(draw.adjustments[1].token, 'q');
  }
  commit();
  for (size_t i = 0; i < 2; ++i) {
    draws_.clear();
    decoding_[i]->prepare_draw(kNow);
    decoding_[i]->add_draw(decoding_[i]->append_row(&plan_), &draws_);
    ASSERT_EQ(draws_[0].num_adjustments, 3);
    EXPECT_EQ(draws_[0].adjustments[2].token, 'a' + static_cast<int32_t>(i));
  }
  decoding_.clear();
}

TEST_F(SequenceGroupTest, ACancelledChoiceHarmsNobody) {
  make(3);
  group_->admit(&pool_, &prefixes_, kNow);
  streams_[0]->cancel();
  group_->end_unwanted(kNow, &ended_);
  EXPECT_EQ(pool_.num_free(), 3);
  ASSERT_EQ(ended_.size(), 1u);
  EXPECT_EQ(ended_[0]->finish(), FinishReason::kCancelled);
  append(6);
  ASSERT_EQ(draws_.size(), 2u);
  EXPECT_EQ(draws_[0].choice, 1u);
  EXPECT_EQ(draws_[1].choice, 2u);
  commit();
  EXPECT_EQ(decoding_.size(), 2u);
  decoding_.clear();
  for (const auto& stream : streams_) stream->cancel();
}

TEST_F(SequenceGroupTest, WithoutChoicesItHoldsNoSlot) {
  make(2);
  group_->admit(&pool_, &prefixes_, kNow);
  for (const auto& stream : streams_) stream->cancel();
  group_->end_unwanted(kNow, &ended_);
  EXPECT_EQ(pool_.num_free(), 4);
}

// Five choices and four slots: the fifth reads the prompt's tail again, from the state that was
// kept of it, when there is a slot.
TEST_F(SequenceGroupTest, AChoiceWithoutASlotBeginsAtTheKeptState) {
  request_.prompt.assign(130, 'p');
  request_.prompt_logprobs = 0;
  make(5);
  group_->admit(&pool_, &prefixes_, kNow);
  append(64);
  commit();
  append(66);
  EXPECT_EQ(plan_.segments[0].keep_slot, plan_.pins.back().slot());
  const int kept = plan_.segments[0].keep_slot;
  EXPECT_EQ(draws_.size(), 65u + 4u);
  EXPECT_EQ(decoding_.size(), 4u);
  ASSERT_EQ(waiting_.size(), 1u);
  commit();
  plan_.clear();
  decoding_.erase(decoding_.begin());

  group_ = std::move(waiting_[0]);
  EXPECT_FALSE(group_->first_reading());
  group_->admit(&pool_, &prefixes_, kNow);
  EXPECT_EQ(group_->prompt_left(), 2);
  append(2);
  ASSERT_EQ(plan_.segments.size(), 1u);
  EXPECT_EQ(plan_.segments[0].position, 128);
  EXPECT_EQ(plan_.segments[0].read_slot, kept);
  EXPECT_EQ(plan_.segments[0].keep_slot, -1);
  ASSERT_EQ(draws_.size(), 1u) << "the prompt was scored already";
  EXPECT_EQ(draws_[0].choice, 4u);
  commit();
  group_->members()[0]->publish();
  const TokenUpdate update = *streams_[4]->take();
  EXPECT_EQ(update.prompt_logprobs.size(), 129u);
  EXPECT_EQ(update.prompt_tokens_read, 130);
  EXPECT_EQ(update.text, "a");
  plan_.clear();
  decoding_.clear();
}

// The second of two prompts continues from the first one's state; its own tokens before that feed
// its penalties.
TEST_F(SequenceGroupTest, AKeptStateStandsForItsTokens) {
  request_.prompt.assign(128, 'p');
  request_.prompt.push_back('q');
  request_.sampling.repetition_penalty = 2;
  make(1);
  EXPECT_EQ(group_->admit(&pool_, &prefixes_, kNow).reused, 0);
  append(64);
  commit();
  append(65);
  commit();
  plan_.clear();
  decoding_.clear();
  streams_.clear();
  request_.prompt.back() = 'r';
  make(1);
  EXPECT_EQ(group_->admit(&pool_, &prefixes_, kNow).reused, 128);
  EXPECT_EQ(group_->prompt_left(), 1);
  append(1);
  ASSERT_EQ(draws_.size(), 1u);
  ASSERT_EQ(draws_[0].num_adjustments, 2);
  EXPECT_EQ(draws_[0].adjustments[0].token, 'p');
  EXPECT_EQ(draws_[0].adjustments[1].token, 'r');
  commit();
  group_->members()[0]->publish();
  EXPECT_EQ(streams_[0]->take()->prompt_tokens_reused, 128);
  plan_.clear();
  decoding_.clear();
}

TEST_F(SequenceGroupTest, TheStateIsCopiedWhileTheFirstTokensAreUnderWay) {
  request_.stop_token_ids = {'a', 'c'};
  make(4);
  group_->admit(&pool_, &prefixes_, kNow);
  plan_ = {};
  piece_ = group_->append_rows(6, &prefixes_, kNow, &plan_);
  EXPECT_EQ(runner_.num_copies(), 0);
  group_->start_choices(&pool_, &runner_, &decoding_, &waiting_);
  EXPECT_EQ(runner_.num_copies(), 3);
  ASSERT_EQ(decoding_.size(), 4u);
  for (const auto& choice : decoding_) choice->append_row(&plan_);  // a step further
  for (int32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(plan_.segments[1 + i].read_slot, i);
    EXPECT_EQ(plan_.segments[1 + i].position, 6);
    EXPECT_EQ(plan_.token_ids[6 + i], kTokenOfSlot);
  }
  group_->add_draws(&piece_, kNow, &draws_);
  commit();
  EXPECT_EQ(num_ended(), 2);
}

TEST_F(SequenceGroupTest, ChoicesOfOneTokenTakeNoState) {
  request_.max_tokens = 1;
  make(4);
  group_->admit(&pool_, &prefixes_, kNow);
  append(6);
  EXPECT_EQ(draws_.size(), 4u);
  commit();
  EXPECT_EQ(num_ended(), 4);
  EXPECT_EQ(runner_.num_copies(), 0);
}

TEST_F(SequenceGroupTest, NoDrawWithoutTokens) {
  request_.max_tokens = 0;
  make(2);
  group_->admit(&pool_, &prefixes_, kNow);
  append(6);
  EXPECT_TRUE(draws_.empty());
  EXPECT_EQ(num_ended(), 0);  // the prompt is not read yet
  commit();
  ASSERT_EQ(num_ended(), 2);
  EXPECT_EQ(decoding_[0]->finish(), FinishReason::kLength);
}

TEST_F(SequenceGroupTest, AConstraintWithoutAWayOnEndsBeforeTheDraw) {
  request_.constraint =
      std::make_unique<TableConstraint>(std::vector<std::vector<int32_t>>{{}, {'a'}});
  make(2);
  group_->admit(&pool_, &prefixes_, kNow);
  append(6);
  EXPECT_TRUE(draws_.empty());
  commit();
  ASSERT_EQ(num_ended(), 2);
  EXPECT_EQ(decoding_[1]->finish(), FinishReason::kError);
}

// One of four choices ends before the draws and one after; the others get their own results.
TEST_F(SequenceGroupTest, ChoicesEndWhileTheirFirstTokenIsUnderWay) {
  request_.prompt_logprobs = 0;
  make(4);
  group_->admit(&pool_, &prefixes_, kNow);
  plan_ = {};
  piece_ = group_->append_rows(6, &prefixes_, kNow, &plan_);
  group_->start_choices(&pool_, &runner_, &decoding_, &waiting_);
  streams_[1]->cancel();
  for (const auto& choice : decoding_) choice->end_if_unwanted(kNow);
  group_->add_draws(&piece_, kNow, &draws_);
  ASSERT_EQ(draws_.size(), 5u + 3u);
  streams_[2]->cancel();
  for (const auto& choice : decoding_) choice->end_if_unwanted(kNow);
  commit();
  for (const auto& choice : decoding_) choice->publish();
  const char* const texts[] = {"a", "", "", "c"};
  for (int i = 0; i < 4; ++i) {
    const bool cancelled = i == 1 || i == 2;
    const TokenUpdate update = *streams_[i]->take();
    EXPECT_EQ(update.text, texts[i]);
    EXPECT_EQ(update.finish, cancelled ? FinishReason::kCancelled : FinishReason::kNone);
    EXPECT_EQ(update.prompt_tokens_read, cancelled ? 0 : 6);
    EXPECT_EQ(update.prompt_logprobs.size(), cancelled ? 0u : 5u);
  }
}

TEST_F(SequenceGroupTest, NothingIsDrawnForNobody) {
  request_.prompt_logprobs = 0;
  make(2);
  group_->admit(&pool_, &prefixes_, kNow);
  plan_ = {};
  piece_ = group_->append_rows(6, &prefixes_, kNow, &plan_);
  group_->start_choices(&pool_, &runner_, &decoding_, &waiting_);
  for (const auto& stream : streams_) stream->cancel();
  for (const auto& choice : decoding_) choice->end_if_unwanted(kNow);
  group_->add_draws(&piece_, kNow, &draws_);
  EXPECT_TRUE(draws_.empty());
  commit();
}

// Plans a second piece before the first is committed.
TEST_F(SequenceGroupTest, PiecesAheadOfTheirCommit) {
  request_.prompt.assign(100, 'p');
  request_.prompt_logprobs = 0;
  make(1);
  group_->admit(&pool_, &prefixes_, kNow);
  append(64);
  EXPECT_EQ(draws_.size(), 64u);
  EXPECT_EQ(group_->prompt_left(), 36);
  const SequenceGroup::Piece second = group_->append_rows(36, &prefixes_, kNow, &plan_);
  EXPECT_EQ(plan_.segments[1].position, 64);
  EXPECT_EQ(plan_.segments[1].first_row, 64);
  commit();
  group_->members()[0]->publish();
  TokenUpdate update = *streams_[0]->take();
  EXPECT_EQ(update.prompt_tokens_read, 64);
  EXPECT_EQ(update.prompt_logprobs.size(), 64u);
  group_->start_choices(&pool_, &runner_, &decoding_, &waiting_);
  draws_.clear();
  piece_ = second;
  group_->add_draws(&piece_, kNow, &draws_);
  EXPECT_EQ(draws_.size(), 35u + 1u);
  EXPECT_EQ(draws_[0].row, 64);
  commit();
  group_->members()[0]->publish();
  update = *streams_[0]->take();
  EXPECT_EQ(update.prompt_tokens_read, 100);
  EXPECT_EQ(update.text, "a");
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
