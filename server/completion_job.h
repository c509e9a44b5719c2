// One completion or chat completion from its body to the bytes of its reply, free of any transport:
// parse, encode, submit every prompt, then turn the engine's updates into server-sent events or
// into one JSON object.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "engine/engine.h"
#include "server/api_error.h"
#include "server/generation_parameters.h"
#include "server/log.h"
#include "server/memory_budget.h"
#include "server/metrics.h"
#include "server/openai_response.h"

namespace deltaserve {

// What every job shares. All of it outlives the jobs.
struct CompletionContext {
  const ServedModel* model = nullptr;
  const ServerLimits* limits = nullptr;
  Engine* engine = nullptr;
  Metrics* metrics = nullptr;  // null: nothing is counted
};

enum class Api : uint8_t { kCompletions, kChat };

struct JobRequest {
  Api api = Api::kCompletions;
  std::string body;
  MemoryBudget::Lease lease;  // covers the body; it is kept until the job ends
  SteadyTime arrival;
  int64_t timeout_ms = 0;  // from the arrival, in addition to deadline_ms of the body; 0 = none
};

// Thread safety: start() may run anywhere; then one thread at a time.
class CompletionJob {
 public:
  enum class State { kRunning, kDone, kFailed };

  // Heavy for large bodies: never on an I/O thread. `notify` may be called on the engine thread,
  // when poll() has something to do.
  static std::variant<std::unique_ptr<CompletionJob>, ApiError> start(
      const CompletionContext& context, JobRequest request, std::function<void()> notify);
  // Cancels what still runs.
  ~CompletionJob();

  bool streaming() const { return parameters_.stream; }
  const std::string& id() const { return id_; }

  // Takes what the engine has produced so far. A streaming job appends its events to `out`, the
  // last ones with kDone or kFailed; otherwise the reply is appended as one object, with kDone.
  // After kFailed, error() says why.
  State poll(std::string* out);
  const ApiError& error() const { return error_; }

  // For the access log: tokens, times, how the choices ended, `user` and `metadata`.
  void describe(LogFields* fields) const;

 private:
  struct Choice;
  struct Input;

  CompletionJob(const CompletionContext& context, JobRequest request);
  std::optional<ApiError> read_body(Input* input);
  std::optional<ApiError> submit(Input input, const std::function<void()>& notify);
  void open_choice(Choice* choice, const Input& input, size_t prompt);
  void echo_prompt(Choice* choice, const Input& input, size_t prompt);
  void absorb(Choice* choice, TokenUpdate update);
  ChoicePart take_part(Choice* choice, std::vector<std::string>* storage);
  void append_events(Choice* choice, std::string* out);
  void append_chat_events(Choice* choice, std::string* out);
  void append_chunk(std::string_view choice, std::string* out);
  void append_reply(std::string* out);
  void append_last_events(std::string* out);
  State fail(FinishReason reason, std::string* out);
  Usage usage() const;

  const CompletionContext context_;
  JobRequest request_;
  GenerationParameters parameters_;
  std::string id_;
  std::string prefix_;  // of the reply and of every chunk
  std::vector<Choice> choices_;
  ApiError error_;
};

}  // namespace deltaserve
