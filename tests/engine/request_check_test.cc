#include "engine/request_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>

#include "engine/limits.h"
#include "kernels/ops.h"

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
  request.sampling = {0, 0, 1, 1, 0};
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

}  // namespace
}  // namespace deltaserve
