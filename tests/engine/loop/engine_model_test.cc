// Tests the engine with a real model: a choice that continues from a copied state has the same bits
// as alone, and so has one whose rows are queued before their tokens are known.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/loop/engine.h"
#include "engine/loop/model_runner.h"
#include "kernels/base/thread_pool.h"
#include "tests/engine/sequence/fake_runner.h"
#include "tests/models/loaded_model.h"

namespace deltaserve {
namespace {

// Makes a device that runs ahead of a runner that computes within its calls: a thread makes them.
class QueueRunner final : public StepRunner {
 public:
  explicit QueueRunner(StepRunner* inner) : inner_(inner), thread_([this] { compute(); }) {}
  ~QueueRunner() override {
    enqueue(nullptr);
    thread_.join();
  }

  int max_rows() const override { return inner_->max_rows(); }
  int max_sequences() const override { return inner_->max_sequences(); }
  int max_snapshots() const override { return inner_->max_snapshots(); }
  int32_t vocab_size() const override { return inner_->vocab_size(); }
  const FinalNorm& final_norm() const override { return inner_->final_norm(); }
  int steps_ahead() const override { return 1; }

  Ticket forward(const Step& step) override {
    std::vector<int32_t> tokens(step.tokens.begin(), step.tokens.end());
    std::vector<Segment> segments(step.segments.begin(), step.segments.end());
    tokens_of_slot_ += std::count(tokens.begin(), tokens.end(), kTokenOfSlot);
    enqueue([this, tokens = std::move(tokens), segments = std::move(segments)] {
      inner_ticket_ = inner_->forward({array_of(tokens), array_of(segments)});
    });
    return {++num_steps_, 0};
  }
  void draw(Ticket ticket, std::span<const Draw> draws) override {
    enqueue([this, ticket, draws = std::vector<Draw>(draws.begin(), draws.end())] {
      inner_->draw(inner_ticket_, draws);
      std::vector<DrawResult> results(draws.size());
      inner_->wait(inner_ticket_, results);
      std::lock_guard lock(mutex_);
      done_[ticket.step] = std::move(results);
      changed_.notify_all();
    });
  }
  void wait(Ticket ticket, std::span<DrawResult> results) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done_.contains(ticket.step); });
    const std::vector<DrawResult> done = std::move(done_.extract(ticket.step).mapped());
    ASSERT_EQ(done.size(), results.size());
    std::copy(done.begin(), done.end(), results.begin());
  }
  // Rows so far whose token was not known.
  int64_t tokens_of_slot() const { return tokens_of_slot_; }
  void copy_slot(int from, int to) override {
    enqueue([this, from, to] { inner_->copy_slot(from, to); });
  }

 private:
  // Queues work for the thread; null ends it.
  void enqueue(std::function<void()> work) {
    std::lock_guard lock(mutex_);
    work_.push_back(std::move(work));
    changed_.notify_all();
  }

  void compute() {
    for (;;) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return !work_.empty(); });
      const std::function<void()> work = std::move(work_.front());
      work_.pop_front();
      lock.unlock();
      if (!work) return;
      work();
    }
  }

  StepRunner* const inner_;
  std::atomic<int64_t> tokens_of_slot_{0};
  Ticket inner_ticket_;     // the thread's
  uint64_t num_steps_ = 0;  // the engine's
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> work_;            // guarded by mutex_
  std::map<uint64_t, std::vector<DrawResult>> done_;  // guarded by mutex_
  std::thread thread_;
};

class EngineOnAModel : public testing::TestWithParam<int> {
 protected:
  EngineOnAModel() : model_(DELTASERVE_ENGINE_TEST_MODEL, 2), runner_(&*model_) {
    options_.eos_token_ids = model_->config().eos_token_ids;
    request_.max_tokens = 12;
    request_.logprobs = 2;
    request_.sampling.seed = 5;
    for (int32_t i = 0; i < 150; ++i) request_.prompt.push_back(10 + i * 7 % 80);
  }

  StepRunner* runner() {
    return GetParam() == 0 ? static_cast<StepRunner*>(&runner_) : &queue_runner_;
  }

  TokenUpdate run_alone(uint32_t choice, StepRunner* runner) {
    Engine engine(runner, &vocabulary_, options_);
    GenerateRequest alone = request_.clone();
    alone.choice = choice;
    return read_all(**engine.submit(std::move(alone)));
  }

