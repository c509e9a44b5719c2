#include "server/openai/chat_messages.h"

#include <algorithm>
#include <array>

#include "models/base/json_numbers.h"
#include "models/base/text.h"
#include "server/openai/cache_control.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr std::string_view kParam = "messages";
constexpr std::array<std::string_view, 7> kKnown = {
    "role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content", "reasoning"};

// Returns the member that has the text of a part of the type; empty if such parts have none.
std::string_view text_member_of(std::string_view type) {
  if (type == "text" || type == "input_text" || type == "output_text") return "text";
  return type == "refusal" ? type : std::string_view();
}

// Reads message `index`.
class MessageReader {
 public:
  MessageReader(FieldReader& fields, size_t index, json::object* message, size_t* argument_bytes,
                std::vector<ChatMark>* marks)
      : fields_(fields),
        index_(index),
        where_(str_cat("[", index, "]")),
        message_(*message),
        argument_bytes_(argument_bytes),
        marks_(marks) {}

  void read() {
    take_cache_control(fields_, kParam, where_, {.messages = index_ + 1}, &message_, marks_);
    remove_empty();
    const json::value* parts = message_.if_contains("content");
    if (parts != nullptr && parts->is_array()) join_parts(&message_.at("content"));
    refuse_unserved();
    remove_unknown();
    read_role();
    read_content();
    for (const std::string_view name : {"name", "tool_call_id", "reasoning_content", "reasoning"}) {
      const json::value* value = message_.if_contains(name);
      if (value != nullptr && !value->is_string()) {
        fail_value(str_cat(".", name), "must be a string", *value);
      }
    }
    read_tool_calls();
  }

 private:
  void fail(std::string_view place, std::string_view what) {
    fields_.fail(kParam, str_cat(where_, place, " ", what));
  }

  void fail_value(std::string_view place, std::string_view what, const json::value& value) {
    fields_.fail_value(kParam, str_cat(where_, place, " ", what), value);
  }

  void remove_empty() {
    for (auto it = message_.begin(); it != message_.end();) {
      const bool empty_list = it->value().is_array() && it->value().get_array().empty();
      const bool nothing = it->value().is_null() || (empty_list && it->key() != "content");
      it = nothing ? message_.stable_erase(it) : it + 1;
    }
  }

  // Refuses members whose absence would change the conversation.
  void refuse_unserved() {
    if (message_.contains("audio")) fail(".audio", "is not supported");
    if (message_.contains("function_call")) {
      fail(".function_call", "is not supported: tool_calls is");
    }
  }

  void remove_unknown() {
    for (auto it = message_.begin(); it != message_.end();) {
      const bool known =
          std::find(kKnown.begin(), kKnown.end(), std::string_view(it->key())) != kKnown.end();
      it = known ? it + 1 : message_.stable_erase(it);
    }
  }

  void read_role() {
    const json::value* role = message_.if_contains("role");
    if (role == nullptr) return fail(".role", "is required");
    if (!role->is_string()) fail_value(".role", role_rule(fields_.limits()), *role);
  }

  void read_content() {
    json::value* content = message_.if_contains("content");
    if (content == nullptr) {
      if (!message_.contains("tool_calls")) return fail(".content", "is required");
    } else if (!content->is_string()) {
      fail_value(".content", "must be a string or a list of text parts", *content);
    }
  }

  void join_parts(json::value* content) {
    json::string joined;
    for (size_t i = 0; i < content->get_array().size(); ++i) {
      json::value& part = content->get_array()[i];
      const std::string place = str_cat(".content[", i, "]");
      if (!is_json_object(part))
        return fail_value(place, "must be an object with type and text", part);
      const json::value* type = part.get_object().if_contains("type");
      if (type == nullptr || !type->is_string()) return fail(place, "must have a type");
      const std::string_view member = text_member_of(view(type->get_string()));
      if (member.empty()) {
        return fail(place, str_cat("has the type ", quoted(view(type->get_string())),
                                   ", which is not supported: only text is"));
      }
      const json::value* text = part.get_object().if_contains(member);
      if (text == nullptr || !text->is_string())
        return fail(place, str_cat("must have a ", member));
      if (i > 0) joined.push_back('\n');
      joined.append(text->get_string());
      const ChatMark mark{.messages = index_ + 1, .content_bytes = joined.size()};
      take_cache_control(fields_, kParam, where_ + place, mark, &part.get_object(), marks_);
    }
    *content = std::move(joined);
  }

