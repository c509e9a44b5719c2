// The serving loop: requests in, updates out, one thread that owns everything in between.
//
//   begin_step()   drops what is unwanted or late, admits what waits
//   plan_step()    asks the scheduler who gets how many rows
//   forward()      queues the forward pass
//   draw()         queues the draws
//   finish_step()  waits for the model; counters, text, finish rules; then the readers hear of it
//
// On a device that runs ahead (StepRunner::steps_ahead()) the forward pass of step n + 1 is queued
// before step n is finished, and its draws after: a decode row needs a token that only the device
// knows yet, but masks and penalties are made here, from all tokens before.
//
// A request for n answers is a group: its prompt is read once, then its n choices decode as
// sequences of their own. Each owns a state slot from admission to its end; a group is admitted
// when there are n free slots, in the order of (priority, arrival), and nothing else. Decode rows
// go first in every step, prompt pieces fill the rest of the token budget, so a long prompt never
// stalls running streams.
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

// See limits.h for what each bound costs.
struct EngineOptions {
  // Beyond what the slots hold; each choice of a request counts.
  int max_queued_requests = engine_limits::kQueuedRequests;
  // Rows of one step; never more than the runner's. See Scheduler for the guaranteed minimum.
  int max_step_tokens = engine_limits::kStepTokens;
  int64_t max_prompt_tokens = engine_limits::kPromptTokens;
  size_t stream_capacity = engine_limits::kStreamUpdates;
  std::chrono::microseconds mask_time = engine_limits::kMaskTime;
  std::vector<int32_t> eos_token_ids;
};

// A choice is one answer; a request has n of them. Rows that were computed for a choice which ended
// meanwhile are not counted, nor steps of nothing else.
struct EngineStats {
  int64_t waiting = 0;  // now: choices in the queue
  int64_t running = 0;  // now: choices that own a slot
  int64_t slots = 0;
  int64_t steps = 0;          // since start, as all below
  double busy_seconds = 0;    // with a step in flight
  int64_t prompt_tokens = 0;  // read = prefill rows of all steps; a prompt of n choices counts once
  int64_t decode_rows = 0;    // of all steps
  int64_t generated_tokens = 0;
  // Choices that ended, then by finish reason.
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
  // `runner` and `vocabulary` must outlive the engine. The vocabulary may be empty: then updates
  // carry no text and stop strings are refused. The runner takes at least max_sequences + 64 rows:
  // a token for every stream and a chunk of a prompt.
  Engine(StepRunner* runner, const Vocabulary* vocabulary, EngineOptions options);
  // Stops at once.
  ~Engine();

  // Queues a request for `num_choices` answers; stream i is that of choice request.choice + i and
  // brings exactly what a request for that choice alone would. INVALID_ARGUMENT: a field that the
  // engine cannot serve, named (num_choices: n). DEADLINE_EXCEEDED: it has passed already.
  // RESOURCE_EXHAUSTED: the queue is full. UNAVAILABLE: draining or stopped. `notify`: see
  // TokenStream; one for all streams. When the last copy of a returned pointer goes, that choice is
  // cancelled. While the prompt is read, all streams bring its log-probabilities, so one that is
  // full pauses all choices: do not read them one after the other. Later each pauses for itself.
  absl::StatusOr<std::vector<std::shared_ptr<TokenStream>>> submit_choices(
      GenerateRequest request, int num_choices, std::function<void()> notify = nullptr);
  // The same for one.
  absl::StatusOr<std::shared_ptr<TokenStream>> submit(GenerateRequest request,
                                                      std::function<void()> notify = nullptr);

  // Refuses new requests; those queued and running finish. Returns at once.
  void drain();
  // True once draining and nothing is queued or running.
  bool drained() const;
  // Ends every choice with kCancelled after the step in progress and joins the engine thread.
  // Idempotent. Not from `notify`.
  void stop();

  // A choice counts as finished before its reader sees the last update.
  EngineStats stats() const;

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace deltaserve
