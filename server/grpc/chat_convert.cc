#include "server/grpc/chat_convert.h"

#include <string>
#include <string_view>
#include <utility>

#include "models/base/text.h"
#include "server/base/request_json.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

json::string json_text(const std::string& text) {
  return json::string(text.data(), text.size());
}

ApiError wrong(const char* field, const std::string& place, std::string_view what) {
  return invalid_parameter(field, str_cat(field, place, " ", what));
}

// Reads the text of a JSON object.
std::optional<ApiError> read_object(const std::string& text, const std::string& name,
                                    const ServerLimits& limits, json::value* value) {
  if (auto error = read_json_value(text, name, limits, value)) return error;
  if (value->is_object()) return std::nullopt;
  return invalid_parameter(name, name + " must be the text of a JSON object");
}

class ChatConverter {
 public:
  ChatConverter(v1::ChatRequest* message, const ServerLimits& limits, ChatPrompt* prompt)
      : message_(*message), limits_(limits), prompt_(*prompt) {}

  std::optional<ApiError> convert() {
    if (message_.messages().empty()) return wrong("messages", "", "is required");
    for (int i = 0; i < message_.messages_size(); ++i) {
      if (auto error = take_message(i)) return error;
    }
    message_.clear_messages();
    if (auto error = take_tools()) return error;
    take_choice();
    return take_variables();
  }

 private:
  std::optional<ApiError> take_message(int index) {
    v1::ChatMessage& given = *message_.mutable_messages(index);
    const std::string place = str_cat("[", index, "]");
    json::object message = {{"role", json_text(given.role())}};
    const auto take = [&](const char* name, std::string* text) {
      if (!text->empty()) message[name] = json_text(*text);
      std::string().swap(*text);
    };
    if (given.has_content()) message["content"] = json_text(given.content());
    given.clear_content();
    take("name", given.mutable_name());
    take("tool_call_id", given.mutable_tool_call_id());
    take("reasoning_content", given.mutable_reasoning_content());
    for (int i = 0; i < given.tool_calls_size(); ++i) {
      const std::string call_place = str_cat(place, ".tool_calls[", i, "]");
      if (auto error = take_call(given.tool_calls(i), call_place, &message)) return error;
    }
    prompt_.messages.push_back(std::move(message));
    return std::nullopt;
  }

  std::optional<ApiError> take_call(const v1::ToolCall& call, const std::string& place,
                                    json::object* message) {
    if (call.function().name().empty()) {
      return wrong("messages", place, "must have a function with a name");
    }
    if (!call.type().empty() && call.type() != "function") {
      return wrong("messages", place + ".type", "must be \"function\"");
    }
    json::object function = {{"name", json_text(call.function().name())}};
    if (const std::string& arguments = call.function().arguments(); !arguments.empty()) {
      const std::string name = str_cat("messages", place, ".function.arguments");
      json::value value;
      if (auto error = read_object(arguments, name, limits_, &value)) return error;
      function["arguments"] = json_text(arguments);
    }
    if (!message->contains("tool_calls")) (*message)["tool_calls"].emplace_array();
    json::object made = {{"id", json_text(call.id())}, {"type", "function"}};
    made["function"] = std::move(function);
    message->at("tool_calls").get_array().push_back(std::move(made));
    return std::nullopt;
  }

  std::optional<ApiError> take_tools() {
    if (message_.tools().empty()) return std::nullopt;
    json::array& tools = prompt_.tools.emplace_array();
    for (int i = 0; i < message_.tools_size(); ++i) {
      const v1::Tool& given = message_.tools(i);
      json::object function = {{"name", json_text(given.function().name())}};
      if (!given.function().description().empty()) {
        function["description"] = json_text(given.function().description());
      }
      if (!given.function().parameters().empty()) {
        const std::string name = str_cat("tools[", i, "].function.parameters");
        json::value schema;
        if (auto error = read_object(given.function().parameters(), name, limits_, &schema)) {
          return error;
        }
        function["parameters"] = std::move(schema);
      }
      if (given.function().has_strict()) function["strict"] = given.function().strict();
      const std::string type = given.type().empty() ? "function" : given.type();
      json::object tool = {{"type", json_text(type)}};
      tool["function"] = std::move(function);
      tools.push_back(std::move(tool));
    }
    message_.clear_tools();
    return std::nullopt;
  }

  void take_choice() {
    const v1::ToolChoice& given = message_.tool_choice();
    if (given.has_function()) {
      prompt_.tool_choice.emplace().names = {given.function().name()};
    } else if (given.has_mode()) {
      prompt_.tool_choice.emplace().mode = given.mode();
    }
  }

  std::optional<ApiError> take_variables() {
    if (message_.chat_template_kwargs().empty()) return std::nullopt;
    const std::string name = "chat_template_kwargs";
    json::value variables;
    if (auto error = read_object(message_.chat_template_kwargs(), name, limits_, &variables)) {
      return error;
    }
    prompt_.variables = std::move(variables.get_object());
    return std::nullopt;
  }

  v1::ChatRequest& message_;
  const ServerLimits& limits_;
  ChatPrompt& prompt_;
};

}  // namespace

std::optional<ApiError> convert_chat(v1::ChatRequest* message, const ServerLimits& limits,
                                     ChatPrompt* prompt) {
  return ChatConverter(message, limits, prompt).convert();
}

}  // namespace deltaserve
