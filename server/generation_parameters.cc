#include "server/generation_parameters.h"

#include <algorithm>
#include <limits>

#include "models/text.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

void read_sampling(FieldReader& fields, const ServedModel& model, GenerationParameters* out) {
  SamplingParams& sampling = out->generate.sampling;
  fields.number("temperature", 0, false, 2, &sampling.temperature);
  fields.number("top_p", 0, true, 1, &sampling.top_p);
  fields.number("min_p", 0, false, 1, &sampling.min_p);
  int64_t top_k = 0;
  fields.integer("top_k", -1, model.vocab_size, &top_k);
  sampling.top_k = static_cast<int32_t>(std::max<int64_t>(top_k, 0));
  fields.number("presence_penalty", -2, false, 2, &sampling.presence_penalty);
  fields.number("frequency_penalty", -2, false, 2, &sampling.frequency_penalty);
  fields.number("repetition_penalty", 0, true, 10, &sampling.repetition_penalty);
  fields.logit_bias(model.vocab_size, &sampling.logit_bias);
  if (fields.find("seed") != nullptr) {
    int64_t seed = 0;
    fields.integer("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max(),
                   &seed);
    out->seed = static_cast<uint64_t>(seed);
  }
  // More than there are slots would never run.
  int64_t n = 1;
  const int64_t most = std::min<int64_t>(fields.limits().choices_per_prompt, model.slots);
  fields.integer("n", 1, std::max<int64_t>(most, 1), &n);
  out->n = static_cast<int>(n);
}

void read_stops(FieldReader& fields, const ServedModel& model, GenerateRequest* generate) {
  fields.stop_strings(&generate->stop);
  if (!generate->stop.empty() && model.tokenizer == nullptr) {
    fields.fail("stop", "needs a tokenizer, and the model has none: use stop_token_ids");
  }
  fields.token_ids("stop_token_ids", fields.limits().stop_token_ids, model.vocab_size,
                   &generate->stop_token_ids);
  fields.boolean("include_stop_str_in_output", &generate->include_stop);
  fields.boolean("ignore_eos", &generate->ignore_eos);
  fields.integer("min_tokens", 0, fields.limits().max_tokens, &generate->min_tokens);
}

void read_scheduling(FieldReader& fields, GenerationParameters* out) {
  int64_t priority = 0;
  fields.integer("priority", std::numeric_limits<int32_t>::min(),
                 std::numeric_limits<int32_t>::max(), &priority);
  out->generate.priority = static_cast<int32_t>(priority);
  int64_t deadline = 0;
  fields.integer("deadline_ms", 1, fields.limits().request_timeout_ms, &deadline);
  if (deadline > 0) out->deadline_ms = deadline;
}

void read_stream(FieldReader& fields, GenerationParameters* out) {
  fields.boolean("stream", &out->stream);
  const json::value* options = fields.find("stream_options");
  if (options == nullptr) return;
  if (!out->stream) return fields.fail("stream_options", "needs stream to be true");
  if (!options->is_object()) return fields.fail("stream_options", "must be an object");
  for (const auto& [key, value] : options->get_object()) {
    if (key == "include_usage") {
      fields.read_bool("stream_options", "stream_options.include_usage", &value,
                       &out->include_usage);
    } else if (key == "continuous_usage_stats") {
      fields.read_bool("stream_options", "stream_options.continuous_usage_stats", &value,
                       &out->continuous_usage_stats);
    } else {
      fields.fail("stream_options", str_cat("has an unknown key: ", quoted(std::string_view(key))));
    }
  }
}

}  // namespace

const std::array<ParameterRule, 26> kGenerationParameters = {{
    {"model"},
    {"temperature"},
    {"top_p"},
    {"top_k"},
    {"min_p"},
    {"presence_penalty"},
    {"frequency_penalty"},
    {"repetition_penalty"},
    {"logit_bias", ParameterSize::kNested},
    {"seed"},
    {"n"},
    {"stop"},
    {"stop_token_ids"},
    {"include_stop_str_in_output"},
    {"ignore_eos"},
    {"min_tokens"},
    {"priority"},
    {"deadline_ms"},
    {"stream"},
    {"stream_options"},
    {"return_token_ids"},
    {"response_format", ParameterSize::kNested},
    {"structured_outputs", ParameterSize::kNested},
    {"user"},
    {"metadata"},
    {"logprobs"},
}};

void read_generation_parameters(FieldReader& fields, const ServedModel& model,
                                GenerationParameters* out) {
  read_sampling(fields, model, out);
  read_stops(fields, model, &out->generate);
  read_scheduling(fields, out);
  read_stream(fields, out);
  fields.boolean("return_token_ids", &out->return_token_ids);
  read_structured_output(fields, &out->structured);
  fields.string("user", fields.limits().user_bytes, &out->user);
  fields.metadata(&out->metadata);
}

void check_generation_parameters(FieldReader& fields, const GenerationParameters& parameters) {
  if (parameters.generate.min_tokens > parameters.generate.max_tokens) {
    fields.fail("min_tokens",
                str_cat("must not be above max_tokens, which is ", parameters.generate.max_tokens));
  }
}

std::optional<ApiError> check_model_name(FieldReader& fields, const ServedModel& model) {
  std::string name = model.name;
  fields.string("model", fields.limits().model_name_bytes, &name);
  if (fields.error()) return fields.error();
  if (name == model.name) return std::nullopt;
  return ApiError{404, str_cat("The model `", name, "` does not exist."), "invalid_request_error",
                  "model", "model_not_found"};
}

}  // namespace deltaserve
