// What completions and chat completions have in common: how to draw, when to end, what to return.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "engine/request.h"
#include "server/field_reader.h"
#include "server/request_json.h"
#include "server/served_model.h"
#include "server/structured_output.h"

namespace deltaserve {

struct GenerationParameters {
  // Every field but `id`, `prompt`, `choice`, `sampling.seed`, `constraint` and `deadline`.
  GenerateRequest generate;
  std::optional<uint64_t> seed;  // absent: each prompt draws its own
  int n = 1;                     // choices per prompt
  std::optional<StructuredOutput> structured;
  std::optional<int64_t> deadline_ms;  // from the arrival of the request
  bool stream = false;
  bool include_usage = false;           // a last chunk with the usage
  bool continuous_usage_stats = false;  // usage in every chunk
  bool return_token_ids = false;
  std::string user;      // for the log, as the next
  std::string metadata;  // JSON, empty = none
};

// The parameters that read_generation_parameters() and check_model_name() know.
extern const std::array<ParameterRule, 26> kGenerationParameters;

// Everything but max_tokens and logprobs, which the two APIs spell differently.
void read_generation_parameters(FieldReader& fields, const ServedModel& model,
                                GenerationParameters* out);

// Refuses values that are fine each and not together; after max_tokens is known.
void check_generation_parameters(FieldReader& fields, const GenerationParameters& parameters);

// 404 when the request names another model than `model`; none means this one.
std::optional<ApiError> check_model_name(FieldReader& fields, const ServedModel& model);

}  // namespace deltaserve
