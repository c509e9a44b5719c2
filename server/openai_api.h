// The request of POST /v1/completions: JSON in, a checked request out. Pure functions, safe on any
// input and from any thread.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/api_error.h"
#include "server/generation_parameters.h"
#include "server/limits.h"
#include "server/served_model.h"

namespace deltaserve {

struct CompletionRequest {
  // Exactly one of the two is filled; no entry of token_prompts is empty.
  std::vector<std::string> text_prompts;
  std::vector<std::vector<int32_t>> token_prompts;
  GenerationParameters parameters;
  bool echo = false;

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

// Whether all log-probabilities of a request may be held as text. `prompts`: of each the tokens,
// which count if they are echoed.
[[nodiscard]] std::optional<ApiError> check_logprob_entries(
    const GenerationParameters& parameters, bool echo, const ServerLimits& limits,
    const std::vector<std::vector<int32_t>>& prompts);

// Whether all of `ids` are inside the vocabulary; `param` holds them.
[[nodiscard]] std::optional<ApiError> check_token_ids(std::string_view param,
                                                      const std::vector<int32_t>& ids,
                                                      const ServedModel& model);

}  // namespace deltaserve
