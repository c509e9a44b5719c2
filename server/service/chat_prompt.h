// The prompt of a chat: the messages and everything else that a chat template sees. Pure functions,
// safe on any input and from any thread.
#pragma once
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/base/api_error.h"
#include "server/base/limits.h"
#include "server/base/served_model.h"
#include "server/service/parameters.h"
#include "server/tools/tool_choice.h"

namespace deltaserve {

// A place that the client marks, because later prompts are likely to begin with everything before
// it.
struct ChatMark {
  size_t tools = 0;  // the place is after this many tools; 0: after messages
  size_t messages = 0;
  std::optional<size_t> content_bytes = {};  // after this many bytes of the last message's content
};

// The parameter tool_choice as a client gives it.
struct GivenToolChoice {
  std::optional<std::string> mode;      // "auto", "none" or "required"
  std::vector<std::string> names = {};  // of functions; without a mode the one that must be called

  bool operator==(const GivenToolChoice&) const = default;
};

// A chat as a client gives it. A reader checks only types, and validate() the rest.
struct ChatPrompt {
  // There is at least one object, of the form that normalize_messages() of chat_messages.h makes.
  boost::json::array messages;
  boost::json::value tools;       // null = none, else a list of objects
  boost::json::object variables;  // of chat_template_kwargs
  std::vector<ChatMark> marks;
  std::optional<GivenToolChoice> tool_choice;
  // The parameters of for_each_chat_parameter(). An absent member, null and an unset field are the
  // same: nullopt.
  std::optional<std::string> chat_template;  // of this request; absent or empty = the model's
  std::optional<bool> add_generation_prompt;
  std::optional<bool> continue_final_message;
  std::optional<bool> parallel_tool_calls;
  std::optional<bool> separate_reasoning;
  std::optional<bool> include_reasoning;
  std::optional<bool> stream_reasoning;
  std::optional<std::string> verbosity;         // a switch of some templates, like the next
  std::optional<std::string> reasoning_effort;  // a switch of some templates

  bool has_template() const { return chat_template && !chat_template->empty(); }
};

// Calls visit(names, member) for each parameter that is a flag or a text. Both readers, the known
// members of a body and the description of the API are made from this list.
template <class AnyPrompt, class Visit>
void for_each_chat_parameter(AnyPrompt& prompt, Visit&& visit) {
  const auto everywhere = [&](std::string_view name, auto& member) {
    visit(ParameterNames{.chat = name, .grpc = name}, member);
  };
  const auto over_http = [&](std::string_view name, auto& member) {
    visit(ParameterNames{.chat = name}, member);
  };
  over_http("chat_template", prompt.chat_template);
  everywhere("add_generation_prompt", prompt.add_generation_prompt);
  everywhere("continue_final_message", prompt.continue_final_message);
  everywhere("parallel_tool_calls", prompt.parallel_tool_calls);
  everywhere("reasoning_effort", prompt.reasoning_effort);
  everywhere("include_reasoning", prompt.include_reasoning);
  over_http("stream_reasoning", prompt.stream_reasoning);
  over_http("verbosity", prompt.verbosity);
  everywhere("separate_reasoning", prompt.separate_reasoning);
}

// The parameters with their defaults.
struct ChatOptions {
  bool add_generation_prompt = true;    // false if the final message is continued
  bool continue_final_message = false;  // the last message is the beginning of the answer
  // These say how the answer is parsed.
  ToolChoice tool_choice;
  bool parallel_tool_calls = true;  // false: only the first call counts
  bool separate_reasoning = true;   // false: it is a part of the content, with its marks
  bool include_reasoning = true;    // false: it is not sent
  bool stream_reasoning = true;     // false: it is sent in one piece
};

// Fills in the defaults. An unknown mode of tool_choice counts as the default.
ChatOptions with_defaults(const ChatPrompt& prompt);

// Returns the conventions of the template that renders the prompt; null if the request brings the
// template, or nothing is known of it.
const ChatConventions* conventions_of(const ChatPrompt& prompt, const ServedModel& model);

// Returns what a message must have as its role, and a request as its tool_choice, as the end of a
// sentence.
std::string role_rule(const ServerLimits& limits);
std::string_view tool_choice_rule(Interface interface);

// Checks what does not need the template, and names the parameter as `interface` spells it.
[[nodiscard]] std::optional<ApiError> validate(const ChatPrompt& prompt, Interface interface,
                                               const ServedModel& model,
                                               const ServerLimits& limits);

}  // namespace deltaserve
