// POST /v1/completions as the OpenAI API defines it: JSON in, a checked request out. Pure
// functions, safe on any input and from any thread.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/request.h"
#include "models/tokenizer.h"
#include "server/api_error.h"
#include "server/limits.h"

namespace deltaserve {

// What the API needs to know of the model that is served. Constant; outlives every request.
struct ServedModel {
  std::string name;
  int64_t created = 0;  // Unix seconds
  int64_t vocab_size = 0;
  const Tokenizer* tokenizer = nullptr;  // null: token-id prompts only
  int32_t bos_to_prepend = -1;           // to text prompts; -1 = none
};

struct CompletionRequest {
  // Exactly one of the two is filled; no entry of token_prompts is empty.
  std::vector<std::string> text_prompts;
  std::vector<std::vector<int32_t>> token_prompts;
  // Every field but `id`, `prompt` and `sampling.seed`.
  GenerateRequest generate;
  std::optional<uint64_t> seed;  // absent: each prompt draws its own
  bool echo = false;
  bool stream = false;
  bool include_usage = false;           // a last chunk with the usage
  bool continuous_usage_stats = false;  // usage in every chunk
  bool return_token_ids = false;
  std::string user;

  size_t num_prompts() const { return text_prompts.size() + token_prompts.size(); }
};

// Fills `request`, or returns the error to report. `error.param` names a top-level parameter.
[[nodiscard]] std::optional<ApiError> parse_completion_request(std::string_view json,
                                                               const ServedModel& model,
                                                               const ServerLimits& limits,
                                                               CompletionRequest* request);

// Turns the prompts into token ids, one list a prompt: text is encoded with BOS in front if the
// model wants it, ids are moved out of `request`. The text stays for echo. Refuses a prompt without
// tokens, too many tokens, and more log-probabilities than the limits allow to hold.
[[nodiscard]] std::optional<ApiError> take_prompts(const ServedModel& model,
                                                   const ServerLimits& limits,
                                                   CompletionRequest* request,
                                                   std::vector<std::vector<int32_t>>* prompts);

}  // namespace deltaserve
