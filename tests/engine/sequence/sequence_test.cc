// Tests the finish rules of one sequence at a time.
#include "engine/sequence/sequence.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/engine/sequence/fake_runner.h"

namespace deltaserve {
namespace {

const std::vector<int32_t> kEosIds{kTestEos};

constexpr SteadyTime kSubmitted{std::chrono::seconds(100)};

SteadyTime after(int seconds) {
  return kSubmitted + std::chrono::seconds(seconds);
}

bool allows(const Draw& row, int32_t token) {
  return row.allowed == nullptr || (row.allowed[token / 32] >> (token % 32) & 1) != 0;
}

class SequenceTest : public testing::Test {
 protected:
  SequenceTest() { request_.prompt = tokens_of("prompt"); }

  // Starts the sequence after its prompt was read.
  void start() {
    stream_ = std::make_shared<TokenStream>(1000, nullptr);
    auto request = std::make_shared<GenerateRequest>(request_.clone());
    auto constraint = std::move(request->constraint);
    sequence_ = std::make_unique<Sequence>(request, request->choice, std::move(constraint),
                                           &context_, stream_, kSubmitted);
    sequence_->admit(after(1));
    sequence_->set_prompt_tokens_read(6);
    sequence_->start(Penalties(request_.sampling, kTestVocabSize), pool_.acquire());
  }

  // Returns the next draw, which stays the same until commit().
  Draw next_draw() {
    if (!sequence_->awaits_result()) {
      sequence_->prepare_draw(after(2));
      draws_.clear();
      sequence_->add_draw(0, &draws_);
    }
    return draws_.at(0);
  }

  void commit(int32_t token, int seconds = 2) {
    DrawResult result;
    result.token = token;
    sequence_->commit(result, after(seconds));
  }

  TokenUpdate published() {
    sequence_->publish();
    return *stream_->take();
  }

  // Feeds generated tokens until the sequence ends or they run out.
  TokenUpdate generate(const std::vector<int32_t>& tokens) {
    start();
    for (const int32_t token : tokens) {
      if (sequence_->ended()) break;
      EXPECT_TRUE(allows(next_draw(), token)) << token;
      commit(token);
    }
    return published();
  }

