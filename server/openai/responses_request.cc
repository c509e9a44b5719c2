#include <utility>

#include "models/base/json_numbers.h"
#include "models/base/text.h"
#include "server/base/shown_value.h"
#include "server/openai/chat_translation.h"
#include "server/openai/responses_api.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr ParameterRule kResponseMembers[] = {
    {"input", ParameterSize::kMessages},
    {"instructions", ParameterSize::kMessages},
    {"tools", ParameterSize::kNested},
    {"tool_choice", ParameterSize::kNested},
    {"parallel_tool_calls"},
    {"text", ParameterSize::kNested},
    {"reasoning", ParameterSize::kNested},
    {"chat_template_kwargs", ParameterSize::kNested},
    {"max_output_tokens"},
    {"store"},
    {"include"},
    {"stream_options"},
    {"truncation"},
    {"background"},
    {"conversation"},
    {"max_tool_calls"},
    {"previous_response_id"},
    {"prompt", ParameterSize::kNested},
};

// The server stores no responses, and a context has no maximum length.
constexpr UnservedParameter kResponseUnserved[] = {
    {"background", "[false]"}, {"conversation"},         {"max_tool_calls"},
    {"prompt", "[]"},          {"previous_response_id"}, {"truncation", R"(["auto","disabled"])"},
    {"store", "[true,false]"},
};

constexpr RenamedMember kResponseNames[] = {
    {"messages", "input"},       {"max_completion_tokens", "max_output_tokens"},
    {"response_format", "text"}, {"reasoning_effort", "reasoning"},
    {"verbosity", "text"},
};

// Translates the items of `input` to messages.
class InputReader {
 public:
  InputReader(FieldReader& fields, json::array* messages) : fields_(fields), messages_(*messages) {}

  void read(const json::array& items) {
    for (size_t i = 0; i < items.size() && !fields_.error(); ++i) {
      where_ = str_cat("[", i, "]");
      if (!is_json_object(items[i]))
        return fail(str_cat("must be an object, not ", shown(items[i])));
      item(items[i].get_object());
    }
    if (!reasoning_.empty())
      assistant()["content"] = "";  // for the reasoning of a turn that has no other content
  }

 private:
  void fail(std::string_view what) { fields_.fail("input", str_cat(where_, " ", what)); }

  void item(const json::object& item) {
    const std::string_view type = text_member(item, "type");
    if (type == "function_call") return call(item);
    if (type == "function_call_output") return output(item);
    if (type == "reasoning") return reasoning(item);
    if (type.empty() || type == "message") return message(item);
    fail(str_cat("has the type ", shown(type), ", which is not supported"));
  }

  // Returns the message of the assistant that calls and reasoning are added to.
  json::object& assistant() {
    const bool goes_on = !messages_.empty() && open_turn_;
    if (!goes_on) messages_.push_back({{"role", "assistant"}, {"content", nullptr}});
    open_turn_ = true;
    json::object& turn = messages_.back().get_object();
    if (!reasoning_.empty()) turn["reasoning_content"] = std::exchange(reasoning_, {});
    return turn;
  }

  void message(const json::object& item) {
    const std::string_view role = text_member(item, "role");
    if (role.empty()) return fail("must have a role");
    if (role != "user" && role != "assistant" && role != "system" && role != "developer") {
      return fail(
          str_cat("must have the role user, assistant, system or developer, not ", shown(role)));
    }
    const json::value content = content_of(item, "content");
    if (role == "assistant") {
      open_turn_ = open_turn_ && !messages_.back().get_object().contains("tool_calls") &&
                   messages_.back().at("content").is_null();
      assistant()["content"] = content;
      return;
    }
    open_turn_ = false;
    messages_.push_back({{"role", role == "developer" ? "system" : role}, {"content", content}});
  }

  void call(const json::object& item) {
    const std::string_view name = text_member(item, "name");
    const std::string_view id = text_member(item, "call_id");
    if (name.empty() || id.empty()) return fail("must have a name and a call_id");
    json::object function = {{"name", name}};
    if (const json::value* arguments = item.if_contains("arguments")) {
      if (!arguments->is_string() && !is_json_object(*arguments) && !arguments->is_null()) {
        return fail(str_cat("must have the text of a JSON object as its arguments, not ",
                            shown(*arguments)));
      }
      function["arguments"] = *arguments;
    }
    json::value& calls = assistant()["tool_calls"];
    if (!calls.is_array()) calls = json::array();
    calls.get_array().push_back(
        {{"id", id}, {"type", "function"}, {"function", std::move(function)}});
  }

