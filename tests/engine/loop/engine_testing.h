// Helpers for tests of a whole engine over a FakeRunner.
#pragma once
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>

#include "engine/loop/engine.h"
#include "tests/engine/sequence/fake_runner.h"

namespace deltaserve {

using Stream = std::shared_ptr<TokenStream>;

// Runs a test with a runner that computes within the calls, and with one that runs a step ahead.
class BothWays : public testing::TestWithParam<int> {
 protected:
  static int steps_ahead() { return GetParam(); }
};

#define DELTASERVE_BOTH_WAYS(suite)                                  \
  INSTANTIATE_TEST_SUITE_P(StepsAhead, suite, testing::Values(0, 1), \
                           [](const auto& param) { return std::to_string(param.param); })

inline const Vocabulary& vocabulary() {
  static const Vocabulary* const vocabulary = new Vocabulary(byte_vocabulary());
  return *vocabulary;
}

inline EngineOptions options() {
  EngineOptions options;
  options.eos_token_ids = {kTestEos};
  return options;
}

// Makes a request whose prompt depends on its length and the seed.
inline GenerateRequest request(int64_t prompt_tokens, int64_t max_tokens, uint64_t seed = 0) {
  GenerateRequest request;
  for (int64_t i = 0; i < prompt_tokens; ++i) {
    request.prompt.push_back(static_cast<int32_t>((i * 7 + static_cast<int64_t>(seed)) % 256));
  }
  request.max_tokens = max_tokens;
  request.sampling.seed = seed;
  return request;
}

}  // namespace deltaserve
