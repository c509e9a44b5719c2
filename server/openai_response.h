// What the server says: JSON text in the shapes of the OpenAI API, appended piece by piece so that
// a long reply is never held twice. Strings must be valid UTF-8 where they come from a model.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"
#include "server/api_error.h"
#include "server/openai_api.h"

namespace deltaserve {

// `text` quoted. Bytes that are not UTF-8 become U+FFFD.
void append_json_string(std::string* out, std::string_view text);
// Shortest text that reads back as this float's exact value; -inf and NaN become -9999.
void append_json_number(std::string* out, float value);
void append_json_ids(std::string* out, const std::vector<int32_t>& ids);

// How a token is shown: its text, "bytes:\xNN.." for part of a character, the piece's name for a
// control token, "token_id:N" without a tokenizer.
std::string token_label(const ServedModel& model, int32_t token);

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
};

// {"prompt_tokens":..,"completion_tokens":..,"total_tokens":..}
void append_usage(std::string* out, const Usage& usage);

// Grows the legacy `logprobs` object. take() returns what was added since the last take; offsets go
// on, in characters of the choice's text.
class LogprobsBuilder {
 public:
  // `skip_characters`: what the tokens' bytes have in front that the text has not (a space).
  void set_skip(int64_t skip_characters) { offset_ = -skip_characters; }
  // The first prompt token has no logprob: `known` false prints null twice.
  void add(const ServedModel& model, const TokenLogprob& token, bool known);
  bool empty() const { return tokens_.empty(); }
  std::string take();

 private:
  std::string tokens_, token_logprobs_, top_logprobs_, text_offsets_;
  int64_t offset_ = 0;
};

// One choice of a completion or of a chunk. Lists are JSON, ready to be copied.
struct ChoicePart {
  int index = 0;
  std::string_view text;
  std::string_view logprobs;  // empty = null
  FinishReason finish = FinishReason::kNone;
  std::string_view stop_reason;  // empty = null
  std::string_view token_ids;    // empty = left out, as the next
  std::string_view prompt_token_ids;
};

void append_choice(std::string* out, const ChoicePart& choice);

// {"id":..,"object":"text_completion","created":..,"model":..,"choices":[
std::string completion_prefix(std::string_view id, int64_t created, std::string_view model);

std::string error_json(const ApiError& error);
std::string model_json(const ServedModel& model);
std::string model_list_json(const ServedModel& model);

}  // namespace deltaserve
