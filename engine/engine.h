// The serving loop: it takes requests and sends updates; one thread owns everything in between.
//
//   begin_step()   drops requests that are cancelled or late, admits waiting ones
//   plan_step()    asks the scheduler for the number of rows of each sequence
//   forward()      queues the forward pass
//   draw()         queues the draws
//   finish_step()  waits for the model, applies the finish rules, updates the readers
//
// On a device that runs ahead (StepRunner::steps_ahead()) the forward pass of step n + 1 is queued
// before step n is finished, and its draws after. A decode row can use a token that so far only the
// device knows, but masks and penalties are made here and need all tokens before them.
//
// A request for n answers is a group: its prompt is read once, then its n choices decode as
// separate sequences. Each choice owns a state slot from admission to its end. A group is admitted
// when n slots are free, in the order of (priority, arrival). Decode rows come first in every step
// and prompt pieces fill the rest of the token budget, so a long prompt never stalls running
// streams.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/limits.h"
#include "engine/request.h"
#include "engine/step_runner.h"
#include "engine/token_stream.h"
#include "models/vocabulary.h"

namespace deltaserve {

// Options of the engine; limits.h describes what each bound costs.
struct EngineOptions {
  // The number of choices that may wait in addition to those in slots; each choice of a request
  // counts.
  int max_queued_requests = engine_limits::kQueuedRequests;
  // The number of rows per step, at most the runner's. Scheduler describes the guaranteed minimum.
  int max_step_tokens = engine_limits::kStepTokens;
  int64_t max_prompt_tokens = engine_limits::kPromptTokens;
  size_t stream_capacity = engine_limits::kStreamUpdates;
  std::chrono::microseconds mask_time = engine_limits::kMaskTime;
  std::vector<int32_t> eos_token_ids;
};

// Counters of the engine. A choice is one answer; a request has n of them. Rows computed for a
// choice that ended in the meantime are not counted, nor steps that consist of such rows only.
struct EngineStats {
  int64_t waiting = 0;  // choices in the queue at present
  int64_t running = 0;  // choices that own a slot at present
  int64_t slots = 0;
  int64_t steps = 0;          // since the start, like all below
  double busy_seconds = 0;    // with a step in flight
  int64_t prompt_tokens = 0;  // prefill rows of all steps; a prompt with n choices counts once
  int64_t decode_rows = 0;    // decode rows of all steps
  int64_t generated_tokens = 0;
  // The number of choices that ended, in total and by finish reason.
  int64_t finished = 0;
  int64_t finished_stop = 0;
  int64_t finished_length = 0;
  int64_t cancelled = 0;
  int64_t deadline_exceeded = 0;
  int64_t errors = 0;
};

// Thread safety: all public methods may be called from any thread.
class Engine {
 public:
  // `runner` and `vocabulary` must outlive the engine. With an empty vocabulary, updates carry no
  // text and stop strings are refused. The runner must take at least max_sequences + 64 rows: one
  // token for every stream and one chunk of a prompt.
  Engine(StepRunner* runner, const Vocabulary* vocabulary, EngineOptions options);
  // Calls stop().
  ~Engine();

  // Queues a request for `num_choices` answers. Stream i belongs to choice request.choice + i and
  // gets exactly what a request for that choice alone would get. If the last copy of a returned
  // pointer is dropped, that choice is cancelled. `notify` is shared by all streams; see
  // TokenStream.
  //
  // Errors: INVALID_ARGUMENT names a field that the engine cannot serve (num_choices: n).
  // DEADLINE_EXCEEDED: the deadline has passed already. RESOURCE_EXHAUSTED: the queue is full.
  // UNAVAILABLE: the engine is draining or stopped.
  //
  // While the prompt is read, all streams receive its log-probabilities, so one full stream pauses
  // all choices: do not read the streams one after the other. Later each choice pauses on its own.
  absl::StatusOr<std::vector<std::shared_ptr<TokenStream>>> submit_choices(
      GenerateRequest request, int num_choices, std::function<void()> notify = nullptr);
  // Works like submit_choices() for a single answer.
  absl::StatusOr<std::shared_ptr<TokenStream>> submit(GenerateRequest request,
                                                      std::function<void()> notify = nullptr);

  // Refuses new requests; queued and running ones finish. Returns at once.
  void drain();
  // Returns true once drain() was called and nothing is queued or running.
  bool drained() const;
  // Ends every choice with kCancelled after the step in progress and joins the engine thread.
  // Idempotent. Must not be called from `notify`.
  void stop();

  // Returns the current counters. A choice counts as finished before its reader sees the last
  // update.
  EngineStats stats() const;

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace deltaserve
