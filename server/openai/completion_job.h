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
#include "server/openai/answer_job.h"
#include "server/service/generation.h"

namespace deltaserve {

class CompletionJob final : public AnswerJob {
 public:
  // Reads `body`; the id of `arrival` is made here. Heavy for large bodies: never on an I/O thread.
  static std::variant<std::unique_ptr<AnswerJob>, ApiError> read(Services& services,
                                                                 const AnswerFormat& format,
                                                                 std::string body, Arrival arrival);
  ~CompletionJob() override;

  State poll(std::string* out) override;

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
  bool hold(const std::string& out);

  const ServedModel& model_;
  const AnswerFormat& format_;
  const TokenNames names_;
  std::string prefix_;  // of the reply and of every chunk
  // A chat sends these once, as JSON. Empty: they were not requested, or are already sent.
  std::string prompt_token_ids_;
  std::vector<Choice> choices_;
};

}  // namespace deltaserve
