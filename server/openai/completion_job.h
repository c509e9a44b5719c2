// One completion over HTTP, as the bytes of its reply: the parts of a generation become server-sent
// events or one JSON object. It knows no connection.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "server/base/api_error.h"
#include "server/observe/log.h"
#include "server/openai/answer_format.h"
#include "server/service/generation.h"

namespace deltaserve {

// Thread safety: start() may run anywhere; then one thread at a time.
class CompletionJob {
 public:
  enum class State { kRunning, kDone, kFailed };

  // Reads `body` and submits it to the engine; the id of `arrival` is made here. Heavy for large
  // bodies: never on an I/O thread. `notify` may be called on the engine thread, when poll() has
  // something to do.
  static std::variant<std::unique_ptr<CompletionJob>, ApiError> start(
      Services& services, const AnswerFormat& format, std::string body, Arrival arrival,
      const std::function<void()>& notify);
  ~CompletionJob();

  bool streaming() const { return generation_.parameters().stream; }

  // Takes what the engine has produced so far. A streaming job appends its events to `out`, the
  // last ones with kDone or kFailed; otherwise the reply is appended as one object, with kDone.
  // After kFailed, error() says why.
  State poll(std::string* out);
  const ApiError& error() const { return *generation_.error(); }

  // Adds the fields for the access log.
  void describe(LogFields* fields) const;

 private:
  struct Choice;

  CompletionJob(Services& services, const AnswerFormat& format, GenerationRequest request,
                Arrival arrival);
  std::optional<ApiError> open_choices();
  std::optional<ApiError> echo_prompt(Choice* choice, size_t prompt);
  void absorb(Generation::Part part);
  void absorb_prompt_logprobs(const std::vector<TokenLogprob>& tokens, Choice* choice);
  ChoicePart take_part(Choice* choice, std::vector<std::string>* storage);
  void append_events(Choice* choice, std::string* out);
  void append_chunk(std::string_view choice, std::string* out);
  std::string prompt_members();
  Usage usage_sent() const;
  void append_reply(std::string* out);
  void append_figures(std::string* out);
  void append_last_events(std::string* out);

  const ServedModel& model_;
  const AnswerFormat& format_;
  const std::string id_;
  Generation generation_;
  const TokenNames names_;
  std::string prefix_;  // of the reply and of every chunk
  // A chat tells these once. JSON, empty: they are not wanted, or told.
  std::string prompt_token_ids_;
  std::vector<Choice> choices_;
};

}  // namespace deltaserve
