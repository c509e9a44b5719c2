// The finish rules, one sequence at a time.
#include "engine/sequence.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/engine/fake_runner.h"

namespace deltaserve {
namespace {

const std::vector<int32_t> kEosIds{kTestEos};

class SequenceTest : public testing::Test {
 protected:
  SequenceTest() { request_.prompt = tokens_of("prompt"); }

  void start() {
    stream_ = std::make_shared<TokenStream>(1000, nullptr);
    sequence_ = std::make_unique<Sequence>(request_, &vocabulary_, &kEosIds, stream_);
    sequence_->admit(pool_.acquire());
    plan_and_commit(static_cast<int>(request_.prompt.size()), 0);
  }

  // Feeds generated tokens until the sequence ends or they run out.
  TokenUpdate generate(const std::vector<int32_t>& tokens) {
    stream_ = std::make_shared<TokenStream>(1000, nullptr);
    sequence_ = std::make_unique<Sequence>(request_, &vocabulary_, &kEosIds, stream_);
    sequence_->admit(pool_.acquire());
    int rows = static_cast<int>(request_.prompt.size());
    for (const int32_t token : tokens) {
      if (sequence_->status() == SequenceStatus::kEnded) break;
      plan_and_commit(rows, token);
      rows = 1;
    }
    sequence_->publish();
    return *stream_->take();
  }

  void plan_and_commit(int rows, int32_t token) {
    plan_ = {};
    head_rows_.clear();
    sequence_->append_rows(rows, &plan_, &head_rows_);
    std::vector<HeadResult> results(head_rows_.size());
    for (HeadResult& result : results) result.token = token;
    EXPECT_EQ(sequence_->commit(rows, results.data()), results.data() + results.size());
  }

  const Vocabulary vocabulary_ = byte_vocabulary();
  StatePool pool_{1};
  GenerateRequest request_;
  StepPlan plan_;
  std::vector<HeadRow> head_rows_;
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

  sequence_.reset();
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
  sequence_.reset();
  request_.max_tokens = 10;
  EXPECT_EQ(generate({'a', 'b', 'c', kTestEos}).text, "abc");
  sequence_.reset();
  EXPECT_EQ(generate({'a', 0xE2, kTestEos}).text, "a\xEF\xBF\xBD");
}

TEST_F(SequenceTest, LogprobsOnePerToken) {
  request_.logprobs = 0;
  request_.max_tokens = 2;
  EXPECT_EQ(generate(tokens_of("ab")).logprobs.size(), 2u);
  sequence_.reset();
  request_.logprobs = -1;
  EXPECT_TRUE(generate(tokens_of("ab")).logprobs.empty());
}

TEST_F(SequenceTest, RowsSayWhatIsSampled) {
  request_.sampling = {0.5f, 3, 0.9f, 0.1f, 77};
  request_.choice = 4;
  request_.logprobs = 2;
  request_.prompt_logprobs = 1;
  request_.max_tokens = 9;
  start();
  ASSERT_EQ(head_rows_.size(), 6u);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(head_rows_[i].row, i);
    EXPECT_EQ(head_rows_[i].target, request_.prompt[i + 1]);
    EXPECT_EQ(head_rows_[i].num_top, 1);
    EXPECT_FALSE(head_rows_[i].sample);
  }
  const HeadRow& last = head_rows_[5];
  EXPECT_TRUE(last.sample);
  EXPECT_EQ(last.target, -1);
  EXPECT_EQ(last.num_top, 2);
  EXPECT_EQ(last.temperature, 0.5f);
  EXPECT_EQ(last.top_k, 3);
  EXPECT_EQ(last.top_p, 0.9f);
  EXPECT_EQ(last.min_p, 0.1f);
  EXPECT_EQ(last.seed, 77u);
  EXPECT_EQ(last.choice, 4u);
  EXPECT_EQ(last.position, 6u);

  plan_and_commit(1, 'z');
  ASSERT_EQ(head_rows_.size(), 1u);
  EXPECT_EQ(head_rows_[0].position, 7u);
  EXPECT_EQ(plan_.segments[0].position, 6);
  plan_and_commit(1, 'y');
  EXPECT_EQ(plan_.token_ids, tokens_of("z"));
  EXPECT_EQ(plan_.segments[0].position, 7);
  EXPECT_EQ(sequence_->num_computed_tokens(), 8);
  EXPECT_EQ(sequence_->num_generated_tokens(), 3);
}

}  // namespace
}  // namespace deltaserve