  void output(const json::object& item) {
    const std::string_view id = text_member(item, "call_id");
    if (id.empty()) return fail("must have a call_id");
    open_turn_ = false;
    messages_.push_back(
        {{"role", "tool"}, {"tool_call_id", id}, {"content", content_of(item, "output")}});
  }

  void reasoning(const json::object& item) {
    open_turn_ = false;
    for (const char* place : {"content", "summary"}) {
      const json::value* parts = item.if_contains(place);
      if (parts == nullptr || !parts->is_array() || !reasoning_.empty()) continue;
      for (const json::value& part : parts->get_array()) {
        if (!is_json_object(part) || !has_text(part.get_object(), "text")) {
          return fail(str_cat("must have parts with a text as its ", place));
        }
        reasoning_.append(text_member(part.get_object(), "text"));
      }
    }
  }

  // Returns a text, or a list of text parts of a chat.
  json::value content_of(const json::object& item, std::string_view name) {
    const json::value* content = item.if_contains(name);
    if (content != nullptr && content->is_string()) return *content;
    if (content == nullptr || !content->is_array()) {
      fail(str_cat("must have a text or a list of parts as its ", name));
      return nullptr;
    }
    json::array parts;
    for (const json::value& part : content->get_array()) {
      const std::string place = str_cat(".", name, "[", parts.size(), "]");
      const std::string_view type =
          is_json_object(part) ? text_member(part.get_object(), "type") : std::string_view();
      const std::string_view text = type == "refusal" ? "refusal" : "text";
      if (type != "refusal" && type != "input_text" && type != "output_text" && type != "text") {
        fields_.fail("input", str_cat(where_, place, " has the type ", shown(type),
                                      ", which is not supported: only text is"));
        return nullptr;
      }
      if (!has_text(part.get_object(), text)) {
        fields_.fail("input", str_cat(where_, place, " must have a ", text));
        return nullptr;
      }
      parts.push_back({{"type", "text"}, {"text", part.at(text)}});
    }
    return parts;
  }

  FieldReader& fields_;
  json::array& messages_;
  std::string where_;       // the item's place, such as "[3]"
  std::string reasoning_;   // of the turn that follows
  bool open_turn_ = false;  // the last message is the assistant's, and may have more
};

void read_response_input(FieldReader& fields, const json::object& body, json::object* chat) {
  json::array messages;
  if (const json::value* instructions = fields.find("instructions")) {
    if (!instructions->is_string()) {
      return fields.fail_value("instructions", "must be a string", *instructions);
    }
    messages.push_back({{"role", "system"}, {"content", *instructions}});
  }
  const json::value* input = body.if_contains("input");
  if (input != nullptr && input->is_string()) {
    messages.push_back({{"role", "user"}, {"content", *input}});
  } else if (input != nullptr && input->is_array() && !input->get_array().empty()) {
    InputReader(fields, &messages).read(input->get_array());
  } else {
    const json::value given = input == nullptr ? json::value() : *input;
    fields.fail_value("input", "must be a text, or a list of items that is not empty", given);
  }
  (*chat)["messages"] = std::move(messages);
}

// {"type": "function", "name": ..} becomes {"type": "function", "function": {"name": ..}}.
json::object nested_function(json::object flat) {
  flat.erase("type");
  json::object out = {{"type", "function"}};
  if (flat.contains("cache_control")) out["cache_control"] = take_member(&flat, "cache_control");
  out["function"] = std::move(flat);
  return out;
}

void read_response_tools(FieldReader& fields, json::object* chat) {
  json::value* tools = chat->if_contains("tools");
  if (tools == nullptr || !tools->is_array()) return;
  size_t place = 0;
  for (json::value& tool : tools->get_array()) {
    const std::string where = str_cat("[", place++, "]");
    if (!is_json_object(tool))
      return fields.fail_value("tools", str_cat(where, " must be an object"), tool);
    const std::string_view type = text_member(tool.get_object(), "type");
    if (type != "function") {
      return fields.fail("tools", str_cat(where, " has the type ", shown(type),
                                          ", which is not supported: only function is"));
    }
    json::object function = nested_function(std::move(tool.get_object()));
    tool = std::move(function);
  }
}

