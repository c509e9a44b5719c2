// One POST /v1/completions from its body to the bytes of its reply, free of any transport: parse,
// encode, submit every prompt, then turn the engine's updates into server-sent events or into one
// JSON object.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "engine/engine.h"
#include "server/api_error.h"
#include "server/memory_budget.h"
#include "server/openai_api.h"
#include "server/openai_response.h"

namespace deltaserve {

// What every job shares. All of it outlives the jobs.
struct CompletionContext {
  const ServedModel* model = nullptr;
  const ServerLimits* limits = nullptr;
  Engine* engine = nullptr;
};

// Thread safety: start() may run anywhere; then one thread at a time.
class CompletionJob {
 public:
  enum class State { kRunning, kDone, kFailed };

  // Heavy for large bodies: never on an I/O thread. `notify` may be called on the engine thread,
  // when poll() has something to do. `lease` covers the body; it is kept until the job ends.
  static std::variant<std::unique_ptr<CompletionJob>, ApiError> start(
      const CompletionContext& context, std::string body, MemoryBudget::Lease lease,
      std::function<void()> notify);
  // Cancels what still runs.
  ~CompletionJob();

  bool streaming() const { return request_.stream; }
  const std::string& id() const { return id_; }

  // Takes what the engine has produced so far. A streaming job appends its events to `out`, the
  // last ones with kDone or kFailed; otherwise the reply is appended as one object, with kDone.
  // After kFailed, error() says why.
  State poll(std::string* out);
  const ApiError& error() const { return error_; }

 private:
  struct Choice;

  CompletionJob(const CompletionContext& context, MemoryBudget::Lease lease);
  std::optional<ApiError> submit(std::vector<std::vector<int32_t>> prompts,
                                 const std::function<void()>& notify);
  void open_choice(Choice* choice, int index, const std::vector<int32_t>& prompt);
  void absorb(Choice* choice, TokenUpdate update);
  void append_choice_part(Choice* choice, std::string* out);
  void append_event(Choice* choice, std::string* out);
  void append_reply(std::string* out);
  void append_last_events(std::string* out);
  State fail(FinishReason reason, std::string* out);
  Usage usage() const;

  const CompletionContext context_;
  MemoryBudget::Lease lease_;
  CompletionRequest request_;
  std::string id_;
  std::string prefix_;  // of the reply and of every chunk
  std::vector<Choice> choices_;
  ApiError error_;
};

}  // namespace deltaserve
