// The rules of a generation's parameters: ranges, combinations, and defaults for the parameters
// that a client does not set. Pure functions, safe on any input and from any thread.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/sequence/request.h"
#include "server/base/api_error.h"
#include "server/base/limits.h"
#include "server/base/served_model.h"
#include "server/service/parameters.h"
#include "server/service/structured_output.h"

namespace deltaserve {

// The parameters with their defaults, ready for the engine.
struct GenerationParameters {
  // All fields are set but `id`, `prompt`, `choice`, `sampling.seed`, `constraint`, `deadline` and,
  // in `reuse`, what does not come from a parameter.
  GenerateRequest generate;
  std::optional<uint64_t> seed;  // absent: each prompt draws its own
  int n = 1;                     // choices per prompt
  std::optional<StructuredOutput> structured;
  std::optional<int64_t> deadline_ms;  // from the arrival of the request
  bool add_special_tokens = true;      // around a text prompt
  int64_t truncate_prompt_tokens = 0;  // to this many; 0: the prompt is not cut
  bool truncate_left = true;           // the last tokens stay
  bool echo = false;
  std::optional<bool> split_special_tokens;  // absent: the server's own setting
  int32_t prompt_logprobs = -1;              // reported beside the answer; an echo has its own
  bool skip_special_tokens = true;
  bool tokens_as_ids = false;  // log-probabilities name tokens "token_id:N"
  bool stream = false;
  bool include_usage = false;           // a last chunk with the usage
  bool continuous_usage_stats = false;  // usage in every chunk
  bool return_token_ids = false;
  std::string user;      // for the log, like the next
  std::string metadata;  // JSON, empty = none
};

// Returns the first parameter that is out of its range or does not fit another, by its name in
// `interface`.
[[nodiscard]] std::optional<ApiError> validate(const Parameters& given, Interface interface,
                                               const ServedModel& model,
                                               const ServerLimits& limits);

// Fills in the defaults. `given` must be valid.
GenerationParameters with_defaults(Parameters given, Interface interface,
                                   const ServerLimits& limits);

// Returns kModelNotFound if `name` is another model's; nullopt names the one that is served.
[[nodiscard]] std::optional<ApiError> check_model_name(const std::optional<std::string>& name,
                                                       const ServedModel& model,
                                                       const ServerLimits& limits);
// Returns the error for a name that is not that of the served model.
ApiError model_not_found(std::string_view name, const ServedModel& model);

// Refuses ids outside the vocabulary. They are the list `place` ("prompt[2]") of `param`.
[[nodiscard]] std::optional<ApiError> check_token_ids(std::string_view param,
                                                      std::string_view place,
                                                      const std::vector<int32_t>& ids,
                                                      const ServedModel& model);

}  // namespace deltaserve