void read_response_tool_choice(FieldReader& fields, json::object* chat) {
  json::value* choice = chat->if_contains("tool_choice");
  if (choice == nullptr || !is_json_object(*choice)) return;
  json::object given = choice->get_object();
  const std::string_view type = text_member(given, "type");
  if (type == "function") {
    *choice = nested_function(std::move(given));
  } else if (type == "allowed_tools") {
    json::value tools = take_member(&given, "tools");
    if (tools.is_array()) {
      for (json::value& tool : tools.get_array()) {
        if (!is_json_object(tool)) continue;
        json::object nested = nested_function(std::move(tool.get_object()));
        tool = std::move(nested);
      }
    }
    json::object allowed = {{"mode", take_member(&given, "mode")}, {"tools", std::move(tools)}};
    *choice = {{"type", "allowed_tools"}, {"allowed_tools", std::move(allowed)}};
  } else {
    fields.fail("tool_choice", str_cat("has the type ", shown(type), ", which is not supported"));
  }
}

void read_response_text(FieldReader& fields, json::object* chat) {
  const json::value text = take_member(chat, "text");
  if (text.is_null()) return;
  if (!is_json_object(text)) return fields.fail_value("text", "must be an object", text);
  if (const json::value* verbosity = text.get_object().if_contains("verbosity")) {
    (*chat)["verbosity"] = *verbosity;
  }
  const json::value* format = text.get_object().if_contains("format");
  if (format == nullptr || format->is_null()) return;
  if (!is_json_object(*format))
    return fields.fail_value("text", ".format must be an object", *format);
  json::object schema = format->get_object();
  const std::string type(text_member(schema, "type"));
  if (type != "json_schema") {
    (*chat)["response_format"] = *format;
    return;
  }
  schema.erase("type");
  (*chat)["response_format"] = {{"type", type}, {"json_schema", std::move(schema)}};
}

void read_response_reasoning(FieldReader& fields, json::object* chat) {
  const json::value reasoning = take_member(chat, "reasoning");
  if (reasoning.is_null()) return;
  if (!is_json_object(reasoning))
    return fields.fail_value("reasoning", "must be an object", reasoning);
  const json::value* effort = reasoning.get_object().if_contains("effort");
  if (effort != nullptr) (*chat)["reasoning_effort"] = *effort;
}

// All values of `include` belong to tools of OpenAI's server, except the log-probabilities.
void read_response_include(FieldReader& fields, json::object* chat) {
  const json::value include = take_member(chat, "include");
  if (include.is_null()) return;
  if (!include.is_array()) return fields.fail_value("include", "must be a list", include);
  for (const json::value& one : include.get_array()) {
    if (one.is_string() && one != "message.output_text.logprobs") continue;
    return fields.fail_value("include", "does not take this member", one);
  }
}

// Returns the members of the request that the answer repeats.
json::object echoed_members(const json::object& body) {
  json::object out = {
      {"instructions", nullptr},
      {"max_output_tokens", nullptr},
      {"metadata", json::object()},
      {"parallel_tool_calls", true},
      {"reasoning", {{"effort", nullptr}, {"summary", nullptr}}},
      {"temperature", 1.0},
      {"text", {{"format", {{"type", "text"}}}}},
      {"tool_choice", "auto"},
      {"tools", json::array()},
      {"top_p", 1.0},
      {"truncation", "disabled"},
      {"user", nullptr},
  };
  for (auto& [name, value] : out) {
    const json::value* given = body.if_contains(name);
    if (given != nullptr && !given->is_null()) value = *given;
  }
  return out;
}

}  // namespace

std::span<const RenamedMember> responses_names() {
  return kResponseNames;
}

std::optional<ApiError> read_responses_request(std::string_view text, const ServedModel& model,
                                               const ServerLimits& limits, TurnRequest* request) {
  json::object body;
  if (auto error = read_translated_body(text, kResponseMembers, limits, &body)) return error;
  FieldReader fields(body, limits);
  refuse_two_names(fields, kResponseNames);
  for (const UnservedParameter& one : kResponseUnserved) {
    fields.only_neutral(one.name, neutral_values(one));
  }
  json::object chat = body;
  for (const UnservedParameter& one : kResponseUnserved) chat.erase(one.name);
  for (const char* name : {"input", "instructions", "stream_options"}) chat.erase(name);
  read_response_input(fields, body, &chat);
  read_response_tools(fields, &chat);
  read_response_tool_choice(fields, &chat);
  read_response_text(fields, &chat);
  read_response_reasoning(fields, &chat);
  read_response_include(fields, &chat);
  if (fields.error()) return fields.error();
  json::value most = take_member(&chat, "max_output_tokens");
  if (!most.is_null()) chat["max_completion_tokens"] = std::move(most);
  request->id_prefix = "resp_";
  request->format = make_responses_format(model, echoed_members(body));
  return complete_translated_chat(std::move(chat), kResponseNames, model, limits,
                                  &request->generation);
}

}  // namespace deltaserve
