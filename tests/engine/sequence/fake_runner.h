// A StepRunner without a model: the next token is a function of the tokens that a slot has seen, so
// that a mistake in the tokens fed or the slots copied changes the text. It behaves like a device:
// with one step ahead, forward passes, copies and draws run in the order of the calls on a thread
// of its own, later than they were queued. It checks every call against the contract of StepRunner.
#pragma once
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "engine/sequence/request.h"
#include "engine/sequence/token_constraint.h"
#include "engine/sequence/token_stream.h"
#include "engine/step/step_runner.h"
#include "models/tokenizer/base/vocabulary.h"

namespace deltaserve {

inline constexpr int32_t kTestEos = 256;
inline constexpr int32_t kTestVocabSize = 257;

// Returns a vocabulary in which token t < 256 is the byte t; kTestEos has no bytes.
Vocabulary byte_vocabulary();
std::vector<int32_t> tokens_of(std::string_view bytes);

class FakeRunner final : public StepRunner {
 public:
  // `tokens` are all tokens of the sequence so far. A result that the draw does not allow is
  // replaced by the next token that it allows.
  using NextToken = std::function<int32_t(const std::vector<int32_t>& tokens, const Draw& draw)>;

  // Returns a letter that depends on every token, the seed, the choice and the position.
  static int32_t hashed_letter(const std::vector<int32_t>& tokens, const Draw& draw);
  // Returns the hidden state after `tokens`: four numbers that depend on all of them.
  static std::vector<float> hidden_state(std::span<const int32_t> tokens);
  // Returns the tokens of `text`, one for each position after a prompt of `num_prompt_tokens`.
  static NextToken script(std::string_view text, int64_t num_prompt_tokens);

  // With steps_ahead 0 everything is computed within the calls, as on the CPU; with 1 a thread
  // computes.
  FakeRunner(int steps_ahead, int max_rows, int max_sequences, NextToken next_token = hashed_letter,
             int max_snapshots = 0);
  ~FakeRunner() override;

  int max_rows() const override { return max_rows_; }
  int max_sequences() const override { return max_sequences_; }
  int max_snapshots() const override { return static_cast<int>(slots_.size()) - max_sequences_; }
  int32_t vocab_size() const override { return kTestVocabSize; }
  const FinalNorm& final_norm() const override { return final_norm_; }
  int steps_ahead() const override { return steps_ahead_; }
  Ticket forward(const deltaserve::Step& step) override;
  void draw(Ticket ticket, std::span<const Draw> draws) override;
  void wait(Ticket ticket, std::span<DrawResult> results) override;
  void copy_slot(int from, int to) override;
  void drop_slots(int first, int count) override;
  int max_host_snapshots() const override { return static_cast<int>(host_slots_.size()); }
  void store_slot(int from, int to) override;
  void load_slot(int from, int to) override;
  bool slot_is_loaded(int slot) override { return !loading_.at(slot); }

  struct Step {
    std::vector<Segment> segments;
    int num_decode = 0;
    int num_tokens_of_slot = 0;                // rows with kTokenOfSlot
    int num_draws = 0;                         // of a token
    std::vector<LogitAdjustment> adjustments;  // of all draws, in order
  };

  // A call that has returned; steps count from 1.
  struct Call {
    enum Kind { kForward, kDraw, kWait, kCopy } kind;
    uint64_t step = 0;  // for a copy: the step queued last

    bool operator==(const Call&) const = default;
  };

  // Sets how long forward passes and draws take. Must be called before the first step.
  void set_durations(std::chrono::microseconds forward, std::chrono::microseconds draw);
  // Gives it slots in the host's memory. Must be called before there is an engine.
  void have_host_slots(int count) { host_slots_.resize(count); }
  // From now on a slot that is loaded never says that it is. Must be called before the first step.
  void load_slowly() { loads_slowly_ = true; }
  // From now on a forward pass does not end before its draws are queued. A thread that waits for
  // the pass first is stuck, which fails the test after a while. Must be called before the first
  // step.
  void forward_until_drawn() { forward_until_drawn_ = true; }

  // While held, no wait() returns. Any thread may call this and the functions below.
  void hold();
  void release();
  // Waits until the engine waits for a step and is held.
  void wait_until_held();
  std::vector<Step> steps() const;
  std::vector<Call> calls() const;
  int num_copies() const;
  // Returns the slots that were dropped, in the order of the calls.
  std::vector<int> dropped() const;

 private:
  // The data of a queued step, kept until it is waited for.
  struct Queued {
    uint64_t number = 0;
    std::vector<int32_t> tokens;
    std::vector<Segment> segments;
    std::vector<int64_t> slot_writes;  // [segments] writes of the slot so far, with this one
    std::vector<Draw> draws;
    std::vector<uint64_t> pointed_to;  // [draws] a hash of what the draw points to
    std::vector<DrawResult> results;
    bool drawn = false;  // draw() was called
    bool done = false;
  };

  struct Drawn {
    int32_t token = -1;
    uint64_t position = 0;
  };

  void check(const deltaserve::Step& step) const;
  void check(const Queued& step, std::span<const Draw> draws) const;
  void enqueue(std::function<void()> work);
  void compute();
  void run_forward(Queued* step);
  void run_copy(int from, int to);
  void run_draws(Queued* step);
  void run_segment(const Queued& step, const Segment& segment);
  DrawResult result(const Queued& step, const Draw& draw);
  void record(Call::Kind kind, uint64_t step);

  const int steps_ahead_;
  const int max_rows_;
  const int max_sequences_;
  const NextToken next_token_;
  const FinalNorm final_norm_{{1, 2, 3, 4}, 0.5f};
  std::chrono::microseconds forward_time_{0}, draw_time_{0};
  bool forward_until_drawn_ = false;
  bool loads_slowly_ = false;
  std::vector<bool> loading_;  // by slot; the engine's

  // ---- Used by the computing thread
  std::vector<std::vector<int32_t>> slots_;  // tokens seen
  std::vector<std::vector<int32_t>> host_slots_;
  std::vector<int64_t> slot_writes_;
  std::vector<Drawn> drawn_;  // the last token of each slot; -1 = unknown

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<Queued>>
      queued_;              // the engine's; `drawn` and `done` guarded by mutex_
  uint64_t num_steps_ = 0;  // the engine's

  // ---- Guarded by mutex_
  std::deque<std::function<void()>> work_;
  bool closing_ = false;
  bool held_ = false;
  bool at_gate_ = false;
  std::vector<Step> steps_;
  std::vector<Call> calls_;
  int num_copies_ = 0;
  std::vector<int> dropped_;

  std::thread thread_;  // last
};

// A constraint given by a table: after n tokens those of allowed[n] may come; after the last entry
// it is finished.
class TableConstraint final : public TokenConstraint {
 public:
  explicit TableConstraint(std::vector<std::vector<int32_t>> allowed)
      : allowed_(std::move(allowed)) {}

  void allowed(std::span<uint32_t> words) const override;
  void accept(int32_t token) override;
  bool finished() const override { return num_accepted_ == allowed_.size(); }
  std::unique_ptr<TokenConstraint> clone() const override;

 private:
  std::vector<std::vector<int32_t>> allowed_;
  size_t num_accepted_ = 0;
};

// Reads to the end and merges all updates. Cancels after that many updates, -1 = never.
TokenUpdate read_all(TokenStream& stream, int cancel_after = -1);

}  // namespace deltaserve
