// Measures how long a device waits for the engine: the time between the end of a step's draws and
// the begin of the next forward pass, with a runner whose forward passes take 1 ms on a thread of
// its own. It also measures how much of the host's time a step takes, with a runner that takes none
// itself.
//
//   cmake --build --preset release --target engine_gap_bench
//   build/release/bin/engine_gap_bench
//
// The device's thread and the engine's thread are busy all the time and need two free cores: on a
// machine that is busy, run it with `chrt -r 10`.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/loop/engine.h"
#include "engine/sequence/token_constraint.h"
#include "engine/step/step_runner.h"
#include "kernels/base/check.h"

namespace deltaserve {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int32_t kVocabSize = 32000;
constexpr int kRows = 32;

// Draws the token t % 1000: an answer repeats itself, so that penalties do not grow without end.
void draw_tokens(std::span<const Draw> draws, std::span<DrawResult> results) {
  for (size_t i = 0; i < draws.size(); ++i) {
    const Draw& draw = draws[i];
    const auto token =
        static_cast<int32_t>((draw.position * 7 + draw.seed) % 1000 + draw.num_adjustments % 2);
    DS_CHECK(draw.allowed == nullptr || (draw.allowed[token / 32] >> (token % 32) & 1) != 0);
    results[i].token = token;
    results[i].num_top = draw.num_top;
  }
}

// A device whose forward passes take their time on its own thread and whose draws take almost none.
// At most one step is queued beyond the one that runs, so two places are enough.
class DeviceRunner final : public StepRunner {
 public:
  DeviceRunner(int steps_ahead, std::chrono::microseconds forward_time)
      : steps_ahead_(steps_ahead), forward_time_(forward_time), thread_([this] { compute(); }) {
    for (Place& place : places_) {
      place.draws.reserve(kRows);
      place.results.reserve(kRows);
    }
  }
  ~DeviceRunner() override {
    closing_ = true;
    thread_.join();
  }

  int max_rows() const override { return 512; }
  int max_sequences() const override { return kRows; }
  int max_snapshots() const override { return 0; }
  int32_t vocab_size() const override { return kVocabSize; }
  const FinalNorm& final_norm() const override { return no_norm_; }
  int steps_ahead() const override { return steps_ahead_; }

  Ticket forward(const Step& step) override {
    place(queued_forward_ + 1).decode_rows =
        step.segments[0].kind == RowKind::kDecode ? step.segments.count : 0;
    return {++queued_forward_, 0};
  }
  void draw(Ticket ticket, std::span<const Draw> draws) override {
    place(ticket.step).draws.assign(draws.begin(), draws.end());
    queued_draws_ = ticket.step;
  }
  void wait(Ticket ticket, std::span<DrawResult> results) override {
    while (done_ < ticket.step) std::this_thread::yield();
    const Place& from = place(ticket.step);
    std::copy(from.results.begin(), from.results.end(), results.begin());
  }
  void copy_slot(int, int) override {}

  // Returns microseconds between steps of kRows decode rows. May be called after the engine's end.
  const std::vector<double>& before_forward() const { return before_forward_; }
  const std::vector<double>& before_draws() const { return before_draws_; }

 private:
  struct Place {
    int64_t decode_rows = 0;
    std::vector<Draw> draws;
    std::vector<DrawResult> results;
  };

  Place& place(uint64_t step) { return places_[step % 2]; }

  void compute() {
    int64_t rows_before = 0;
    Clock::time_point end;
    for (uint64_t step = 1;; ++step) {
      while (queued_forward_ < step) {
        if (closing_) return;
      }
      const Clock::time_point began = Clock::now();
      const int64_t rows = place(step).decode_rows;
      if (rows == kRows && rows_before == kRows) add(&before_forward_, end, began);
      while (Clock::now() - began < forward_time_) continue;
      const Clock::time_point forward_end = Clock::now();
      while (queued_draws_ < step) continue;
      if (rows == kRows) add(&before_draws_, forward_end, Clock::now());
      place(step).results.resize(place(step).draws.size());
      draw_tokens(place(step).draws, place(step).results);
      rows_before = rows;
      end = Clock::now();
      done_ = step;
    }
  }

  static void add(std::vector<double>* times, Clock::time_point from, Clock::time_point to) {
    times->push_back(std::chrono::duration<double, std::micro>(to - from).count());
  }

  const FinalNorm no_norm_;
  const int steps_ahead_;
  const std::chrono::microseconds forward_time_;
  Place places_[2];
  std::vector<double> before_forward_, before_draws_;
  std::atomic<uint64_t> queued_forward_{0}, queued_draws_{0}, done_{0};
  std::atomic<bool> closing_{false};
  std::thread thread_;
};

// A runner that computes within the calls, in no time.
class InstantRunner final : public StepRunner {
 public:
  explicit InstantRunner(int64_t rows) : rows_(rows) {}

