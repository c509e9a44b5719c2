#include "server/service/chat_prompt.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "models/base/text.h"
#include "server/tools/conventions.h"
#include "server/tools/tool_list.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

// Returns the mode that a client spells so; nullopt if there is none.
std::optional<ToolChoice::Mode> mode_of(std::string_view spelled) {
  if (spelled == "auto") return ToolChoice::Mode::kAuto;
  if (spelled == "none") return ToolChoice::Mode::kNone;
  if (spelled == "required") return ToolChoice::Mode::kRequired;
  return std::nullopt;
}

std::optional<ApiError> check_messages(const ChatPrompt& prompt, const ServerLimits& limits) {
  for (size_t i = 0; i < prompt.messages.size(); ++i) {
    const json::object& message = prompt.messages[i].get_object();
    const std::string place = str_cat("messages[", i, "]");
    const size_t role_bytes = message.at("role").get_string().size();
    if (role_bytes == 0 || role_bytes > limits.role_bytes) {
      return invalid_parameter("messages", str_cat(place, ".role ", role_rule(limits)));
    }
    if (!message.contains("content") && !message.contains("tool_calls")) {
      return invalid_parameter("messages", str_cat(place, ".content is required"));
    }
  }
  return std::nullopt;
}

std::optional<ApiError> check_final_message(const ChatPrompt& prompt) {
  constexpr std::string_view kName = "continue_final_message";
  if (!prompt.continue_final_message.value_or(false)) return std::nullopt;
  if (prompt.add_generation_prompt.value_or(false)) {
    return invalid_parameter(std::string(kName),
                             str_cat(kName, " and add_generation_prompt cannot both be true"));
  }
  const json::object& last = prompt.messages.back().get_object();
  const json::value* content = last.if_contains("content");
  const bool has_content =
      content != nullptr && content->is_string() && !content->get_string().empty();
  if (last.at("role") == "assistant" && has_content) return std::nullopt;
  return invalid_parameter(
      std::string(kName),
      str_cat(kName, " needs a last message of the assistant with some content"));
}

// Returns an error for variables that have a parameter of their own, or that the model sets.
std::optional<ApiError> check_variables(const ChatPrompt& prompt) {
  constexpr const char* kReserved[] = {"messages", "tools", "add_generation_prompt", "bos_token",
                                       "eos_token"};
  constexpr const char* kName = "chat_template_kwargs";
  for (const char* name : kReserved) {
    if (prompt.variables.contains(name)) {
      return invalid_parameter(kName, str_cat(kName, " must not have ", quoted(name)));
    }
  }
  return std::nullopt;
}

std::optional<ApiError> check_tools(const ChatPrompt& prompt, Interface interface,
                                    const ServedModel& model) {
  const std::optional<GivenToolChoice>& given = prompt.tool_choice;
  if (given && given->mode && !mode_of(*given->mode)) {
    // A message has a field for the mode.
    const std::string_view inside = interface == Interface::kGrpcChat ? ".mode" : "";
    return invalid_parameter("tool_choice",
                             str_cat("tool_choice", inside, " ", tool_choice_rule(interface)));
  }
  const std::string complaint = complaint_about_tools(prompt.tools);
  if (!complaint.empty()) return invalid_parameter("tools", complaint);
  const ToolChoice choice = with_defaults(prompt).tool_choice;
  const std::string about_choice = complaint_about_choice(choice, prompt.tools);
  if (!about_choice.empty()) return invalid_parameter("tool_choice", about_choice);
  const bool forced =
      choice.mode == ToolChoice::Mode::kRequired || choice.mode == ToolChoice::Mode::kNamed;
  const ChatConventions* conventions = conventions_of(prompt, model);
  if (!forced || conventions == nullptr || conventions->markup->tools()) return std::nullopt;
  return invalid_parameter("tool_choice",
                           "tool_choice cannot be kept: the model's chat template shows no known "
                           "format of tool calls (see --tool-format)");
}

std::optional<ApiError> check_reasoning_effort(const ChatPrompt& prompt, const ServedModel& model) {
  constexpr const char* kName = "reasoning_effort";
  constexpr std::string_view kEfforts[] = {"none", "minimal", "low", "medium", "high", "xhigh"};
  if (!prompt.reasoning_effort) return std::nullopt;
  const std::string& effort = *prompt.reasoning_effort;
  if (std::find(std::begin(kEfforts), std::end(kEfforts), effort) == std::end(kEfforts)) {
    return invalid_parameter(
        kName, str_cat("reasoning_effort must be none, minimal, low, medium, high or xhigh, not ",
                       quoted(effort)));
  }
  const ChatConventions* conventions = conventions_of(prompt, model);
  if (conventions == nullptr || conventions->knows_effort()) return std::nullopt;
  const bool is_so = effort == "none" && !conventions->writes_reasoning();
  if (is_so || effort == "medium") return std::nullopt;
  return invalid_parameter(kName, str_cat("reasoning_effort ", quoted(effort),
                                          ": the model's chat template has no switch for it"));
}

