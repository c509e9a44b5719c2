// The prompt of a chat: the messages and everything else that a chat template sees. Pure functions,
// safe on any input and from any thread.
#pragma once
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "server/base/api_error.h"
#include "server/base/served_model.h"
#include "server/tools/tool_choice.h"

namespace deltaserve {

// A place that the client marks, because later prompts are likely to begin with everything before
// it.
struct ChatMark {
  size_t tools = 0;  // the place is after this many tools; 0: after messages
  size_t messages = 0;
  std::optional<size_t> content_bytes = {};  // after this many bytes of the last message's content
};

struct ChatPrompt {
  // There is at least one object, of the form that normalize_messages() of chat_messages.h makes.
  boost::json::array messages;
  boost::json::value tools;       // null = none, else a list without errors (tool_list.h)
  boost::json::object variables;  // of chat_template_kwargs
  std::optional<std::string> chat_template;    // of this request; absent or empty = the model's
  std::optional<bool> add_generation_prompt;   // true, unless the final message is continued
  std::optional<bool> continue_final_message;  // the last message is the beginning of the answer
  std::vector<ChatMark> marks;
  // These say how the answer is parsed.
  ToolChoice tool_choice;
  bool parallel_tool_calls = true;       // false: only the first call counts
  bool separate_reasoning = true;        // false: it is a part of the content, with its marks
  bool include_reasoning = true;         // false: it is not sent
  bool stream_reasoning = true;          // false: it is sent in one piece
  std::optional<std::string> verbosity;  // a switch of some templates, like the next
  std::optional<std::string> reasoning_effort;  // a switch of some templates

  bool has_template() const { return chat_template && !chat_template->empty(); }
  bool continues() const { return continue_final_message.value_or(false); }
};

// Returns the conventions of the template that renders the prompt; null if the request brings the
// template, or nothing is known of it.
const ChatConventions* conventions_of(const ChatPrompt& prompt, const ServedModel& model);

// Checks what does not need the template. The parameters have the same names in every front.
[[nodiscard]] std::optional<ApiError> validate(const ChatPrompt& prompt, const ServedModel& model);

}  // namespace deltaserve
