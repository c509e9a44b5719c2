// Read-aheads: after an answer, when no request waits, the server reads the expected beginning of
// the conversation's next prompt, so that its state is kept when the prompt comes.
#pragma once
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "engine/loop/engine.h"
#include "server/base/limits.h"
#include "server/base/served_model.h"
#include "server/observe/log.h"
#include "server/observe/metrics.h"
#include "server/service/next_prompt.h"
#include "server/service/workers.h"

namespace deltaserve {

struct ReadAhead {
  std::string id;     // for the engine and the log
  PrefixReuse reuse;  // of the answered request, without its marks
  Conversation conversation;
};

// Bounds how many wait and how much memory they hold. Makes their tokens on a thread that serves no
// requests, and submits a few at a time, at a lower priority than any request. Each is counted by
// how it ended (Metrics::read_aheads) and logged at the level debug.
//
// Thread-safe.
class ReadAheads {
 public:
  // Everything outlives it; the engine and the workers are stopped before it is destroyed.
  ReadAheads(const ServedModel& model, const ServerLimits& limits, Engine& engine, Workers& workers,
             Metrics& metrics, Logger& log);

  // Takes a read-ahead, perhaps in place of the one that waits longest. Returns at once.
  void offer(ReadAhead read_ahead);

  // Drops half of those that wait: the ones that have waited longer.
  void drop_half();

  // Drops those of an owner that the engine does not have yet. The engine drops the others when it
  // forgets the owner's states, so it must be told afterwards.
  void drop(const PrefixOwner& owner);

  // Drops all and accepts no more, because the server drains. Idempotent.
  void close();

 private:
  struct Submitted {
    std::string id;
    int64_t tokens = 0;
    std::shared_ptr<TokenStream> stream;
  };

  void work();
  void remove_finished();
  bool take_next(ReadAhead* next);
  void submit(ReadAhead next);
  bool submit(const std::string& id, GenerateRequest request);
  void end(std::string_view id, int64_t tokens, std::string_view result);

  const ServedModel& model_;
  const ServerLimits& limits_;
  Engine& engine_;
  Workers& workers_;
  Metrics& metrics_;
  Logger& log_;

  std::mutex mutex_;
  // ---- Guarded by mutex_
  bool closed_ = false;
  std::deque<ReadAhead> waiting_;
  size_t waiting_bytes_ = 0;
  std::optional<PrefixOwner> preparing_;  // owner of the one whose tokens are being made
  std::vector<Submitted> submitted_;      // dropping a stream cancels its read-ahead
};

}  // namespace deltaserve
