#include "server/openai/chat_api.h"

#include <utility>
#include <vector>

#include "models/base/json_numbers.h"
#include "models/base/text.h"
#include "server/openai/cache_control.h"
#include "server/openai/chat_messages.h"
#include "server/openai/json_parameters.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

std::vector<ParameterRule> make_prompt_rules() {
  std::vector<ParameterRule> rules = {
      {"messages", ParameterSize::kMessages},
      {"tools", ParameterSize::kNested},
      {"chat_template_kwargs", ParameterSize::kNested},
      {"tool_choice", ParameterSize::kNested},
  };
  const ChatPrompt prompt;
  for_each_chat_parameter(prompt, [&](const ParameterNames& names, const auto& member) {
    const bool large = &member == static_cast<const void*>(&prompt.chat_template);
    rules.push_back({names.chat, large ? ParameterSize::kNested : ParameterSize::kSmall});
  });
  return rules;
}

void read_variables(FieldReader& fields, json::object& body, ChatPrompt* out) {
  constexpr std::string_view kName = "chat_template_kwargs";
  if (fields.find(kName) == nullptr) return;
  json::value& value = body.at(kName);
  if (!is_json_object(value)) return fields.fail_value(kName, "must be an object", value);
  out->variables = std::move(value.get_object());
}

void read_tools(FieldReader& fields, json::object& body, ChatPrompt* out) {
  if (fields.find("tools") == nullptr) return;
  json::value& tools = body.at("tools");
  if (!tools.is_array()) return fields.fail_value("tools", "must be a list", tools);
  for (size_t i = 0; i < tools.get_array().size(); ++i) {
    json::value& tool = tools.get_array()[i];
    if (!is_json_object(tool)) {
      return fields.fail_value("tools", str_cat("[", i, "] must be an object"), tool);
    }
    take_cache_control(fields, "tools", str_cat("[", i, "]"), {.tools = i + 1}, &tool.get_object(),
                       &out->marks);
  }
  if (!tools.get_array().empty()) out->tools = std::move(tools);
}

// Reads the name in {"type": "function", "function": {"name": ..}}.
void read_choice_of_function(FieldReader& fields, const json::value& value, std::string_view place,
                             GivenToolChoice* out) {
  const json::value* function =
      is_json_object(value) && value.get_object().contains("type") && value.at("type") == "function"
          ? value.get_object().if_contains("function")
          : nullptr;
  const json::value* name = function != nullptr && is_json_object(*function)
                                ? function->get_object().if_contains("name")
                                : nullptr;
  if (name == nullptr || !name->is_string()) {
    return fields.fail_value("tool_choice",
                             str_cat(place, place.empty() ? "" : " ",
                                     "must be {\"type\": \"function\", \"function\": "
                                     "{\"name\": a function's name}}"),
                             value);
  }
  out->names.emplace_back(view(name->get_string()));
}

// Reads {"type": "allowed_tools", "allowed_tools": {"mode": .., "tools": [..]}}.
void read_allowed_tools(FieldReader& fields, const json::object& choice, GivenToolChoice* out) {
  const json::value* allowed = choice.if_contains("allowed_tools");
  const json::object* members =
      allowed != nullptr && is_json_object(*allowed) ? &allowed->get_object() : nullptr;
  const json::value* mode = members != nullptr ? members->if_contains("mode") : nullptr;
  const json::value* tools = members != nullptr ? members->if_contains("tools") : nullptr;
  if (mode == nullptr || (*mode != "auto" && *mode != "required")) {
    return fields.fail("tool_choice", ".allowed_tools.mode must be \"auto\" or \"required\"");
  }
  if (tools == nullptr || !tools->is_array() || tools->get_array().empty()) {
    return fields.fail("tool_choice", ".allowed_tools.tools must be a list of tools");
  }
  out->mode = view(mode->get_string());
  for (size_t i = 0; i < tools->get_array().size(); ++i) {
    const std::string place = str_cat(".allowed_tools.tools[", i, "]");
    read_choice_of_function(fields, tools->get_array()[i], place, out);
  }
}

void read_tool_choice(FieldReader& fields, std::optional<GivenToolChoice>* out) {
  const json::value* choice = fields.find("tool_choice");
  if (choice == nullptr) return;
  GivenToolChoice& given = out->emplace();
  if (choice->is_string()) {
    given.mode = view(choice->get_string());
  } else if (!is_json_object(*choice)) {
    fields.fail_value("tool_choice", tool_choice_rule(Interface::kChat), *choice);
  } else if (const json::value* type = choice->get_object().if_contains("type");
             type != nullptr && *type == "allowed_tools") {
    read_allowed_tools(fields, choice->get_object(), &given);
  } else {
    read_choice_of_function(fields, *choice, "", &given);
  }
}

// One overload for each type of for_each_chat_parameter().

void read_chat_parameter(FieldReader& fields, std::string_view name, std::optional<bool>* out) {
  fields.boolean(name, out);
}

void read_chat_parameter(FieldReader& fields, std::string_view name,
                         std::optional<std::string>* out) {
  fields.string(name, out);
}

}  // namespace

std::span<const ParameterRule> chat_prompt_rules() {
  static const std::vector<ParameterRule> kRules = make_prompt_rules();
  return kRules;
}

void read_chat_prompt(FieldReader& fields, json::object& body, ChatPrompt* out) {
  if (fields.error()) return;
  if (fields.find("messages") == nullptr) return fields.fail("messages", "is required");
  json::value& messages = body.at("messages");
  if (!messages.is_array()) {
    return fields.fail_value("messages", "must be a list of objects", messages);
  }
  out->messages = std::move(messages.get_array());
  normalize_messages(fields, &out->messages, &out->marks);
  read_tools(fields, body, out);
  read_variables(fields, body, out);
  read_tool_choice(fields, &out->tool_choice);
  for_each_chat_parameter(*out, [&](const ParameterNames& names, auto& member) {
    read_chat_parameter(fields, names.chat, &member);
  });
}

std::optional<ApiError> complete_chat(json::object& body, const ServedModel& model,
                                      const ServerLimits& limits, GenerationRequest* request) {
  FieldReader fields(body, limits);
  Parameters given;
  read_parameters(fields, Interface::kChat, unserved_parameters(Interface::kChat), &given);
  request->interface = Interface::kChat;
  read_chat_prompt(fields, body, &request->chat.emplace());
  if (fields.error()) return fields.error();
  return complete_request(std::move(given), model, limits, request);
}

std::optional<ApiError> parse_chat_request(std::string_view text, const ServedModel& model,
                                           const ServerLimits& limits, GenerationRequest* request) {
  static const std::vector<ParameterRule> kRules =
      parameter_rules(Interface::kChat, unserved_parameters(Interface::kChat));
  RequestBody body;
  const BodyRules rules{kRules, chat_prompt_rules(), ""};
  if (auto error = read_request_body(text, rules, limits, &body)) return error;

  return complete_chat(body.fields, model, limits, request);
}

}  // namespace deltaserve
