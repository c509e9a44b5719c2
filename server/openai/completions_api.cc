#include "server/openai/completions_api.h"

#include <utility>

#include "server/openai/json_parameters.h"

namespace deltaserve {

std::optional<ApiError> parse_completion_request(std::string_view text, const ServedModel& model,
                                                 const ServerLimits& limits,
                                                 GenerationRequest* request) {
  static const std::vector<ParameterRule> kRules =
      parameter_rules(Interface::kCompletions, unserved_parameters(Interface::kCompletions));
  RequestBody body;
  if (auto error = read_request_body(text, {kRules, {}, "prompt"}, limits, &body)) return error;
  if (!body.has_prompt()) {
    return invalid_parameter("prompt", "prompt is required and must not be empty");
  }
  request->interface = Interface::kCompletions;
  request->text_prompts = std::move(body.texts);
  request->token_prompts = std::move(body.token_lists);
  request->prompts_are_listed = body.prompt_nested;

  FieldReader fields(body.fields, limits);
  Parameters given;
  read_parameters(fields, Interface::kCompletions, unserved_parameters(Interface::kCompletions),
                  &given);
  if (fields.error()) return fields.error();
  return complete_request(std::move(given), model, limits, request);
}

}  // namespace deltaserve