  void expect_each_as_alone() {
    std::vector<TokenUpdate> together;
    {
      Engine engine(runner(), &vocabulary_, options_);
      GenerateRequest other = request_.clone();
      other.prompt.resize(70);
      const auto neighbour = *engine.submit(std::move(other));
      const auto streams = *engine.submit_choices(request_.clone(), 4);
      for (const auto& stream : streams) together.push_back(read_all(*stream));
      read_all(*neighbour);
    }
    EXPECT_EQ(queue_runner_.tokens_of_slot() > 0, GetParam() > 0);
    EXPECT_NE(together[0].tokens, together[1].tokens);
    for (uint32_t i = 0; i < 4; ++i) {
      const TokenUpdate alone = run_alone(i, &runner_);
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
  QueueRunner queue_runner_{&runner_};
  const Vocabulary vocabulary_;  // none: tokens are what counts
  EngineOptions options_;
  GenerateRequest request_;
};

INSTANTIATE_TEST_SUITE_P(StepsAhead, EngineOnAModel, testing::Values(0, 1));

TEST_P(EngineOnAModel, ChoicesHaveTheBitsTheyWouldHaveAlone) {
  expect_each_as_alone();
}

TEST_P(EngineOnAModel, AndWithPenaltiesAndMasks) {
  request_.sampling.repetition_penalty = 1.3f;
  request_.sampling.frequency_penalty = 0.5f;
  request_.sampling.logit_bias = {{20, 3.0f}, {30, -100.0f}};
  request_.sampling.top_p = 0.95f;
  request_.min_tokens = 12;
  expect_each_as_alone();
}

TEST_P(EngineOnAModel, ABiasAndAMaskDecideWhatComes) {
  request_.sampling.temperature = 0;
  request_.sampling.logit_bias = {{77, 100.0f}};
  request_.max_tokens = 3;
  EXPECT_EQ(run_alone(0, runner()).tokens, (std::vector<int32_t>{77, 77, 77}));
  request_.constraint =
      std::make_unique<TableConstraint>(std::vector<std::vector<int32_t>>{{45}, {46, 77}, {48}});
  const TokenUpdate update = run_alone(0, runner());
  EXPECT_EQ(update.tokens, (std::vector<int32_t>{45, 77, 48}));
  EXPECT_EQ(update.finish, FinishReason::kStop);
  EXPECT_LE(update.logprobs[0].logprob, update.logprobs[0].top[0].second);
}

// Embeddings of the texts, each submitted before any of them is read.
std::vector<std::vector<float>> embeddings_of(StepRunner* runner, const EngineOptions& options,
                                              const std::vector<GenerateRequest>& requests) {
  const Vocabulary none;
  Engine engine(runner, &none, options);
  std::vector<std::shared_ptr<TokenStream>> streams;
  for (const GenerateRequest& request : requests)
    streams.push_back(*engine.submit(request.clone()));
  std::vector<std::vector<float>> embeddings;
  for (const auto& stream : streams) embeddings.push_back(read_all(*stream).embedding);
  return embeddings;
}

TEST_P(EngineOnAModel, EmbeddingsHaveTheSameBitsAloneAndTogetherAndCutAnywhere) {
  for (const Pooling pooling : {Pooling::kLast, Pooling::kMean}) {
    std::vector<GenerateRequest> requests;
    for (const size_t length : {1, 64, 150, 149, 65}) {
      GenerateRequest& request = requests.emplace_back(request_.clone());
      request.prompt.resize(length);
      request.max_tokens = 0;
      request.pooling = pooling;
    }
    requests.push_back(request_.clone());  // a neighbour that decodes
    EngineOptions small_steps = options_;
    small_steps.max_step_tokens = static_cast<int>(model_->limits().max_sequences) + 64;
    const auto together = embeddings_of(runner(), options_, requests);
    const auto cut = embeddings_of(runner(), small_steps, requests);
    for (size_t i = 0; i + 1 < requests.size(); ++i) {
      std::vector<GenerateRequest> alone;
      alone.push_back(requests[i].clone());
      const std::vector<float> wanted = embeddings_of(&runner_, options_, alone).front();
      EXPECT_EQ(wanted.size(), static_cast<size_t>(model_->config().hidden_size));
      EXPECT_EQ(together[i], wanted);
      EXPECT_EQ(cut[i], wanted);
    }
  }
}

}  // namespace
}  // namespace deltaserve
