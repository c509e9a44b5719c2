#include <utility>

#include "models/base/json_numbers.h"
#include "models/base/text.h"
#include "server/base/shown_value.h"
#include "server/openai/cache_control.h"
#include "server/openai/chat_translation.h"
#include "server/openai/messages_api.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr ParameterRule kMessageMembers[] = {
    {"messages", ParameterSize::kMessages},
    {"system", ParameterSize::kMessages},
    {"tools", ParameterSize::kNested},
    {"tool_choice", ParameterSize::kNested},
    {"thinking"},
    {"output_config", ParameterSize::kNested},
    {"output_format", ParameterSize::kNested},
    {"chat_template_kwargs", ParameterSize::kNested},
    {"stop_sequences"},
    {"metadata"},
    {"service_tier"},
    {"cache_control"},
    {"container"},
    {"context_management"},
    {"inference_geo"},
    {"mcp_servers"},
    {"speed"},
};

constexpr UnservedParameter kMessageUnserved[] = {
    {"service_tier", R"(["auto","standard_only","default"])"},
    {"container"},
    {"inference_geo"},
    {"mcp_servers", "[[]]"},
    {"speed", R"(["standard"])"},
};

constexpr RenamedMember kMessageNames[] = {
    {"stop", "stop_sequences"},
    {"reasoning_effort", "output_config"},
    {"response_format", "output_config"},
};

void copy_mark(const json::object& from, json::object* to) {
  if (const json::value* mark = from.if_contains(kCacheControl)) (*to)[kCacheControl] = *mark;
}

// Makes a text part of a chat's content from a text block, and keeps the block's cache_control.
json::object text_part(const json::object& block) {
  json::object part = {{"type", "text"}, {"text", block.at("text")}};
  copy_mark(block, &part);
  return part;
}

// Returns whether the place after a translated message is marked.
bool is_marked(const json::object& message) {
  const auto ends_marked = [&](std::string_view name) {
    const json::value* list = message.if_contains(name);
    return list != nullptr && list->is_array() && !list->get_array().empty() &&
           list->get_array().back().get_object().contains(kCacheControl);
  };
  return message.contains(kCacheControl) || ends_marked("tool_calls") ||
         (!message.contains("tool_calls") && ends_marked("content"));
}

// Translates the messages, whose content is a text or a list of blocks.
class MessagesReader {
 public:
  MessagesReader(FieldReader& fields, json::array* messages)
      : fields_(fields), messages_(*messages) {}

  void read(const json::array& given) {
    for (size_t i = 0; i < given.size() && !fields_.error(); ++i) {
      where_ = str_cat("[", i, "]");
      if (!is_json_object(given[i]))
        return fail("", str_cat("must be an object, not ", shown(given[i])));
      message(given[i].get_object());
    }
  }

  void read_system(const json::value& system) {
    if (system.is_string()) {
      messages_.push_back({{"role", "system"}, {"content", system}});
      return;
    }
    if (!system.is_array()) return fields_.fail_value("system", "must be a text or blocks", system);
    json::array parts;
    for (const json::value& block : system.get_array()) {
      if (!is_json_object(block) || text_member(block.get_object(), "type") != "text" ||
          !has_text(block.get_object(), "text")) {
        return fields_.fail_value("system", str_cat("[", parts.size(), "] must be a text block"),
                                  block);
      }
      parts.push_back(text_part(block.get_object()));
    }
    if (!parts.empty()) messages_.push_back({{"role", "system"}, {"content", std::move(parts)}});
  }

 private:
  void fail(std::string_view place, std::string_view what) {
    fields_.fail("messages", str_cat(where_, place, " ", what));
  }

  void message(const json::object& message) {
    std::string_view role = text_member(message, "role");
    if (role == "ctx" || role == "msg") role = "user";  // Claude Code's names for what it adds
    if (role != "user" && role != "assistant" && role != "system") {
      return fail(".role", str_cat("must be user or assistant, not ", shown(role)));
    }
    const json::value* content = message.if_contains("content");
    if (content != nullptr && content->is_string()) {
      messages_.push_back({{"role", role}, {"content", *content}});
    } else if (content == nullptr || !content->is_array()) {
      fail(".content", str_cat("must be a text or a list of blocks, not ",
                               content == nullptr ? "null" : shown(*content)));
    } else if (role == "assistant") {
      assistant(content->get_array());
    } else {
      user(role, content->get_array());
    }
  }

