#include "server/openai/chat_api.h"

#include <array>
#include <utility>
#include <vector>

#include "models/base/text.h"
#include "server/openai/cache_control.h"
#include "server/openai/chat_messages.h"
#include "server/openai/json_parameters.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr ParameterRule kPromptRules[] = {
    {"messages", ParameterSize::kMessages},
    {"tools", ParameterSize::kNested},
    {"chat_template_kwargs", ParameterSize::kNested},
    {"chat_template", ParameterSize::kNested},
    {"add_generation_prompt"},
    {"continue_final_message"},
};

// Variables that the request sets by parameters of their own, or that the model sets.
constexpr std::array<std::string_view, 5> kReservedVariables = {
    "messages", "tools", "add_generation_prompt", "bos_token", "eos_token"};

void read_variables(FieldReader& fields, json::object& body, ChatPrompt* out) {
  constexpr std::string_view kName = "chat_template_kwargs";
  if (fields.find(kName) == nullptr) return;
  json::value& value = body.at(kName);
  if (!value.is_object()) return fields.fail(kName, "must be an object");
  for (const std::string_view name : kReservedVariables) {
    if (value.get_object().contains(name)) {
      return fields.fail(kName, str_cat("must not have ", quoted(name)));
    }
  }
  out->variables = std::move(value.get_object());
}

void read_tools(FieldReader& fields, json::object& body, ChatPrompt* out) {
  if (fields.find("tools") == nullptr) return;
  json::value& tools = body.at("tools");
  if (!tools.is_array()) return fields.fail("tools", "must be a list");
  for (size_t i = 0; i < tools.get_array().size(); ++i) {
    json::value& tool = tools.get_array()[i];
    if (!tool.is_object()) return fields.fail("tools", "must be a list of objects");
    take_cache_control(fields, "tools", str_cat("[", i, "]"), {.tools = i + 1}, &tool.get_object(),
                       &out->marks);
  }
  if (!tools.get_array().empty()) out->tools = std::move(tools);
}

}  // namespace

std::span<const ParameterRule> chat_prompt_rules() {
  return kPromptRules;
}

void read_chat_prompt(FieldReader& fields, json::object& body, ChatPrompt* out) {
  if (fields.error()) return;
  if (fields.find("messages") == nullptr) return fields.fail("messages", "is required");
  json::value& messages = body.at("messages");
  if (!messages.is_array()) return fields.fail("messages", "must be a list of objects");
  out->messages = std::move(messages.get_array());
  normalize_messages(fields, &out->messages, &out->marks);
  read_tools(fields, body, out);
  read_variables(fields, body, out);
  fields.string("chat_template", &out->chat_template);
  fields.boolean("continue_final_message", &out->continue_final_message);
  fields.boolean("add_generation_prompt", &out->add_generation_prompt);
}

std::optional<ApiError> parse_chat_request(std::string_view text, const ServedModel& model,
                                           const ServerLimits& limits, GenerationRequest* request) {
  static const std::vector<ParameterRule> kRules =
      parameter_rules(Interface::kChat, unserved_parameters(Interface::kChat));
  RequestBody body;
  const BodyRules rules{kRules, kPromptRules, ""};
  if (auto error = read_request_body(text, rules, limits, &body)) return error;

  FieldReader fields(body.fields, limits);
  Parameters given;
  read_parameters(fields, Interface::kChat, unserved_parameters(Interface::kChat), &given);
  request->interface = Interface::kChat;
  read_chat_prompt(fields, body.fields, &request->chat.emplace());
  if (fields.error()) return fields.error();
  return complete_request(std::move(given), model, limits, request);
}

}  // namespace deltaserve