  int max_rows() const override { return 512; }
  int max_sequences() const override { return kRows; }
  int max_snapshots() const override { return 0; }
  int32_t vocab_size() const override { return kVocabSize; }
  const FinalNorm& final_norm() const override { return no_norm_; }
  int steps_ahead() const override { return 0; }
  Ticket forward(const Step& step) override {
    const Clock::time_point time = Clock::now();
    const bool decodes = step.segments.count == rows_ && step.segments[0].kind == RowKind::kDecode;
    if (decodes && decoded_) {
      between_.push_back(std::chrono::duration<double, std::micro>(time - before_).count());
    }
    decoded_ = decodes;
    before_ = time;
    return {++num_steps_, 0};
  }
  void draw(Ticket, std::span<const Draw> draws) override {
    draws_.assign(draws.begin(), draws.end());
  }
  void wait(Ticket, std::span<DrawResult> results) override { draw_tokens(draws_, results); }
  void copy_slot(int, int) override {}

  // Returns microseconds between forward passes of all rows.
  const std::vector<double>& between() const { return between_; }

 private:
  const FinalNorm no_norm_;
  const int64_t rows_;
  uint64_t num_steps_ = 0;
  bool decoded_ = false;
  Clock::time_point before_;
  std::vector<Draw> draws_;
  std::vector<double> between_;
};

// Allows one half of the vocabulary at a time; its mask takes about as long as a known grammar's.
class HalfConstraint final : public TokenConstraint {
 public:
  void allowed(std::span<uint32_t> words) const override {
    std::fill(words.begin(), words.begin() + words.size() / 2, ~uint32_t{0});
    std::fill(words.begin() + words.size() / 2, words.end(), 0);
  }
  void accept(int32_t) override {}
  bool finished() const override { return false; }
  std::unique_ptr<TokenConstraint> clone() const override {
    return std::make_unique<HalfConstraint>();
  }
};

void generate(StepRunner* runner, int rows, bool constrained_and_penalised, int64_t max_tokens) {
  const Vocabulary vocabulary;
  EngineOptions options;
  options.stream_capacity = 1 << 20;
  Engine engine(runner, &vocabulary, options);
  std::vector<std::shared_ptr<TokenStream>> streams;
  for (int i = 0; i < rows; ++i) {
    GenerateRequest request;
    request.prompt = {1, 2, 3};
    request.max_tokens = max_tokens;
    request.sampling.seed = static_cast<uint64_t>(i);
    if (constrained_and_penalised) {
      request.constraint = std::make_unique<HalfConstraint>();
      request.sampling.repetition_penalty = 1.1f;
      request.sampling.frequency_penalty = 0.1f;
      request.logprobs = 1;
    }
    streams.push_back(*engine.submit(std::move(request)));
  }
  for (const auto& stream : streams) {
    while (stream->wait()) continue;
  }
}

void print(const std::string& what, std::vector<double> times) {
  if (times.empty()) {
    std::printf("%-64s no step\n", what.c_str());
    return;
  }
  std::sort(times.begin(), times.end());
  const auto at = [&](size_t percent) { return times[(times.size() - 1) * percent / 100]; };
  std::printf("%-64s %8.2f %8.2f %8.2f %8zu\n", what.c_str(), at(50), at(90), at(99), times.size());
}

void run() {
  std::printf("%-64s %8s %8s %8s %8s\n", "microseconds", "median", "90 %", "99 %", "steps");
  for (const int steps_ahead : {1, 0}) {
    DeviceRunner runner(steps_ahead, std::chrono::milliseconds(1));
    generate(&runner, kRows, true, 2000);
    const std::string name = "32 constrained and penalised rows, 1 ms, " +
                             std::string(steps_ahead > 0 ? "a step ahead: " : "nothing ahead: ");
    print(name + "before forward", runner.before_forward());
    print(name + "before draws", runner.before_draws());
  }
  const std::pair<int, bool> cases[] = {{1, false}, {kRows, false}, {kRows, true}};
  for (const auto& [rows, constrained_and_penalised] : cases) {
    InstantRunner runner(rows);
    generate(&runner, rows, constrained_and_penalised, 20000);
    print(std::to_string(rows) + (constrained_and_penalised ? " constrained and penalised" : "") +
              (rows == 1 ? " row" : " rows") + ", no time, nothing ahead: between steps",
          runner.between());
  }
}

}  // namespace
}  // namespace deltaserve

int main() {
  deltaserve::run();
}