  // Calls read(type, block, place) for each block.
  template <class Read>
  void for_blocks(const json::array& blocks, const Read& read) {
    for (size_t i = 0; i < blocks.size() && !fields_.error(); ++i) {
      const std::string place = str_cat(".content[", i, "]");
      if (!is_json_object(blocks[i]))
        return fail(place, str_cat("must be a block, not ", shown(blocks[i])));
      read(text_member(blocks[i].get_object(), "type"), blocks[i].get_object(), place);
    }
  }

  void add_text(const json::object& block, const std::string& place, json::array* parts) {
    if (!has_text(block, "text")) return fail(place, "must have a text");
    parts->push_back(text_part(block));
  }

  void unsupported(std::string_view place, std::string_view type) {
    fail(place, str_cat("has the type ", shown(type), ", which is not supported"));
  }

  // The results of tools become messages of their own, before the texts that follow them.
  void user(std::string_view role, const json::array& blocks) {
    json::array parts;
    const auto flush = [&] {
      if (parts.empty()) return;
      messages_.push_back({{"role", role}, {"content", std::exchange(parts, {})}});
    };
    for_blocks(blocks, [&](std::string_view type, const json::object& block, const auto& place) {
      if (type == "text") {
        add_text(block, place, &parts);
      } else if (type == "tool_result") {
        flush();
        result(block, place);
      } else {
        unsupported(place, type);
      }
    });
    flush();
  }

  void result(const json::object& block, const std::string& place) {
    const std::string_view id = text_member(block, "tool_use_id");
    if (id.empty()) return fail(place, "must have a tool_use_id");
    json::object message = {{"role", "tool"}, {"tool_call_id", id}, {"content", ""}};
    const json::value* content = block.if_contains("content");
    if (content != nullptr && content->is_array()) {
      json::array parts;
      for (const json::value& part : content->get_array()) {
        const std::string part_place = str_cat(place, ".content[", parts.size(), "]");
        const std::string_view type =
            is_json_object(part) ? text_member(part.get_object(), "type") : std::string_view();
        if (type != "text") return unsupported(part_place, type);
        add_text(part.get_object(), part_place, &parts);
        if (fields_.error()) return;
      }
      message["content"] = std::move(parts);
    } else if (content != nullptr && !content->is_null()) {
      if (!content->is_string()) {
        return fail(place + ".content",
                    str_cat("must be a text or a list of blocks, not ", shown(*content)));
      }
      message["content"] = *content;
    }
    copy_mark(block, &message);
    messages_.push_back(std::move(message));
  }

  void assistant(const json::array& blocks) {
    json::array parts, calls;
    std::string reasoning;
    for_blocks(blocks, [&](std::string_view type, const json::object& block, const auto& place) {
      if (type == "text") {
        add_text(block, place, &parts);
      } else if (type == "thinking") {
        if (!has_text(block, "thinking")) return fail(place, "must have a thinking");
        reasoning.append(text_member(block, "thinking"));
      } else if (type == "tool_use") {
        call(block, place, &calls);
      } else if (type != "redacted_thinking") {  // redacted thinking cannot be read, so it is
                                                 // dropped
        unsupported(place, type);
      }
    });
    json::object message = {{"role", "assistant"}};
    if (!parts.empty() || calls.empty()) message["content"] = std::move(parts);
    if (!calls.empty()) message["tool_calls"] = std::move(calls);
    if (!reasoning.empty()) message["reasoning_content"] = reasoning;
    messages_.push_back(std::move(message));
  }

