#include "server/tools/history.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "models/base/json_numbers.h"
#include "models/base/text.h"
#include "server/tools/call_ids.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr size_t kMostDepth = 64;
constexpr std::string_view kProbeKey = "probe_key";
constexpr std::string_view kProbeValue = "probe_value";
constexpr std::string_view kProbeResult = "probe_result";

std::string_view text_in(const json::value& value) {
  return value.is_string() ? std::string_view(value.get_string().data(), value.get_string().size())
                           : std::string_view();
}

std::string_view text_in(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains({key.data(), key.size()});
  return value == nullptr ? std::string_view() : text_in(*value);
}

json::string json_text(std::string_view text) {
  return json::string(text.data(), text.size());
}

size_t count(std::string_view text, std::string_view part) {
  size_t times = 0;
  for (size_t at = text.find(part); !part.empty() && at != text.npos;
       at = text.find(part, at + part.size())) {
    ++times;
  }
  return times;
}

// A made-up conversation with a call, in the form that rules demand.
class Probe {
 public:
  Probe(const ChatTemplate& chat_template, const TrustedVariables& trusted)
      : template_(chat_template), trusted_(trusted) {}

  // Returns the template's output; empty if it refuses the conversation.
  std::string render(const HistoryRules& rules) const {
    const std::string id = new_call_id(rules.ids, "probe", 0);
    json::array messages = {{{"role", "user"}, {"content", "Hi"}}, call_of(id), result_of(id)};
    HistoryShaper shaper(rules);
    for (json::value& message : messages) shaper.shape(&message.get_object());
    const json::object key = {{"type", "string"}, {"description", "Key"}};
    const json::object parameters = {{"type", "object"},
                                     {"properties", json::object{{"key", key}}},
                                     {"required", json::array{"key"}}};
    const json::object function = {
        {"name", "probe"}, {"description", "Probes"}, {"parameters", parameters}};
    const json::object variables = {
        {"messages", std::move(messages)},
        {"tools", json::array{{{"type", "function"}, {"function", function}}}},
        {"documents", nullptr},
        {"add_generation_prompt", false}};
    const auto parts = template_.render(variables, trusted_);
    std::string text;
    if (!parts.ok()) return text;
    for (const RenderedPart& part : *parts) text += part.text;
    return text;
  }

  // Returns the template's output if it shows the call unchanged. A key in single quotation marks
  // was printed by Python, and one after a backslash was encoded twice.
  std::string render_well(const HistoryRules& rules) const {
    std::string text = render(rules);
    const auto has = [&](const std::string& part) { return text.find(part) != text.npos; };
    const std::string key(kProbeKey);
    if (!has(std::string(kProbeValue)) || has("'" + key) || has("\\\"" + key)) text.clear();
    return text;
  }

  size_t count_ends(std::string_view text) const {
    const auto eos = trusted_.texts.find("eos_token");
    return eos == trusted_.texts.end() ? 0 : count(text, eos->second);
  }

 private:
  static json::value call_of(const std::string& id) {
    const json::object arguments = {{json_text(kProbeKey), json_text(kProbeValue)}};
    const json::object function = {{"name", "probe"}, {"arguments", arguments}};
    const json::object call = {{"id", id}, {"type", "function"}, {"function", function}};
    return {{"role", "assistant"}, {"content", nullptr}, {"tool_calls", json::array{call}}};
  }
  static json::value result_of(const std::string& id) {
    return {{"role", "tool"},
            {"name", "probe"},
            {"tool_call_id", id},
            {"content", json_text(kProbeResult)}};
  }

  const ChatTemplate& template_;
  const TrustedVariables& trusted_;
};

// Decides whether none or the empty text represents no content, once the form of the arguments is
// known. Returns false if the call is shown with neither.
bool find_content_rule(const Probe& probe, HistoryRules* rules) {
  rules->none_for_no_content = false;
  const std::string with_text = probe.render_well(*rules);
  rules->none_for_no_content = true;
  const std::string with_none = probe.render_well(*rules);
  const bool none = !with_none.empty() && with_none.find("None") == with_none.npos;
  // A template may write an empty turn for the empty text.
  const bool extra_turn = probe.count_ends(with_text) > probe.count_ends(with_none);
  rules->none_for_no_content = none && (with_text.empty() || extra_turn);
  return none || !with_text.empty();
}

// Returns the arguments, which are an object or its text, as an object.
json::object object_of(const json::value* arguments) {
  if (arguments != nullptr && arguments->is_object()) return arguments->get_object();
  const std::string_view text = arguments == nullptr ? "" : text_in(*arguments);
  std::optional<json::value> parsed = parse_json_exactly(text, kMostDepth);
  if (!parsed.has_value() || !is_json_object(*parsed)) return {};
  return std::move(parsed->get_object());
}