std::optional<ApiError> check_verbosity(const ChatPrompt& prompt, const ServedModel& model) {
  constexpr const char* kName = "verbosity";
  if (!prompt.verbosity || *prompt.verbosity == "medium") return std::nullopt;
  const std::string& verbosity = *prompt.verbosity;
  if (verbosity != "low" && verbosity != "high") {
    return invalid_parameter(
        kName, str_cat("verbosity must be low, medium or high, not ", quoted(verbosity)));
  }
  const ChatConventions* conventions = conventions_of(prompt, model);
  if (conventions == nullptr || conventions->knows_verbosity) return std::nullopt;
  return invalid_parameter(kName, str_cat("verbosity ", quoted(verbosity),
                                          ": the model's chat template has no switch for it"));
}

}  // namespace

const ChatConventions* conventions_of(const ChatPrompt& prompt, const ServedModel& model) {
  if (prompt.has_template()) return nullptr;
  const bool for_tools = model.tool_chat_template != nullptr && !prompt.tools.is_null();
  return for_tools ? model.tool_chat_conventions : model.chat_conventions;
}

ChatOptions with_defaults(const ChatPrompt& prompt) {
  ChatOptions options;
  const auto take = [](const std::optional<bool>& given, bool* option) {
    *option = given.value_or(*option);
  };
  take(prompt.continue_final_message, &options.continue_final_message);
  take(prompt.add_generation_prompt, &options.add_generation_prompt);
  if (options.continue_final_message) options.add_generation_prompt = false;
  take(prompt.parallel_tool_calls, &options.parallel_tool_calls);
  take(prompt.separate_reasoning, &options.separate_reasoning);
  take(prompt.include_reasoning, &options.include_reasoning);
  take(prompt.stream_reasoning, &options.stream_reasoning);
  if (const std::optional<GivenToolChoice>& given = prompt.tool_choice) {
    const ToolChoice::Mode mode = given->mode
                                      ? mode_of(*given->mode).value_or(options.tool_choice.mode)
                                      : ToolChoice::Mode::kNamed;
    options.tool_choice = {mode, given->names};
  }
  return options;
}

std::string role_rule(const ServerLimits& limits) {
  return str_cat("must be a string of 1 to ", limits.role_bytes, " bytes");
}

std::string_view tool_choice_rule(Interface interface) {
  return interface == Interface::kGrpcChat
             ? "must be \"auto\", \"none\" or \"required\""
             : "must be \"auto\", \"none\", \"required\" or an object that names a function";
}

std::optional<ApiError> validate(const ChatPrompt& prompt, Interface interface,
                                 const ServedModel& model, const ServerLimits& limits) {
  if (std::optional<ApiError> error = check_messages(prompt, limits)) return error;
  if (prompt.has_template() && !model.allow_request_template) {
    return invalid_parameter(
        "chat_template",
        "chat_template of a request is not accepted by this server (--allow-chat-template)");
  }
  if (std::optional<ApiError> error = check_final_message(prompt)) return error;
  if (std::optional<ApiError> error = check_variables(prompt)) return error;
  if (std::optional<ApiError> error = check_tools(prompt, interface, model)) return error;
  if (std::optional<ApiError> error = check_reasoning_effort(prompt, model)) return error;
  if (std::optional<ApiError> error = check_verbosity(prompt, model)) return error;
  if (model.tokenizer == nullptr) {
    return invalid_parameter("messages", "messages need a tokenizer, and the model has none");
  }
  const bool has_tool_template = model.tool_chat_template != nullptr && !prompt.tools.is_null();
  if (model.chat_template != nullptr || prompt.has_template() || has_tool_template) {
    return std::nullopt;
  }
  if (!model.chat_refusal.empty()) return invalid_parameter("messages", model.chat_refusal);
  return invalid_parameter("messages",
                           "messages need a chat template, and the model has none: use "
                           "/v1/completions, or start the server with --chat-template FILE");
}

}  // namespace deltaserve