  void call(const json::object& block, const std::string& place, json::array* calls) {
    const std::string_view id = text_member(block, "id"), name = text_member(block, "name");
    if (id.empty() || name.empty()) return fail(place, "must have an id and a name");
    const json::value* input = block.if_contains("input");
    if (input != nullptr && !is_json_object(*input) && !input->is_null()) {
      return fail(place, str_cat("must have an object as its input, not ", shown(*input)));
    }
    json::object function = {{"name", name}, {"arguments", json::object()}};
    if (input != nullptr && is_json_object(*input)) function["arguments"] = *input;
    json::object made = {{"id", id}, {"type", "function"}, {"function", std::move(function)}};
    copy_mark(block, &made);
    calls->push_back(std::move(made));
  }

  FieldReader& fields_;
  json::array& messages_;
  std::string where_;  // the message's place, such as "[3]"
};

void read_turns(FieldReader& fields, json::object* chat) {
  json::array messages;
  MessagesReader reader(fields, &messages);
  const json::value system = take_member(chat, "system");
  if (!system.is_null()) reader.read_system(system);
  const json::value given = take_member(chat, "messages");
  if (!given.is_array() || given.get_array().empty()) {
    return fields.fail("messages", "is required: a list of messages that is not empty");
  }
  reader.read(given.get_array());
  // A mark of the whole request is one after its last block.
  json::value mark = take_member(chat, kCacheControl);
  if (!mark.is_null() && !is_mark(mark)) {
    return fields.fail(kCacheControl, "must be {\"type\": \"ephemeral\"}");
  }
  if (!mark.is_null() && !messages.empty() && !is_marked(messages.back().get_object())) {
    messages.back().get_object()[kCacheControl] = std::move(mark);
  }
  // The API continues a last message that is the assistant's.
  const bool continues = !messages.empty() &&
                         text_member(messages.back().get_object(), "role") == "assistant" &&
                         !messages.back().get_object().contains("tool_calls");
  if (continues) {
    (*chat)["continue_final_message"] = true;
    (*chat)["add_generation_prompt"] = false;
  }
  (*chat)["messages"] = std::move(messages);
}

void read_message_tools(FieldReader& fields, json::object* chat) {
  json::value* tools = chat->if_contains("tools");
  if (tools == nullptr || !tools->is_array()) return;
  size_t place = 0;
  for (json::value& tool : tools->get_array()) {
    const std::string where = str_cat("[", place++, "]");
    if (!is_json_object(tool))
      return fields.fail_value("tools", str_cat(where, " must be an object"), tool);
    json::object& given = tool.get_object();
    const std::string_view type = text_member(given, "type");
    if (!type.empty() && type != "custom") {
      return fields.fail("tools", str_cat(where, " has the type ", shown(type),
                                          ", which is not supported: only custom is"));
    }
    json::object function = {{"name", take_member(&given, "name")}};
    for (const auto& [own, name] : {std::pair("description", "description"),
                                    {"input_schema", "parameters"},
                                    {"strict", "strict"}}) {
      json::value value = take_member(&given, own);
      if (!value.is_null()) function[name] = std::move(value);
    }
    json::object out = {{"type", "function"}, {"function", std::move(function)}};
    copy_mark(given, &out);
    tool = std::move(out);
  }
}

void read_message_tool_choice(FieldReader& fields, json::object* chat) {
  const json::value choice = take_member(chat, "tool_choice");
  if (choice.is_null()) return;
  if (!is_json_object(choice)) return fields.fail_value("tool_choice", "must be an object", choice);
  const std::string_view type = text_member(choice.get_object(), "type");
  if (type == "any") {
    (*chat)["tool_choice"] = "required";
  } else if (type == "auto" || type == "none") {
    (*chat)["tool_choice"] = type;
  } else if (type == "tool") {
    const std::string_view name = text_member(choice.get_object(), "name");
    (*chat)["tool_choice"] = {{"type", "function"}, {"function", {{"name", name}}}};
  } else {
    return fields.fail("tool_choice",
                       str_cat(".type must be auto, any, tool or none, not ", shown(type)));
  }
  const json::value* alone = choice.get_object().if_contains("disable_parallel_tool_use");
  if (alone != nullptr && *alone == true) (*chat)["parallel_tool_calls"] = false;
}