// Writes calls as Python does, each in a line.
std::string python_calls(const json::array& calls) {
  std::string text;
  for (const json::value& call : calls) {
    const json::object& function = call.at("function").get_object();
    if (!text.empty()) text += '\n';
    text += str_cat(text_in(function, "name"), "(");
    std::string_view separator;
    const json::value* arguments = function.if_contains("arguments");
    for (const auto& [key, value] : object_of(arguments)) {
      text += str_cat(separator, std::string_view(key), "=", exact_json(value));
      separator = ", ";
    }
    text += ')';
  }
  return text;
}

}  // namespace

HistoryRules find_history_rules(const ChatTemplate& chat_template, const TrustedVariables& trusted,
                                const ToolFormat* format) {
  const Probe probe(chat_template, trusted);
  HistoryRules rules;
  if (format != nullptr) rules.ids = format->ids;
  bool shown = find_content_rule(probe, &rules);
  if (!shown) {
    rules.arguments_as_text = true;
    shown = find_content_rule(probe, &rules);
  }
  if (!shown) {
    rules = {.ids = rules.ids};
    rules.calls_as_text = true;
    rules.calls_as_text = !probe.render_well(rules).empty();
  }
  const auto shows_result = [&] {
    return probe.render(rules).find(kProbeResult) != std::string::npos;
  };
  if (!shows_result()) {
    rules.results_of_environment = true;
    rules.results_of_environment = shows_result();
  }
  return rules;
}

void HistoryShaper::shape(json::object* message) {
  const json::value* content = message->if_contains("content");
  const bool calls = message->contains("tool_calls");
  if (content == nullptr || content->is_null()) {
    if (rules_.none_for_no_content && calls) {
      (*message)["content"] = nullptr;
    } else {
      (*message)["content"] = "";
    }
  }
  shape_reasoning(message);
  if (calls) {
    json::array& list = message->at("tool_calls").get_array();
    for (json::value& call : list) shape_call(&call.get_object());
    if (rules_.calls_as_text) (*message)["function_calls"] = json_text(python_calls(list));
  }
  if (json::value* id = message->if_contains("tool_call_id")) {
    *id = json_text(id_for(text_in(*id), ""));
  }
  if (rules_.results_of_environment && text_in(*message, "role") == "tool") {
    message->at("role") = "environment";
  }
}

// Sets both names, because most templates read the first and some the second.
void HistoryShaper::shape_reasoning(json::object* message) const {
  constexpr const char* kNames[] = {"reasoning_content", "reasoning"};
  const json::value* given = nullptr;
  for (const char* name : kNames) {
    if (given == nullptr) given = message->if_contains(name);
  }
  if (given == nullptr) return;
  const json::value text = *given;
  for (const char* name : kNames) (*message)[name] = text;
}

void HistoryShaper::shape_call(json::object* call) {
  if (!call->contains("type")) (*call)["type"] = "function";
  json::object& function = call->at("function").get_object();
  const json::value* arguments = function.if_contains("arguments");
  if (!rules_.arguments_as_text) {
    function["arguments"] = object_of(arguments);
  } else if (arguments == nullptr || !arguments->is_string()) {
    function["arguments"] = exact_json(object_of(arguments));
  }
  const std::string name(text_in(function, "name"));
  const json::value* id = call->if_contains("id");
  const std::string shaped = id_for(id == nullptr ? "" : text_in(*id), name);
  (*call)["id"] = json_text(shaped);
  ++num_calls_;
}

// Returns the id that replaces `id`. For a call `name` is its name; for a result, which refers to
// its call, it is empty.
std::string HistoryShaper::id_for(std::string_view id, std::string_view name) {
  if (const auto known = ids_.find(id); known != ids_.end() && name.empty()) return known->second;
  std::string shaped(id);
  if (rules_.ids != CallIdShape::kAny && !has_shape(rules_.ids, id)) {
    shaped =
        rules_.ids == CallIdShape::kNine ? nine_for(id) : new_call_id(rules_.ids, name, num_calls_);
  }
  if (!name.empty()) ids_[std::string(id)] = shaped;
  return shaped;
}

json::object message_of(const ParsedAnswer& answer) {
  json::object message = {{"role", "assistant"}};
  if (!answer.content.empty() || answer.calls.empty()) {
    message["content"] = json_text(answer.content);
  }
  if (!answer.reasoning.empty()) message["reasoning_content"] = json_text(answer.reasoning);
  if (answer.calls.empty()) return message;
  json::array& calls = message["tool_calls"].emplace_array();
  for (const ToolCall& call : answer.calls) {
    const json::object function = {{"name", json_text(call.name)},
                                   {"arguments", json_text(call.arguments)}};
    calls.push_back({{"id", json_text(call.id)}, {"type", "function"}, {"function", function}});
  }
  return message;
}

}  // namespace deltaserve