  void read_tool_calls() {
    json::value* calls = message_.if_contains("tool_calls");
    if (calls == nullptr) return;
    if (!calls->is_array()) return fail_value(".tool_calls", "must be a list", *calls);
    for (size_t i = 0; i < calls->get_array().size(); ++i) {
      const std::string place = str_cat(".tool_calls[", i, "]");
      json::value& call = calls->get_array()[i];
      if (is_json_object(call)) {
        take_cache_control(fields_, kParam, where_ + place, {.messages = index_ + 1},
                           &call.get_object(), marks_);
      }
      json::value* function =
          is_json_object(call) ? call.get_object().if_contains("function") : nullptr;
      if (function == nullptr || !is_json_object(*function)) {
        return fail_value(place, "must be an object with a function", call);
      }
      const json::value* name = function->get_object().if_contains("name");
      if (name == nullptr || !name->is_string()) {
        return fail(place, "must have a function with a name");
      }
      const json::value* id = call.get_object().if_contains("id");
      if (id != nullptr && !id->is_string() && !id->is_null()) {
        return fail_value(str_cat(place, ".id"), "must be a string", *id);
      }
      json::value* arguments = function->get_object().if_contains("arguments");
      if (arguments != nullptr) check_arguments(place, arguments);
    }
  }

  // Leaves text as it is, since some templates want it so.
  void check_arguments(std::string_view place, json::value* arguments) {
    if (arguments->is_null() || is_json_object(*arguments)) return;
    if (!arguments->is_string()) {
      return fail_value(str_cat(place, ".function.arguments"), "must be the text of a JSON object",
                        *arguments);
    }
    *argument_bytes_ += arguments->get_string().size();
    const size_t most = fields_.limits().tool_argument_bytes;
    if (*argument_bytes_ > most) {
      return fail(place, str_cat("brings all function arguments to more than ", most, " bytes"));
    }
    // For a function without arguments models, and so clients, send an empty text.
    if (arguments->get_string().find_first_not_of(" \t\r\n") == json::string::npos) {
      *arguments = "{}";
      return;
    }
    const auto depth = static_cast<size_t>(fields_.limits().json_depth);
    const std::optional<json::value> parsed =
        parse_json_exactly(view(arguments->get_string()), depth);
    if (!parsed.has_value() || !is_json_object(*parsed)) {
      return fail_value(str_cat(place, ".function.arguments"), "must be the text of a JSON object",
                        *arguments);
    }
  }

  FieldReader& fields_;
  const size_t index_;
  const std::string where_;  // its place, such as "[3]"
  json::object& message_;
  size_t* const argument_bytes_;
  std::vector<ChatMark>* const marks_;
};

}  // namespace

void normalize_messages(FieldReader& fields, json::array* messages, std::vector<ChatMark>* marks) {
  if (messages->empty()) return fields.fail(kParam, "must not be empty");
  const int most = fields.limits().messages;
  if (messages->size() > static_cast<size_t>(most)) {
    return fields.fail(kParam, str_cat("has more than ", most, " entries"));
  }
  size_t argument_bytes = 0;
  for (size_t i = 0; i < messages->size() && !fields.error(); ++i) {
    json::value& message = (*messages)[i];
    if (!is_json_object(message)) {
      return fields.fail_value(kParam, str_cat("[", i, "] must be an object"), message);
    }
    MessageReader(fields, i, &message.get_object(), &argument_bytes, marks).read();
  }
}

}  // namespace deltaserve