// Templates call their switch by one of two names.
void read_message_thinking(FieldReader& fields, json::object* chat) {
  const json::value thinking = take_member(chat, "thinking");
  if (thinking.is_null()) return;
  const std::string_view type =
      is_json_object(thinking) ? text_member(thinking.get_object(), "type") : std::string_view();
  if (type != "enabled" && type != "adaptive" && type != "disabled") {
    return fields.fail_value("thinking", ".type must be enabled, adaptive or disabled", thinking);
  }
  const bool on = type != "disabled";
  if (!on) (*chat)["include_reasoning"] = false;
  json::value& variables = (*chat)["chat_template_kwargs"];
  if (variables.is_null()) variables = json::object();
  if (!is_json_object(variables)) return;  // the chat's reader refuses it
  for (const char* name : {"enable_thinking", "thinking"}) {
    if (!variables.get_object().contains(name)) variables.get_object()[name] = on;
  }
}

void read_message_output(FieldReader& fields, json::object* chat) {
  json::value format = take_member(chat, "output_format");
  json::value config = take_member(chat, "output_config");
  if (is_json_object(config)) {
    json::value effort = take_member(&config.get_object(), "effort");
    if (!effort.is_null()) (*chat)["reasoning_effort"] = std::move(effort);
    json::value inner = take_member(&config.get_object(), "format");
    if (!inner.is_null()) format = std::move(inner);
  } else if (!config.is_null()) {
    return fields.fail_value("output_config", "must be an object", config);
  }
  if (format.is_null()) return;
  if (!is_json_object(format) || text_member(format.get_object(), "type") != "json_schema") {
    return fields.fail_value("output_config", ".format must have the type json_schema", format);
  }
  (*chat)["response_format"] = {
      {"type", "json_schema"},
      {"json_schema", {{"schema", take_member(&format.get_object(), "schema")}}}};
}

void read_message_metadata(FieldReader& fields, json::object* chat) {
  const json::value metadata = take_member(chat, "metadata");
  if (metadata.is_null()) return;
  if (!is_json_object(metadata))
    return fields.fail_value("metadata", "must be an object", metadata);
  const json::value* user = metadata.get_object().if_contains("user_id");
  if (user != nullptr) (*chat)["user"] = *user;
}

}  // namespace

std::span<const RenamedMember> messages_names() {
  return kMessageNames;
}

std::optional<ApiError> read_messages_request(std::string_view text, const ServedModel& model,
                                              const ServerLimits& limits, TurnRequest* request) {
  json::object chat;
  if (auto error = read_translated_body(text, kMessageMembers, limits, &chat)) return error;
  FieldReader fields(chat, limits);
  refuse_two_names(fields, kMessageNames);
  for (const UnservedParameter& one : kMessageUnserved) {
    fields.only_neutral(one.name, neutral_values(one));
  }
  if (fields.error()) return fields.error();
  for (const UnservedParameter& one : kMessageUnserved) chat.erase(one.name);
  chat.erase("context_management");  // is accepted without effect
  json::value stops = take_member(&chat, "stop_sequences");
  if (!stops.is_null() && !stops.is_array()) {
    fields.fail_value("stop_sequences", "must be a list of strings", stops);
  }
  if (!stops.is_null()) chat["stop"] = std::move(stops);
  read_turns(fields, &chat);
  read_message_tools(fields, &chat);
  read_message_tool_choice(fields, &chat);
  read_message_thinking(fields, &chat);
  read_message_output(fields, &chat);
  read_message_metadata(fields, &chat);
  if (fields.error()) return fields.error();
  request->id_prefix = "msg_";
  request->format = make_messages_format(model);
  return complete_translated_chat(std::move(chat), kMessageNames, model, limits,
                                  &request->generation);
}

std::variant<std::string, ApiError> count_message_tokens(std::string_view body,
                                                         const ServedModel& model,
                                                         const ServerLimits& limits) {
  TurnRequest request;
  if (auto error = read_messages_request(body, model, limits, &request)) return *std::move(error);
  EncodedPrompts prompts;
  if (auto error = encode_prompts(model, limits, &request.generation, &prompts)) {
    return *std::move(error);
  }
  return str_cat("{\"input_tokens\":", prompts.ids.front().size(), "}");
}

}  // namespace deltaserve
