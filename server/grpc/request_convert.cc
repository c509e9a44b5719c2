#include "server/grpc/request_convert.h"

#include <boost/json/array.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "models/text.h"
#include "server/field_reader.h"
#include "server/generation_parameters.h"
#include "server/grpc/message_io.h"
#include "server/random.h"
#include "server/request_json.h"
#include "server/structured_output.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr char kSchema[] = "structured_outputs.json";

json::value json_text(const std::string& text) {
  return json::string(text.data(), text.size());
}

template <class Texts>
json::array json_texts(const Texts& texts) {
  json::array array;
  for (const std::string& text : texts) array.push_back(json_text(text));
  return array;
}

json::object structured_fields(const v1::StructuredOutputs& outputs) {
  json::object fields;
  switch (outputs.constraint_case()) {
    case v1::StructuredOutputs::kJson: fields["json"] = json_text(outputs.json()); break;
    case v1::StructuredOutputs::kJsonObject: fields["json_object"] = outputs.json_object(); break;
    case v1::StructuredOutputs::kRegex: fields["regex"] = json_text(outputs.regex()); break;
    case v1::StructuredOutputs::kChoice:
      fields["choice"] = json_texts(outputs.choice().texts());
      break;
    case v1::StructuredOutputs::kGrammar: fields["grammar"] = json_text(outputs.grammar()); break;
    case v1::StructuredOutputs::CONSTRAINT_NOT_SET: break;
  }
  return fields;
}

// The schema comes as text. It is read as the one parameter of a request, by the reader of those:
// with its bounds, and no key twice.
std::optional<ApiError> read_schema(const ServerLimits& limits, json::object* fields) {
  json::value* outputs = fields->if_contains("structured_outputs");
  json::value* schema = outputs != nullptr ? outputs->get_object().if_contains("json") : nullptr;
  if (schema == nullptr) return std::nullopt;
  static constexpr ParameterRule kRules[] = {{"json", ParameterSize::kNested}};
  const std::string body = str_cat("{\"json\":", std::string_view(schema->get_string()), "\n}");
  RequestBody parsed;
  if (const auto error = read_request_body(body, {{}, kRules, {}}, limits, &parsed)) {
    return invalid_parameter(kSchema, str_cat(kSchema, " must be a JSON schema: ", error->message));
  }
  *schema = std::move(parsed.fields["json"]);
  if (schema->is_null()) return invalid_parameter(kSchema, str_cat(kSchema, " must not be null"));
  return std::nullopt;
}

std::optional<ApiError> take_prompt(v1::GenerateRequest* message, const ServedModel& model,
                                    const ServerLimits& limits, std::vector<int32_t>* prompt) {
  switch (message->input_case()) {
    case v1::GenerateRequest::kPrompt:
      if (model.tokenizer == nullptr) {
        return invalid_parameter("prompt", "the model has no tokenizer: use prompt_token_ids");
      }
      *prompt = model.tokenizer->encode(message->prompt());
      if (model.bos_to_prepend >= 0) prompt->insert(prompt->begin(), model.bos_to_prepend);
      break;
    case v1::GenerateRequest::kPromptTokenIds:
      prompt->assign(message->prompt_token_ids().ids().begin(),
                     message->prompt_token_ids().ids().end());
      if (auto error = check_token_ids("prompt_token_ids", *prompt, model)) return error;
      break;
    case v1::GenerateRequest::INPUT_NOT_SET:
      return invalid_parameter("prompt", "prompt or prompt_token_ids is required");
  }
  message->clear_input();
  if (prompt->empty()) return invalid_parameter("prompt", "the prompt must not be empty");
  if (static_cast<int64_t>(prompt->size()) > limits.prompt_tokens) {
    return invalid_parameter("prompt",
                             str_cat("more than ", limits.prompt_tokens, " prompt tokens"));
  }
  return std::nullopt;
}

std::optional<ApiError> read_parameters(const json::object& values, const ServedModel& model,
                                        const ServerLimits& limits, GenerationParameters* out) {
  FieldReader fields(values, limits);
  read_generation_parameters(fields, model, out);
  out->generate.max_tokens = limits.default_max_tokens;
  fields.integer("max_tokens", 0, limits.max_tokens, &out->generate.max_tokens);
  int64_t logprobs = -1, prompt_logprobs = -1;
  fields.integer("logprobs", 0, limits.logprobs, &logprobs);
  fields.integer("prompt_logprobs", 0, limits.logprobs, &prompt_logprobs);
  out->generate.logprobs = static_cast<int32_t>(logprobs);
  out->generate.prompt_logprobs = static_cast<int32_t>(prompt_logprobs);
  check_generation_parameters(fields, *out);
  if (fields.error()) return fields.error();
  return check_model_name(fields, model);
}

}  // namespace