  const Vocabulary vocabulary_ = byte_vocabulary();
  const SequenceContext context_{&vocabulary_, &kEosIds, kTestVocabSize};
  StatePool pool_{4};
  const StateSlot first_slot_ = pool_.acquire();
  GenerateRequest request_;
  std::vector<Draw> draws_;
  std::shared_ptr<TokenStream> stream_;
  std::unique_ptr<Sequence> sequence_;
};

TEST_F(SequenceTest, MaxTokens) {
  request_.max_tokens = 3;
  const TokenUpdate update = generate(tokens_of("abcdef"));
  EXPECT_EQ(update.text, "abc");
  EXPECT_EQ(update.finish, FinishReason::kLength);
  EXPECT_EQ(update.tokens_generated, 3);
  EXPECT_EQ(update.prompt_tokens_read, 6);
}

TEST_F(SequenceTest, EosGivesNoTextAndNoName) {
  const TokenUpdate update = generate({'a', kTestEos, 'b'});
  EXPECT_EQ(update.text, "a");
  EXPECT_EQ(update.tokens, (std::vector<int32_t>{'a', kTestEos}));
  EXPECT_EQ(update.tokens_generated, 2);
  EXPECT_EQ(update.finish, FinishReason::kStop);
  EXPECT_EQ(update.stop_string, "");
  EXPECT_EQ(update.stop_token, -1);
}

TEST_F(SequenceTest, IgnoredEosGoesOn) {
  request_.ignore_eos = true;
  request_.max_tokens = 3;
  const TokenUpdate update = generate({'a', kTestEos, 'b'});
  EXPECT_EQ(update.text, "ab");
  EXPECT_EQ(update.finish, FinishReason::kLength);
}

TEST_F(SequenceTest, AStopTokenIsNamedAndGivesNoText) {
  request_.stop_token_ids = {'x', kTestEos};
  TokenUpdate update = generate(tokens_of("axb"));
  EXPECT_EQ(update.text, "a");
  EXPECT_EQ(update.finish, FinishReason::kStop);
  EXPECT_EQ(update.stop_token, 'x');
  EXPECT_EQ(update.tokens_generated, 2);

  request_.ignore_eos = true;  // of no effect on stop tokens
  update = generate({'a', kTestEos});
  EXPECT_EQ(update.stop_token, kTestEos);
}

TEST_F(SequenceTest, StopStringsBeatLength) {
  request_.stop = {"bc"};
  request_.max_tokens = 3;
  const TokenUpdate update = generate(tokens_of("abcd"));
  EXPECT_EQ(update.text, "a");
  EXPECT_EQ(update.finish, FinishReason::kStop);
  EXPECT_EQ(update.stop_string, "bc");
  EXPECT_EQ(update.tokens_generated, 3);
}

TEST_F(SequenceTest, TheEndReleasesHeldText) {
  request_.stop = {"bcd"};
  request_.max_tokens = 3;
  EXPECT_EQ(generate(tokens_of("abcd")).text, "abc");
  request_.max_tokens = 10;
  EXPECT_EQ(generate({'a', 'b', 'c', kTestEos}).text, "abc");
  EXPECT_EQ(generate({'a', 0xE2, kTestEos}).text, "a\xEF\xBF\xBD");
}

TEST_F(SequenceTest, LogprobsOnePerToken) {
  request_.logprobs = 0;
  request_.max_tokens = 2;
  EXPECT_EQ(generate(tokens_of("ab")).logprobs.size(), 2u);
  request_.logprobs = -1;
  EXPECT_TRUE(generate(tokens_of("ab")).logprobs.empty());
}

TEST_F(SequenceTest, DrawsSayWhatIsSampled) {
  request_.sampling = {0.5f, 3, 0.9f, 0.1f, 77, 1, 0, 0, {}};
  request_.sampling.logit_bias = {{5, 1.5f}};
  request_.sampling.presence_penalty = 0.5f;
  request_.choice = 4;
  request_.logprobs = 2;
  request_.max_tokens = 9;
  start();
  const Draw draw = next_draw();
  EXPECT_TRUE(draw.sample);
  EXPECT_EQ(draw.target, -1);
  EXPECT_EQ(draw.num_top, 2);
  EXPECT_EQ(draw.temperature, 0.5f);
  EXPECT_EQ(draw.top_k, 3);
  EXPECT_EQ(draw.top_p, 0.9f);
  EXPECT_EQ(draw.min_p, 0.1f);
  EXPECT_EQ(draw.seed, 77u);
  EXPECT_EQ(draw.choice, 4u);
  EXPECT_EQ(draw.position, 6u);
  EXPECT_EQ(draw.allowed, nullptr);
  ASSERT_EQ(draw.num_adjustments, 1);
  EXPECT_EQ(draw.adjustments[0].token, 5);
  EXPECT_EQ(draw.adjustments[0].add, 1.5f);

  EXPECT_EQ(draw.slot, 1);

  commit('z');
  sequence_->prepare_draw(after(3));
  StepPlan plan;
  plan.token_ids = {7};
  draws_.clear();
  EXPECT_EQ(sequence_->append_row(&plan), 1);
  sequence_->add_draw(1, &draws_);
  EXPECT_EQ(plan.token_ids, (std::vector<int32_t>{7, 'z'}));
  EXPECT_EQ(plan.segments[0].kind, RowKind::kDecode);
  EXPECT_EQ(plan.segments[0].read_slot, 1);
  EXPECT_EQ(plan.segments[0].write_slot, 1);
  EXPECT_EQ(plan.segments[0].first_row, 1);
  EXPECT_EQ(plan.segments[0].position, 6);
  EXPECT_EQ(draws_[0].row, 1);
  EXPECT_EQ(draws_[0].slot, 1);
  EXPECT_EQ(draws_[0].position, 7u);
  ASSERT_EQ(draws_[0].num_adjustments, 2);
  EXPECT_EQ(draws_[0].adjustments[1].token, 'z');
  EXPECT_EQ(draws_[0].adjustments[1].add, -0.5f);
}

// ---- Rows ahead of tokens

TEST_F(SequenceTest, ARowIsAppendedBeforeItsTokenIsKnown) {
  request_.max_tokens = 4;
  start();
  StepPlan plan;
  EXPECT_TRUE(sequence_->token_under_way());
  next_draw();
  sequence_->append_row(&plan);
  commit('a');  // of the prompt's end
  EXPECT_TRUE(sequence_->token_under_way());
  EXPECT_EQ(next_draw().position, 7u);
  sequence_->append_row(&plan);
  commit('b');
  next_draw();
  commit('c');
  EXPECT_FALSE(sequence_->token_under_way());
  next_draw();
  sequence_->append_row(&plan);
  EXPECT_EQ(plan.token_ids, (std::vector<int32_t>{kTokenOfSlot, kTokenOfSlot, 'c'}));
  for (int64_t i = 0; i < 3; ++i) EXPECT_EQ(plan.segments[i].position, 6 + i);
}

TEST_F(SequenceTest, NoRowBehindTheLastToken) {
  request_.max_tokens = 2;
  start();
  StepPlan plan;
  next_draw();
  EXPECT_TRUE(sequence_->wants_row());
  sequence_->append_row(&plan);
  EXPECT_FALSE(sequence_->wants_row());  // both tokens are under way
  commit('a');
  EXPECT_FALSE(sequence_->wants_row());
  EXPECT_FALSE(sequence_->ended());
  request_.max_tokens = 1;
  start();
  EXPECT_FALSE(sequence_->wants_row());
  request_.max_tokens = 0;
  start();
  EXPECT_FALSE(sequence_->wants_row());
}

TEST_F(SequenceTest, ARowNeedsAMaskOrThePromiseOfOne) {
  request_.constraint = std::make_unique<TableConstraint>(
      std::vector<std::vector<int32_t>>{{'a'}, {'b'}, {'c'}, {'d'}, {'e'}});
  start();
  StepPlan plan;
  next_draw();
  EXPECT_FALSE(sequence_->ready_for_row());
  sequence_->let_run_ahead();
  EXPECT_TRUE(sequence_->ready_for_row());
  sequence_->append_row(&plan);
  commit('a');
  EXPECT_FALSE(sequence_->ready_for_row());  // the promise was for one row
  EXPECT_TRUE(allows(next_draw(), 'b'));
  sequence_->let_run_ahead();  // and is not used: its token comes first
  commit('b');
  EXPECT_FALSE(sequence_->ready_for_row());
  sequence_->prepare_draw(after(2));
  EXPECT_TRUE(sequence_->ready_for_row());
  sequence_->append_row(&plan);
  EXPECT_FALSE(sequence_->ready_for_row());
  EXPECT_EQ(plan.token_ids, (std::vector<int32_t>{kTokenOfSlot, 'b'}));
}

TEST_F(SequenceTest, AResultThatComesAfterTheEndIsForgotten) {
  start();
  next_draw();
  EXPECT_TRUE(sequence_->awaits_result());
  sequence_->end(FinishReason::kCancelled, after(2));
  EXPECT_TRUE(sequence_->awaits_result());
  commit('a', 9);
  EXPECT_FALSE(sequence_->awaits_result());
  const TokenUpdate update = published();
  EXPECT_EQ(update.finish, FinishReason::kCancelled);
  EXPECT_EQ(update.tokens_generated, 0);
  EXPECT_TRUE(update.tokens.empty());
  EXPECT_EQ(update.text, "");
}

// Allows any token; a mask takes the time that the test sets.
class TimedConstraint final : public TokenConstraint {
 public:
  explicit TimedConstraint(const std::chrono::milliseconds* time) : time_(time) {}
  void allowed(std::span<uint32_t> words) const override {
    std::this_thread::sleep_for(*time_);
    std::fill(words.begin(), words.end(), ~0u);
  }
  void accept(int32_t) override {}
  bool finished() const override { return false; }
  std::unique_ptr<TokenConstraint> clone() const override {
    return std::make_unique<TimedConstraint>(time_);
  }

