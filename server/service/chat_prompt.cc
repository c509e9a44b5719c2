#include "server/service/chat_prompt.h"

#include <algorithm>
#include <string_view>

#include "models/base/text.h"
#include "server/tools/conventions.h"
#include "server/tools/tool_list.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

std::optional<ApiError> check_final_message(const ChatPrompt& prompt) {
  constexpr std::string_view kName = "continue_final_message";
  if (!prompt.continues()) return std::nullopt;
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

std::optional<ApiError> check_tools(const ChatPrompt& prompt, const ServedModel& model) {
  const std::string complaint = complaint_about_tools(prompt.tools);
  if (!complaint.empty()) return invalid_parameter("tools", complaint);
  const std::string about_choice = complaint_about_choice(prompt.tool_choice, prompt.tools);
  if (!about_choice.empty()) return invalid_parameter("tool_choice", about_choice);
  const bool forced = prompt.tool_choice.mode == ToolChoice::Mode::kRequired ||
                      prompt.tool_choice.mode == ToolChoice::Mode::kNamed;
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

std::optional<ApiError> validate(const ChatPrompt& prompt, const ServedModel& model) {
  if (prompt.has_template() && !model.allow_request_template) {
    return invalid_parameter(
        "chat_template",
        "chat_template of a request is not accepted by this server (--allow-chat-template)");
  }
  if (std::optional<ApiError> error = check_final_message(prompt)) return error;
  if (std::optional<ApiError> error = check_variables(prompt)) return error;
  if (std::optional<ApiError> error = check_tools(prompt, model)) return error;
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
