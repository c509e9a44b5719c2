// Embeddings of prompts: what is pooled, and that neither cuts, nor neighbours, nor kept states
// change a bit of it.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "tests/engine/loop/engine_testing.h"

namespace deltaserve {
namespace {

class Embeddings : public BothWays {};
DELTASERVE_BOTH_WAYS(Embeddings);

GenerateRequest embedding_of(int64_t prompt_tokens, Pooling pooling, uint64_t seed = 0) {
  GenerateRequest r = request(prompt_tokens, 0, seed);
  r.pooling = pooling;
  return r;
}

TokenUpdate ask_for(Engine& engine, const GenerateRequest& request) {
  auto stream = engine.submit(request.clone());
  EXPECT_TRUE(stream.ok()) << stream.status();
  return read_all(**stream);
}

// Pools the hidden states of the fake model in double precision.
std::vector<double> expected(const GenerateRequest& request) {
  const std::vector<double> norm = {1, 2, 3, 4};
  std::vector<double> sum(norm.size());
  const std::span<const int32_t> tokens = request.prompt;
  for (size_t seen = 1; seen <= tokens.size(); ++seen) {
    if (request.pooling == Pooling::kLast && seen < tokens.size()) continue;
    const std::vector<float> state = FakeRunner::hidden_state(tokens.first(seen));
    double squares = 0;
    for (const float x : state) squares += double{x} * x;
    for (size_t i = 0; i < sum.size(); ++i) {
      sum[i] += state[i] / std::sqrt(squares / 4 + 0.5) * norm[i];
    }
  }
  double squares = 0;
  for (const double x : sum) squares += x * x;
  for (double& x : sum) x /= std::sqrt(squares);
  return sum;
}

TEST_P(Embeddings, TheyAreThePooledAndNormedHiddenStates) {
  FakeRunner runner(steps_ahead(), 512, 4);
  Engine engine(&runner, &vocabulary(), options());
  for (const Pooling pooling : {Pooling::kLast, Pooling::kMean}) {
    for (const int64_t length : {1, 63, 64, 65, 1500}) {
      const GenerateRequest r = embedding_of(length, pooling);
      const TokenUpdate answer = ask_for(engine, r);
      EXPECT_EQ(answer.finish, FinishReason::kStop);
      EXPECT_TRUE(answer.tokens.empty());
      EXPECT_EQ(answer.prompt_tokens_read, length);
      const std::vector<double> wanted = expected(r);
      ASSERT_EQ(answer.embedding.size(), wanted.size());
      for (size_t i = 0; i < wanted.size(); ++i) {
        EXPECT_NEAR(answer.embedding[i], wanted[i], 1e-6) << length;
      }
    }
  }
}

TEST_P(Embeddings, NeitherCutsNorNeighboursNorKeptStatesChangeABit) {
  for (const Pooling pooling : {Pooling::kLast, Pooling::kMean}) {
    const GenerateRequest r = embedding_of(1000, pooling);
    std::vector<float> alone;
    for (const int rows : {512, 128}) {
      FakeRunner runner(steps_ahead(), rows, 4, FakeRunner::hashed_letter, 8);
      Engine engine(&runner, &vocabulary(), options());
      std::vector<std::shared_ptr<TokenStream>> others;
      if (rows == 128) {
        others.push_back(*engine.submit(request(300, 50, 1)));
        others.push_back(*engine.submit(embedding_of(700, Pooling::kMean, 2)));
        others.push_back(*engine.submit(embedding_of(70, Pooling::kLast, 3)));
      }
      const TokenUpdate cold = ask_for(engine, r);
      if (alone.empty()) alone = cold.embedding;
      EXPECT_EQ(cold.embedding, alone);
      const TokenUpdate warm = ask_for(engine, r);
      EXPECT_EQ(warm.embedding, alone);
      // The mean needs every row, and the last row only itself.
      EXPECT_EQ(warm.prompt_tokens_reused, pooling == Pooling::kLast ? 960 : 0);
      for (const auto& other : others) read_all(*other);
    }
  }
}

TEST_P(Embeddings, WhatHasTokensHasNoEmbedding) {
  FakeRunner runner(steps_ahead(), 512, 4);
  Engine engine(&runner, &vocabulary(), options());
  GenerateRequest r = request(10, 5);
  EXPECT_TRUE(ask_for(engine, r).embedding.empty());
  r.pooling = Pooling::kLast;
  EXPECT_EQ(engine.submit(r.clone()).status().code(), absl::StatusCode::kInvalidArgument);
  r.max_tokens = 0;
  r.prompt_logprobs = 1;
  EXPECT_EQ(engine.submit(std::move(r)).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(Embeddings, ACancelledOneFreesItsSlot) {
  FakeRunner runner(steps_ahead(), 128, 1);
  Engine engine(&runner, &vocabulary(), options());
  {
    const auto dropped = engine.submit(embedding_of(100000, Pooling::kMean));
    ASSERT_TRUE(dropped.ok());
  }
  EXPECT_EQ(ask_for(engine, embedding_of(100, Pooling::kMean)).finish, FinishReason::kStop);
}

TEST(Pooler, AZeroSumHasNoDirection) {
  Pooler pooler(Pooling::kMean);
  const FinalNorm norm{{1, 1}, 1e-6f};
  pooler.add(std::vector<float>{0, 0}, norm);
  EXPECT_EQ(pooler.result(), (std::vector<float>{0, 0}));
}

}  // namespace
}  // namespace deltaserve
