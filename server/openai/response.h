// The server's replies: JSON text in the shapes of the OpenAI API, appended piece by piece so that
// a long reply is never held twice. Strings must be valid UTF-8 where they come from a model.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sequence/request.h"
#include "server/base/api_error.h"
#include "server/base/json_text.h"
#include "server/base/served_model.h"
#include "server/openai/text_offsets.h"
#include "server/service/usage.h"
#include "server/tools/answer_delta.h"

namespace deltaserve {

// Says how log-probabilities name tokens.
struct TokenNames {
  const ServedModel& model;
  bool show_control_tokens = false;
  bool ids = false;  // "token_id:N" for all
};

// Returns how a token is shown: its text, "bytes:\xNN.." for part of a character, nothing or the
// piece's name for a control token, "token_id:N" without a tokenizer.
std::string token_label(const TokenNames& names, int32_t token);

// {"prompt_tokens":..,"completion_tokens":..,"total_tokens":..,
//  "prompt_tokens_details":{"cached_tokens":..},
//  "completion_tokens_details":{"reasoning_tokens":..}}
void append_usage(std::string* out, const Usage& usage);
// {"time_to_first_token_ms":..,"decode_ms":..}, each null if it is not known
void append_timings(std::string* out, const Timings& timings);

// Grows the logprobs object of a choice. take() returns what was added since the last take.
class LogprobsBuilder {
 public:
  virtual ~LogprobsBuilder() = default;
  // `known` is false for the first prompt token, which has no logprob.
  virtual void add(const TokenNames& names, const TokenLogprob& token, bool known) = 0;
  virtual bool empty() const = 0;
  // Returns the bytes of what take() would return, or a little more.
  virtual size_t bytes() const = 0;
  virtual std::string take() = 0;
};

// Builds the object of completions: four parallel lists. Offsets continue across calls of take(),
// in characters of the choice's text; an unknown logprob prints null twice.
class CompletionLogprobs : public LogprobsBuilder {
 public:
  // The first tokens are those of a prompt, whose text comes before the answer.
  void set_prompt(const EchoedPrompt& prompt);
  void add(const TokenNames& names, const TokenLogprob& token, bool known) override;
  bool empty() const override { return tokens_.empty(); }
  size_t bytes() const override {
    return tokens_.capacity() + token_logprobs_.capacity() + top_logprobs_.capacity() +
           text_offsets_.capacity();
  }
  std::string take() override;

 private:
  std::string tokens_, token_logprobs_, top_logprobs_, text_offsets_;
  std::vector<int64_t> prompt_offsets_;
  size_t num_added_ = 0;
  OffsetCounter answer_;
};

// Builds the object of chat completions: {"content":[{token, logprob, bytes, top_logprobs}],
// "refusal":null}. `bytes` is null for a control token.
class ChatLogprobs : public LogprobsBuilder {
 public:
  void add(const TokenNames& names, const TokenLogprob& token, bool known) override;
  bool empty() const override { return content_.empty(); }
  size_t bytes() const override { return content_.capacity(); }
  std::string take() override;

 private:
  std::string content_;
};

// Appends an entry of the list prompt_logprobs of vLLM: {"id":{"logprob","rank","decoded_token"}}
// of the token and the `most` most likely ones. The rank is null if it is not known.
void append_prompt_logprob(std::string* out, const TokenNames& names, const TokenLogprob& token,
                           int32_t most);

// One choice of a reply or of a chunk. Lists are JSON, ready to be copied.
struct ChoicePart {
  int index = 0;
  std::span<const AnswerDelta> deltas = {};
  std::string_view logprobs = {};  // empty = null
  FinishReason finish = FinishReason::kNone;
  bool stopped_for_calls = false;     // kStop is reported as "tool_calls"
  std::string_view stop_reason = {};  // empty = null
  std::string_view token_ids = {};    // empty = left out, like the next
  std::string_view prompt_token_ids = {};
  std::string_view prompt_logprobs = {};
};

// Appends a choice of a completion, whole or as part of a chunk.
void append_choice(std::string* out, const ChoicePart& choice);
// Appends a choice of a chat completion: {"message":{..}}.
void append_chat_choice(std::string* out, const ChoicePart& choice);
// Appends a choice of a chat chunk: {"delta":{..}}. It has the role and empty content if `first` is
// true, and the members of the choice's delta; there is at most one delta.
void append_chat_delta(std::string* out, const ChoicePart& choice, bool first);

// {"id":..,"object":<object>,"created":..,"model":..,"system_fingerprint":..
void append_reply_head(std::string* out, std::string_view id, std::string_view object,
                       int64_t created, const ServedModel& model);
// The same and ,"choices":[
std::string reply_prefix(std::string_view id, std::string_view object, int64_t created,
                         const ServedModel& model);

int http_status(ErrorKind kind);
// {"error":{"message":..,"type":..,"param":..,"code":..}}
std::string error_json(const ApiError& error);
// Returns the reply to GET /v1/models/{id}. It adds to OpenAI's fields the bytes of one sequence's
// state, the slots, and whether there is a chat template.
std::string model_json(const ServedModel& model);
std::string model_list_json(const ServedModel& model);

}  // namespace deltaserve
