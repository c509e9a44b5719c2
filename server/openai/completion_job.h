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

// Thread safety: one thread at a time.
class CompletionJob {
 public:
  enum class State { kRunning, kDone, kFailed };

  // Reads `body`; the id of `arrival` is made here. Heavy for large bodies: never on an I/O thread.
  static std::variant<std::unique_ptr<CompletionJob>, ApiError> read(Services& services,
                                                                     const AnswerFormat& format,
                                                                     std::string body,
                                                                     Arrival arrival);
  ~CompletionJob();
  // Returns whether submit() would compile a grammar: then it is for Workers::post_compiling().
  bool must_compile() const { return generation_.must_compile(); }
  SteadyTime deadline() const { return generation_.deadline(); }
  // Submits what was read to the engine, after which poll() may be called. `notify` may be called
  // on the engine thread, when poll() has something to do.
  [[nodiscard]] std::optional<ApiError> submit(const std::function<void()>& notify) {
    return generation_.submit(notify);
  }

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
  struct PartStorage;  // what a ChoicePart refers to

  CompletionJob(Services& services, const AnswerFormat& format, GenerationRequest request,
                Arrival arrival);
  std::optional<ApiError> open_choices();
  std::optional<ApiError> echo_prompt(Choice* choice, size_t prompt);
  void absorb(Generation::Part part);
  void absorb_prompt_logprobs(const std::vector<TokenLogprob>& tokens, Choice* choice);
  ChoicePart take_part(Choice* choice, PartStorage* storage);
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
