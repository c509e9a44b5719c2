#include "engine/sequence/request_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "engine/base/limits.h"
#include "kernels/program/step.h"

namespace deltaserve {
namespace {

constexpr RequestBounds kBounds{100, 50, true};

GenerateRequest good() {
  GenerateRequest request;
  request.prompt = {1, 2, 49};
  return request;
}

TEST(RequestCheck, AcceptsTheEdges) {
  GenerateRequest request = good();
  request.max_tokens = 0;
  request.prompt.assign(100, 0);
  request.sampling = {0, 0, 1, 1, 0, engine_limits::kRepetitionPenalty, -2, 2, {}};
  for (int32_t token = 0; token < 50; ++token) {
    request.sampling.logit_bias.emplace_back(token, token % 2 == 0 ? 100.0f : -100.0f);
  }
  request.min_tokens = 0;
  request.priority = std::numeric_limits<int32_t>::min();
  request.stop.assign(engine_limits::kStopStrings,
                      std::string(engine_limits::kStopStringBytes, 'x'));
  request.stop_token_ids = {0, 49};
  request.logprobs = kMaxTopLogprobs;
  request.prompt_logprobs = 0;
  EXPECT_TRUE(check_request(request, kBounds).ok()) << check_request(request, kBounds);
}

struct Case {
  const char* field;
  std::function<void(GenerateRequest&)> spoil;
};

TEST(RequestCheck, NamesTheField) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  const Case cases[] = {
      {"prompt", [](auto& r) { r.prompt.clear(); }},
      {"prompt", [](auto& r) { r.prompt.assign(101, 0); }},
      {"prompt", [](auto& r) { r.prompt = {50}; }},
      {"prompt", [](auto& r) { r.prompt = {-1}; }},
      {"max_tokens", [](auto& r) { r.max_tokens = -1; }},
      {"temperature", [](auto& r) { r.sampling.temperature = -0.1f; }},
      {"temperature", [=](auto& r) { r.sampling.temperature = nan; }},
      {"temperature", [=](auto& r) { r.sampling.temperature = inf; }},
      {"top_p", [](auto& r) { r.sampling.top_p = 0; }},
      {"top_p", [](auto& r) { r.sampling.top_p = 1.5f; }},
      {"top_p", [=](auto& r) { r.sampling.top_p = nan; }},
      {"min_p", [](auto& r) { r.sampling.min_p = -1; }},
      {"min_p", [=](auto& r) { r.sampling.min_p = nan; }},
      {"top_k", [](auto& r) { r.sampling.top_k = -1; }},
      {"repetition_penalty", [](auto& r) { r.sampling.repetition_penalty = 0; }},
      {"repetition_penalty", [](auto& r) { r.sampling.repetition_penalty = 10.5f; }},
      {"repetition_penalty", [=](auto& r) { r.sampling.repetition_penalty = nan; }},
      {"presence_penalty", [](auto& r) { r.sampling.presence_penalty = 2.1f; }},
      {"presence_penalty", [](auto& r) { r.sampling.presence_penalty = -2.1f; }},
      {"presence_penalty", [=](auto& r) { r.sampling.presence_penalty = nan; }},
      {"frequency_penalty", [](auto& r) { r.sampling.frequency_penalty = 2.1f; }},
      {"frequency_penalty", [=](auto& r) { r.sampling.frequency_penalty = -inf; }},
      {"logit_bias has token 50",
       [](auto& r) {
         r.sampling.logit_bias = {{50, 1.0f}};
       }},
      {"logit_bias has token -1",
       [](auto& r) {
         r.sampling.logit_bias = {{-1, 1.0f}};
       }},
      {"logit_bias of token 4",
       [](auto& r) {
         r.sampling.logit_bias = {{4, 100.5f}};
       }},
      {"logit_bias of token 4",
       [=](auto& r) {
         r.sampling.logit_bias = {{4, nan}};
       }},
      {"logit_bias has token 4 twice",
       [](auto& r) {
         r.sampling.logit_bias = {{4, 1.0f}, {3, 1.0f}, {4, 1.0f}};
       }},
      {"logit_bias has 1025",
       [](auto& r) {
         r.sampling.logit_bias.assign(engine_limits::kLogitBiases + 1, {1, 1.0f});
       }},
      {"min_tokens", [](auto& r) { r.min_tokens = -1; }},
      {"min_tokens", [](auto& r) { r.min_tokens = r.max_tokens + 1; }},
      {"logprobs", [](auto& r) { r.logprobs = kMaxTopLogprobs + 1; }},
      {"logprobs", [](auto& r) { r.logprobs = -2; }},
      {"prompt_logprobs", [](auto& r) { r.prompt_logprobs = kMaxTopLogprobs + 1; }},
      {"stop", [](auto& r) { r.stop = {""}; }},
      {"stop",
       [](auto& r) {
         r.stop = {"ok", "\xFF"};
       }},
      {"stop", [](auto& r) { r.stop.assign(engine_limits::kStopStrings + 1, "x"); }},
      {"stop", [](auto& r) { r.stop = {std::string(engine_limits::kStopStringBytes + 1, 'x')}; }},
      {"stop_token_ids", [](auto& r) { r.stop_token_ids = {50}; }},
      {"stop_token_ids",
       [](auto& r) { r.stop_token_ids.assign(engine_limits::kStopTokenIds + 1, 1); }},
  };
  for (const Case& c : cases) {
    GenerateRequest request = good();
    c.spoil(request);
    const absl::Status status = check_request(request, kBounds);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << c.field;
    EXPECT_THAT(std::string(status.message()), testing::StartsWith(c.field));
  }
}

TEST(RequestCheck, StopStringsNeedATokenizer) {
  GenerateRequest request = good();
  request.stop = {"x"};
  EXPECT_TRUE(absl::IsInvalidArgument(check_request(request, {100, 50, false})));
}

TEST(RequestCheck, NumberOfChoices) {
  EXPECT_TRUE(check_num_choices(1).ok());
  EXPECT_TRUE(check_num_choices(128).ok());
  for (const int n : {0, -1, 129}) {
    const absl::Status status = check_num_choices(n);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << n;
    EXPECT_THAT(std::string(status.message()), testing::StartsWith("n is " + std::to_string(n)));
  }
}

class Marked final : public TokenConstraint {
 public:
  void allowed(std::span<uint32_t>) const override {}
  void accept(int32_t) override {}
  bool finished() const override { return true; }
  std::unique_ptr<TokenConstraint> clone() const override { return std::make_unique<Marked>(); }
};

TEST(GenerateRequest, ClonesEveryField) {
  GenerateRequest request;
  request.id = "id";
  request.prompt = {1, 2};
  request.sampling.seed = 3;
  request.choice = 4;
  request.max_tokens = 5;
  request.stop = {"6"};
  request.stop_token_ids = {7};
  request.ignore_eos = true;
  request.include_stop = true;
  request.min_tokens = 8;
  request.constraint = std::make_unique<Marked>();
  request.priority = 9;
  request.deadline = SteadyTime(std::chrono::seconds(10));
  request.logprobs = 11;
  request.prompt_logprobs = 12;
  const GenerateRequest copy = request.clone();
  EXPECT_EQ(copy.id, request.id);
  EXPECT_EQ(copy.prompt, request.prompt);
  EXPECT_EQ(copy.sampling.seed, request.sampling.seed);
  EXPECT_EQ(copy.choice, request.choice);
  EXPECT_EQ(copy.max_tokens, request.max_tokens);
  EXPECT_EQ(copy.stop, request.stop);
  EXPECT_EQ(copy.stop_token_ids, request.stop_token_ids);
  EXPECT_TRUE(copy.ignore_eos);
  EXPECT_TRUE(copy.include_stop);
  EXPECT_EQ(copy.min_tokens, request.min_tokens);
  ASSERT_NE(copy.constraint, nullptr);
  EXPECT_NE(copy.constraint, request.constraint);
  EXPECT_EQ(copy.priority, request.priority);
  EXPECT_EQ(copy.deadline, request.deadline);
  EXPECT_EQ(copy.logprobs, request.logprobs);
  EXPECT_EQ(copy.prompt_logprobs, request.prompt_logprobs);
  EXPECT_EQ(GenerateRequest().clone().constraint, nullptr);
}

}  // namespace
}  // namespace deltaserve