absl::Status read_generate_request(grpc::ByteBuffer* bytes, const ServerLimits& limits,
                                   const GrpcLimits& grpc_limits, v1::GenerateRequest* message) {
  WireBounds bounds;
  bounds.text_field = v1::GenerateRequest::kPromptFieldNumber;
  bounds.ids_field = v1::GenerateRequest::kPromptTokenIdsFieldNumber;
  bounds.ids_name = "prompt_token_ids";
  bounds.max_ids = limits.prompt_tokens;
  bounds.max_parameter_bytes = grpc_limits.parameter_bytes;
  return read_message(bytes, bounds, message);
}

absl::Status read_tokenize_request(grpc::ByteBuffer* bytes, const GrpcLimits& grpc_limits,
                                   v1::TokenizeRequest* message) {
  WireBounds bounds;
  bounds.text_field = v1::TokenizeRequest::kPromptFieldNumber;
  bounds.max_parameter_bytes = grpc_limits.parameter_bytes;
  return read_message(bytes, bounds, message);
}

absl::Status read_detokenize_request(grpc::ByteBuffer* bytes, const ServerLimits& limits,
                                     const GrpcLimits& grpc_limits,
                                     v1::DetokenizeRequest* message) {
  WireBounds bounds;
  bounds.ids_field = v1::DetokenizeRequest::kTokensFieldNumber;
  bounds.ids_name = "tokens";
  bounds.max_ids = limits.prompt_tokens;
  bounds.max_parameter_bytes = grpc_limits.parameter_bytes;
  return read_message(bytes, bounds, message);
}

json::object parameter_fields(const v1::GenerateRequest& message) {
  json::object fields;
  if (!message.model().empty()) fields["model"] = json_text(message.model());
  if (message.has_max_tokens()) fields["max_tokens"] = message.max_tokens();
  if (message.has_min_tokens()) fields["min_tokens"] = message.min_tokens();
  if (message.stop_size() > 0) fields["stop"] = json_texts(message.stop());
  if (message.stop_token_ids_size() > 0) {
    fields["stop_token_ids"] =
        json::array(message.stop_token_ids().begin(), message.stop_token_ids().end());
  }
  fields["include_stop_str_in_output"] = message.include_stop_str_in_output();
  fields["ignore_eos"] = message.ignore_eos();
  if (message.has_n()) fields["n"] = message.n();
  if (message.has_temperature()) fields["temperature"] = message.temperature();
  if (message.has_top_p()) fields["top_p"] = message.top_p();
  if (message.has_top_k()) fields["top_k"] = message.top_k();
  if (message.has_min_p()) fields["min_p"] = message.min_p();
  if (message.has_seed()) fields["seed"] = message.seed();
  if (message.has_presence_penalty()) fields["presence_penalty"] = message.presence_penalty();
  if (message.has_frequency_penalty()) fields["frequency_penalty"] = message.frequency_penalty();
  if (message.has_repetition_penalty()) {
    fields["repetition_penalty"] = message.repetition_penalty();
  }
  if (message.logit_bias_size() > 0) {
    json::object bias;
    for (const auto& [token, value] : message.logit_bias()) bias[str_cat(token)] = value;
    fields["logit_bias"] = std::move(bias);
  }
  if (message.has_structured_outputs()) {
    fields["structured_outputs"] = structured_fields(message.structured_outputs());
  }
  if (message.has_logprobs()) fields["logprobs"] = message.logprobs();
  if (message.has_prompt_logprobs()) fields["prompt_logprobs"] = message.prompt_logprobs();
  if (message.has_priority()) fields["priority"] = message.priority();
  if (!message.user().empty()) fields["user"] = json_text(message.user());
  return fields;
}

std::optional<ApiError> convert_request(v1::GenerateRequest* message, const ServedModel& model,
                                        const ServerLimits& limits, EngineRequest* request) {
  json::object fields = parameter_fields(*message);
  if (auto error = read_schema(limits, &fields)) return error;
  GenerationParameters parameters;
  if (auto error = read_parameters(fields, model, limits, &parameters)) return error;
  request->generate = std::move(parameters.generate);
  request->num_choices = parameters.n;
  request->generate.sampling.seed = parameters.seed ? *parameters.seed : random_bits();
  if (parameters.structured) {
    auto constraint = make_constraint_for(*parameters.structured, model);
    if (!constraint.ok()) {
      return api_error_from(constraint.status(), parameters.structured->param);
    }
    request->generate.constraint = *std::move(constraint);
  }
  return take_prompt(message, model, limits, &request->generate.prompt);
}

std::optional<ApiError> check_model_name(const std::string& name, const ServedModel& model,
                                         const ServerLimits& limits) {
  json::object values;
  if (!name.empty()) values["model"] = json_text(name);
  FieldReader fields(values, limits);
  return check_model_name(fields, model);
}

}  // namespace deltaserve
