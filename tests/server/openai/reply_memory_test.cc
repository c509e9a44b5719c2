// Tests that the part of an answer which waits to be sent counts against the memory of all.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <variant>

#include "server/openai/answer_format.h"
#include "server/openai/completion_job.h"
#include "tests/server/service/service_testing.h"

namespace deltaserve {
namespace {

using State = AnswerJob::State;

constexpr char kScored[] =
    R"({"prompt":[1,2,3],"max_tokens":100,"ignore_eos":true,"logprobs":3,"return_token_ids":true)";

class ReplyMemory : public testing::TestWithParam<bool> {
 protected:
  static ServerLimits limits_of(uint64_t total) {
    ServerLimits limits;
    limits.large_body_bytes = 256;
    limits.total_body_bytes = total;
    return limits;
  }

  static std::string body() {
    return std::string(kScored) + (GetParam() ? R"(,"stream":true})" : "}");
  }

  static std::unique_ptr<AnswerJob> job_of(TestServices& test) {
    Arrival arrival;
    arrival.time = std::chrono::steady_clock::now();
    auto read =
        CompletionJob::read(*test.services, completions_format(), body(), std::move(arrival));
    if (const ApiError* error = std::get_if<ApiError>(&read)) {
      ADD_FAILURE() << error->message;
      return nullptr;
    }
    auto job = std::get<0>(std::move(read));
    const auto error = job->submit([] {});
    EXPECT_FALSE(error) << error->message;
    return job;
  }

  // Polls, into one text as if nothing was sent, until the job ends or the engine has nothing left.
  static State poll_all(TestServices& test, AnswerJob& job, std::string* out) {
    while (test.engine.stats().running + test.engine.stats().waiting > 0) std::this_thread::yield();
    State state = State::kRunning;
    while (state == State::kRunning) state = job.poll(out);
    return state;
  }
};

TEST_P(ReplyMemory, IsCountedUntilTheReplyIsGone) {
  TestServices test(4, 8, KeyRing(), limits_of(1 << 20));
  auto job = job_of(test);
  ASSERT_NE(job, nullptr);
  std::string out;
  EXPECT_EQ(poll_all(test, *job, &out), State::kDone);
  EXPECT_GT(out.size(), 1000u);
  EXPECT_GE(test.services->budget.held(), out.size());
  job.reset();
  EXPECT_EQ(test.services->budget.held(), 0u);
}

TEST_P(ReplyMemory, TooMuchEndsTheRequest) {
  TestServices test(4, 8, KeyRing(), limits_of(1000));
  auto job = job_of(test);
  ASSERT_NE(job, nullptr);
  std::string out;
  EXPECT_EQ(poll_all(test, *job, &out), State::kFailed);
  EXPECT_EQ(job->error().kind, ErrorKind::kOverloaded);
  EXPECT_LT(out.size(), 1000u);
  EXPECT_LE(test.services->budget.held(), 1000u);
  job.reset();
  EXPECT_EQ(test.services->budget.held(), 0u);
}

INSTANTIATE_TEST_SUITE_P(WholeAndStreamed, ReplyMemory, testing::Bool());

}  // namespace
}  // namespace deltaserve