 private:
  const std::chrono::milliseconds* const time_;
};

TEST_F(SequenceTest, ASlowMaskIsForgottenByHalves) {
  const auto prepare = [this] {
    const SteadyTime began = std::chrono::steady_clock::now();
    const SteadyTime done = sequence_->prepare_draw(began);
    EXPECT_EQ(sequence_->prepare_draw(done), done);  // there is nothing more to do
    return done - began;
  };
  std::chrono::milliseconds time(200);
  request_.constraint = std::make_unique<TimedConstraint>(&time);
  start();
  EXPECT_EQ(sequence_->expected_mask_time().count(), 0);
  const auto slow = prepare();
  EXPECT_GE(slow, time);
  EXPECT_EQ(sequence_->expected_mask_time(), slow);
  next_draw();
  commit('a');
  time = std::chrono::milliseconds(0);
  prepare();
  EXPECT_EQ(sequence_->expected_mask_time(), slow / 2);
}

// ---- include_stop

TEST_F(SequenceTest, IncludeStopReturnsTheString) {
  request_.stop = {"bc"};
  request_.include_stop = true;
  TokenUpdate update = generate(tokens_of("abcd"));
  EXPECT_EQ(update.text, "abc");
  EXPECT_EQ(update.stop_string, "bc");
  request_.max_tokens = 3;  // completed by the last token
  EXPECT_EQ(generate(tokens_of("abcd")).text, "abc");
}

TEST_F(SequenceTest, IncludeStopReturnsTheStopTokensText) {
  request_.stop_token_ids = {'x', kTestEos};
  request_.include_stop = true;
  TokenUpdate update = generate(tokens_of("axb"));
  EXPECT_EQ(update.text, "ax");
  EXPECT_EQ(update.stop_token, 'x');
  request_.stop = {"x"};  // both at once: the text is there once
  update = generate(tokens_of("axb"));
  EXPECT_EQ(update.text, "ax");
  EXPECT_EQ(update.stop_token, 'x');
  EXPECT_EQ(generate({'a', kTestEos}).text, "a");
}

TEST_F(SequenceTest, IncludeStopReturnsAStopThatTheEndCompletes) {
  request_.stop = {"b\xEF\xBF\xBD"};
  request_.max_tokens = 3;
  EXPECT_EQ(generate({'a', 'b', 0xE2}).text, "a");
  request_.include_stop = true;
  EXPECT_EQ(generate({'a', 'b', 0xE2}).text, "ab\xEF\xBF\xBD");
  EXPECT_EQ(generate({'a', 'b', 0xE2}).stop_string, "b\xEF\xBF\xBD");
}

// ---- min_tokens

TEST_F(SequenceTest, MinTokensKeepsTheEndFromBeingDrawn) {
  request_.min_tokens = 2;
  request_.stop_token_ids = {'x'};
  start();
  for (int i = 0; i < 2; ++i) {
    const Draw draw = next_draw();
    EXPECT_FALSE(allows(draw, kTestEos));
    EXPECT_FALSE(allows(draw, 'x'));
    EXPECT_TRUE(allows(draw, 'a'));
    EXPECT_TRUE(allows(draw, 0));
    EXPECT_TRUE(allows(draw, 255));
    commit('a');
  }
  EXPECT_EQ(next_draw().allowed, nullptr);
}

TEST_F(SequenceTest, NoStopStringBeginsInTheFirstTokens) {
  request_.min_tokens = 3;
  request_.stop = {"ab", "b\xEF\xBF\xBD"};
  TokenUpdate update = generate(tokens_of("ababab"));  // the second begins in the third token
  EXPECT_EQ(update.text, "abab");
  EXPECT_EQ(update.stop_string, "ab");
  EXPECT_EQ(update.tokens_generated, 6);
  request_.max_tokens = 3;
  update = generate({'a', 'b', 0xE2});
  EXPECT_EQ(update.text, "ab\xEF\xBF\xBD");
  EXPECT_EQ(update.finish, FinishReason::kLength);
}

TEST_F(SequenceTest, MinTokensYieldsWhereAllTokensAreStops) {
  request_.min_tokens = 2;
  for (int32_t token = 0; token < 256; ++token) request_.stop_token_ids.push_back(token);
  start();
  EXPECT_TRUE(allows(next_draw(), 'a'));
  EXPECT_TRUE(allows(next_draw(), kTestEos));
}

// ---- Constraints

TEST_F(SequenceTest, AConstraintMasksAndEndsWithoutAFurtherDraw) {
  request_.constraint = std::make_unique<TableConstraint>(
      std::vector<std::vector<int32_t>>{{'a', 'b'}, {'c', kTestEos}});
  start();
  Draw draw = next_draw();
  for (int32_t token = 0; token < kTestVocabSize; ++token) {
    EXPECT_EQ(allows(draw, token), token == 'a' || token == 'b') << token;
  }
  commit('b');
  EXPECT_TRUE(allows(next_draw(), kTestEos));
  commit('c');
  EXPECT_FALSE(sequence_->wants_draw());
  const TokenUpdate update = published();
  EXPECT_EQ(update.text, "bc");
  EXPECT_EQ(update.finish, FinishReason::kStop);
  EXPECT_EQ(update.tokens_generated, 2);
  EXPECT_EQ(generate({'a', kTestEos}).finish, FinishReason::kStop);
}

TEST_F(SequenceTest, AFulfilledConstraintBeatsLength) {
  request_.constraint =
      std::make_unique<TableConstraint>(std::vector<std::vector<int32_t>>{{'a'}, {'b'}});
  request_.max_tokens = 2;
  EXPECT_EQ(generate(tokens_of("ab")).finish, FinishReason::kStop);
  request_.max_tokens = 1;
  EXPECT_EQ(generate(tokens_of("ab")).finish, FinishReason::kLength);
}

TEST_F(SequenceTest, ConstraintAndMinTokens) {
  request_.constraint = std::make_unique<TableConstraint>(
      std::vector<std::vector<int32_t>>{{'a', kTestEos}, {'x', kTestEos}, {'c'}});
  request_.min_tokens = 3;
  request_.stop_token_ids = {'x'};
  start();
  EXPECT_FALSE(allows(next_draw(), kTestEos));
  EXPECT_TRUE(allows(next_draw(), 'a'));
  commit('a');
  // Only the end may come: the answer is shorter than min_tokens, because the constraint requires
  // it.
  EXPECT_TRUE(allows(next_draw(), 'x'));
  EXPECT_TRUE(allows(next_draw(), kTestEos));
  EXPECT_FALSE(allows(next_draw(), 'c'));
  commit(kTestEos);
  EXPECT_EQ(published().finish, FinishReason::kStop);
}

TEST_F(SequenceTest, ConstraintAndIgnoredEos) {
  request_.constraint = std::make_unique<TableConstraint>(
      std::vector<std::vector<int32_t>>{{'a', kTestEos}, {kTestEos}});
  request_.ignore_eos = true;
  start();
  EXPECT_FALSE(allows(next_draw(), kTestEos));  // could go on, so it does
  commit('a');
  EXPECT_TRUE(allows(next_draw(), kTestEos));
  commit(kTestEos);
  EXPECT_EQ(published().finish, FinishReason::kStop);
}

TEST_F(SequenceTest, AConstraintThatIsFulfilledFromTheStart) {
  request_.constraint = std::make_unique<TableConstraint>(std::vector<std::vector<int32_t>>{});
  start();
  EXPECT_FALSE(sequence_->wants_draw());
  EXPECT_FALSE(sequence_->wants_row());
  sequence_->end_without_draw(after(2));
  EXPECT_EQ(published().finish, FinishReason::kStop);
}

TEST_F(SequenceTest, AConstraintWithoutAWayOnIsAnError) {
  request_.constraint =
      std::make_unique<TableConstraint>(std::vector<std::vector<int32_t>>{{'a'}, {}});
  start();
  next_draw();
  commit('a');
  sequence_->prepare_draw(after(2));
  const TokenUpdate update = published();
  EXPECT_EQ(update.finish, FinishReason::kError);
  EXPECT_EQ(update.text, "a");
}

TEST_F(SequenceTest, BrokenLogitsEndTheAnswerByName) {
  start();
  next_draw();
  commit('a');
  next_draw();
  DrawResult broken;
  broken.token = 'b';
  broken.logprob = -std::numeric_limits<float>::infinity();
  sequence_->commit(broken, after(3));
  const TokenUpdate update = published();
  EXPECT_EQ(update.finish, FinishReason::kNotFinite);
  EXPECT_EQ(update.text, "a");
  EXPECT_EQ(update.tokens.size(), 1u);
}

// ---- Ends from outside

TEST_F(SequenceTest, DeadlineAndCancel) {
  request_.deadline = after(5);
  start();
  sequence_->end_if_unwanted(after(4));
  EXPECT_FALSE(sequence_->ended());
  sequence_->end_if_unwanted(after(5));
  EXPECT_EQ(published().finish, FinishReason::kDeadline);
  start();
  stream_->cancel();
  sequence_->end_if_unwanted(after(9));
  EXPECT_EQ(published().finish, FinishReason::kCancelled);
}

TEST_F(SequenceTest, SaysWhereTheTimeWent) {
  request_.max_tokens = 3;
  start();  // a second in the queue
  for (int i = 0; i < 3; ++i) {
    next_draw();
    commit('a', 4 + 10 * i);
  }
  TokenUpdate update = published();
  EXPECT_EQ(update.queue_seconds, 1);
  EXPECT_EQ(update.prefill_seconds, 3);
  EXPECT_EQ(update.decode_seconds, 20);
  start();
  sequence_->end(FinishReason::kCancelled, after(8));
  update = published();
  EXPECT_EQ(update.prefill_seconds, 7);
  EXPECT_EQ(update.decode_seconds, 0);
}

}  // namespace
}  // namespace deltaserve
