// Tests the engine with a real model: a choice that continues from a copied state has the same bits
// as alone.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/model_runner.h"
#include "kernels/base/thread_pool.h"
#include "tests/engine/fake_runner.h"
#include "tests/models/loaded_model.h"

namespace deltaserve {
namespace {

class EngineOnAModel : public testing::Test {
 protected:
  EngineOnAModel() : model_(DELTASERVE_BUNDLED_MODEL, 2), runner_(&*model_) {
    options_.eos_token_ids = model_->config().eos_token_ids;
    request_.max_tokens = 12;
    request_.logprobs = 2;
    request_.sampling.seed = 5;
    for (int32_t i = 0; i < 150; ++i) request_.prompt.push_back(10 + i * 7 % 1000);
  }

  TokenUpdate run_alone(uint32_t choice) {
    Engine engine(&runner_, &vocabulary_, options_);
    GenerateRequest alone = request_.clone();
    alone.choice = choice;
    return read_all(**engine.submit(std::move(alone)));
  }

  void expect_each_as_alone() {
    std::vector<TokenUpdate> together;
    {
      Engine engine(&runner_, &vocabulary_, options_);
      GenerateRequest other = request_.clone();
      other.prompt.resize(70);
      const auto neighbour = *engine.submit(std::move(other));
      const auto streams = *engine.submit_choices(request_.clone(), 4);
      for (const auto& stream : streams) together.push_back(read_all(*stream));
      read_all(*neighbour);
    }
    EXPECT_NE(together[0].tokens, together[1].tokens);
    for (uint32_t i = 0; i < 4; ++i) {
      const TokenUpdate alone = run_alone(i);
      EXPECT_EQ(together[i].tokens, alone.tokens);
      ASSERT_EQ(together[i].logprobs.size(), alone.logprobs.size());
      for (size_t t = 0; t < alone.logprobs.size(); ++t) {
        EXPECT_EQ(std::memcmp(&together[i].logprobs[t].logprob, &alone.logprobs[t].logprob,
                              sizeof(float)),
                  0);
        EXPECT_EQ(together[i].logprobs[t].top, alone.logprobs[t].top);
      }
    }
  }

  LoadedModel model_;
  ModelRunner runner_;
  const Vocabulary vocabulary_;  // none: tokens are what counts
  EngineOptions options_;
  GenerateRequest request_;
};

TEST_F(EngineOnAModel, ChoicesHaveTheBitsTheyWouldHaveAlone) {
  expect_each_as_alone();
}

TEST_F(EngineOnAModel, AndWithPenaltiesAndMasks) {
  request_.sampling.repetition_penalty = 1.3f;
  request_.sampling.frequency_penalty = 0.5f;
  request_.sampling.logit_bias = {{20, 3.0f}, {30, -100.0f}};
  request_.sampling.top_p = 0.95f;
  request_.min_tokens = 12;
  expect_each_as_alone();
}

TEST_F(EngineOnAModel, ABiasAndAMaskDecideWhatComes) {
  request_.sampling.temperature = 0;
  request_.sampling.logit_bias = {{77, 100.0f}};
  request_.max_tokens = 3;
  EXPECT_EQ(run_alone(0).tokens, (std::vector<int32_t>{77, 77, 77}));
  request_.constraint =
      std::make_unique<TableConstraint>(std::vector<std::vector<int32_t>>{{105}, {106, 77}, {108}});
  const TokenUpdate update = run_alone(0);
  EXPECT_EQ(update.tokens, (std::vector<int32_t>{105, 77, 108}));
  EXPECT_EQ(update.finish, FinishReason::kStop);
  EXPECT_LE(update.logprobs[0].logprob, update.logprobs[0].top[0].second);
}

}  // namespace
}  // namespace deltaserve
