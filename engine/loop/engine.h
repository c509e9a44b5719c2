// The serving loop: it takes requests and sends updates; one thread owns everything in between.
//
//   begin_step()   drops requests that are cancelled or late, admits waiting ones
//   plan_step()    asks the scheduler for the number of rows of each sequence
//   forward()      queues the forward pass
//   draw()         queues the draws
//   finish_step()  waits for the model, applies the finish rules, updates the readers
//
// On a device that runs ahead (StepRunner::steps_ahead()) the forward pass of step n + 1 is queued
// before step n is finished, and its draws after. A decode row can use a token that only the device
// knows yet, but masks and penalties are made on the host and need all tokens before them.
//
// A request for n answers is a group: its prompt is read once, then its n choices decode as
// separate sequences. Each choice owns a state slot from its own admission to its end, so n may
// exceed the slots. Requests are admitted by WaitingQueue's order; none is ever preempted or
// computed again. Decode rows come first in every step and prompt pieces fill the rest of the token
// budget, so a long prompt never stalls running streams.
//
// States of prompts are kept in slots of their own (PrefixIndex). A prompt that begins like one
// that was read before continues from the kept state, with the same results to the bit: only states
// of prefill at points of the 64-token grid are kept, which do not depend on the tokens after them.
// States of decoding are never kept. Read-aheads prepare what a later prompt is expected to begin
// with; they give up their slot to any request.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/limits.h"
#include "engine/loop/engine_stats.h"
#include "engine/reuse/reuse.h"
#include "engine/sequence/request.h"
#include "engine/sequence/token_stream.h"
#include "engine/step/step_runner.h"
#include "models/tokenizer/base/vocabulary.h"

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
  // The longest time for which a reader may take nothing while others wait for a slot.
  std::chrono::milliseconds unread = engine_limits::kUnread;
  // Whether a prompt may begin with the kept state of another. If not, the runner's snapshots only
  // hold the prompts of requests whose further answers wait for slots.
  bool share_prefixes = true;
  std::vector<int32_t> eos_token_ids;
  ModelFingerprint fingerprint = {};  // of the runner's model; part of the names of its states
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
  // DEADLINE_EXCEEDED means that the deadline has passed already. RESOURCE_EXHAUSTED means that the
  // queue is full. UNAVAILABLE means that the engine is draining or stopped. Read-aheads have a
  // short queue of their own.
  //
  // While the prompt is read, all streams receive its log-probabilities, so one full stream pauses
  // all choices: do not read the streams one after the other. Later each choice pauses on its own.
  absl::StatusOr<std::vector<std::shared_ptr<TokenStream>>> submit_choices(
      GenerateRequest request, int num_choices, const std::function<void()>& notify = nullptr);
  // Works like submit_choices() for several prompts, each with `num_choices` answers: the streams
  // of the first prompt come first. The prompts together never hold more places than there are
  // slots (or than a single prompt needs): further prompts join the end of the queue when earlier
  // ones have ended. There must be at least one request.
  absl::StatusOr<std::vector<std::shared_ptr<TokenStream>>> submit_list(
      std::vector<GenerateRequest> requests, int num_choices,
      const std::function<void()>& notify = nullptr);
  // Works like submit_choices() for a single answer.
  absl::StatusOr<std::shared_ptr<TokenStream>> submit(
      GenerateRequest request, const std::function<void()>& notify = nullptr);

  // Refuses new requests; queued and running ones finish. Returns at once.
  void drain();
  // Returns true once drain() was called and nothing is queued or running.
  bool drained() const;
  // Ends every choice with kCancelled after the step in progress and joins the engine thread.
  // Idempotent. Must not be called from `notify`.
  void stop();

  // Forgets the states that are kept for an owner, and ends the owner's read-aheads. Requests that
  // are submitted afterwards find none of these states; a request that has begun from one goes on.
  void clear_prefixes(const PrefixOwner& owner);

  // Forgets the less valuable half of the states that are kept, of all owners.
  void trim_prefixes();

  // Returns the current counters. A choice counts as finished before its reader sees the last
  // update.
  EngineStats stats() const;

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace deltaserve
