// The serving loop: requests in, updates out, one thread that owns everything in between.
//
//   begin_step()   drop what was cancelled, admit what waits
//   plan_step()    scheduler: who gets how many rows
//   submit, wait   the model
//   commit_step()  counters, text, finish rules; then the readers hear of it
//
// A sequence that is admitted owns a state slot until it ends; admission is a free slot and nothing
// else. Decode rows go first in every step, prompt pieces fill the rest of the token budget, so a
// long prompt never stalls running streams.
#pragma once
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
  int max_queued_requests = engine_limits::kQueuedRequests;  // beyond what the slots hold
  // Rows of one step; never more than the runner's. See Scheduler for the guaranteed minimum.
  int max_step_tokens = engine_limits::kStepTokens;
  int64_t max_prompt_tokens = engine_limits::kPromptTokens;
  size_t stream_capacity = engine_limits::kStreamUpdates;
  std::vector<int32_t> eos_token_ids;
};

struct EngineStats {
  int64_t waiting = 0;  // now
  int64_t running = 0;  // now: sequences that own a slot
  int64_t slots = 0;
  int64_t steps = 0;  // since start, as all below
  int64_t prompt_tokens = 0;
  int64_t generated_tokens = 0;
  int64_t finished = 0;  // requests that ended in any way
  int64_t cancelled = 0;
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

  // Queues a request. INVALID_ARGUMENT: a field that the engine cannot serve, named.
  // RESOURCE_EXHAUSTED: the queue is full. UNAVAILABLE: draining or stopped. `notify`: see
  // TokenStream. When the last copy of the returned pointer goes, the request is cancelled.
  absl::StatusOr<std::shared_ptr<TokenStream>> submit(GenerateRequest request,
                                                      std::function<void()> notify = nullptr);

  // Refuses new requests; those queued and running finish. Returns at once.
  void drain();
  // True once draining and nothing is queued or running.
  bool drained() const;
  // Ends every request with kCancelled after the step in progress and joins the engine thread.
  // Idempotent. Not from `notify`.
  void stop();

  // A request counts as finished before its reader sees the last update.
  EngineStats stats() const;

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace deltaserve
