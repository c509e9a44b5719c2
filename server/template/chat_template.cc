#include "server/template/chat_template.h"

#include <algorithm>
#include <boost/json/value.hpp>
#include <unordered_map>

#include "models/base/json_numbers.h"
#include "models/base/text.h"
#include "server/template/big_integer.h"
#include "server/template/interpreter.h"
#include "server/template/lexer.h"
#include "server/template/parser.h"
#include "server/template/unicode.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

std::string_view view(const json::string& text) {
  return {text.data(), text.size()};
}
std::string_view view(json::string_view text) {
  return {text.data(), text.size()};
}

std::tm clock_time() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  return local;
}

// Computes the size of a variable as limits.h counts it. Returns false if it is nested deeper than
// `depth` allows.
bool measure(const json::value& value, const TemplateLimits& limits, int depth, size_t* bytes) {
  *bytes += limits.input_value_bytes;
  if (value.is_string()) *bytes += value.get_string().size();
  if (!value.is_structured()) return true;
  if (depth == 0) return false;
  if (value.is_array()) {
    for (const json::value& item : value.get_array()) {
      if (!measure(item, limits, depth - 1, bytes)) return false;
    }
    return true;
  }
  for (const json::key_value_pair& entry : value.get_object()) {
    *bytes += limits.input_value_bytes + entry.key().size();
    if (!measure(entry.value(), limits, depth - 1, bytes)) return false;
  }
  return true;
}

// Returns true for the usual roles. Templates build markers from roles ('<|' + message.role +
// '|>'), and the usual roles are harmless there.
bool is_usual_role(const json::value& value) {
  constexpr std::string_view kRoles[] = {"system",    "developer", "user",
                                         "assistant", "tool",      "function"};
  return value.is_string() && std::find(std::begin(kRoles), std::end(kRoles),
                                        view(value.get_string())) != std::end(kRoles);
}

// Makes untrusted values from JSON that measure() accepted.
class Converter {
 public:
  // `keeps_none`: the content of a message with tool calls may be none. Otherwise it is the empty
  // text, because most templates expect a text: they would print none or fail.
  Converter(Runtime& runtime, bool keeps_none) : runtime_(runtime), keeps_none_(keeps_none) {}

  // Converts a variable. The usual roles of messages are trusted.
  Value convert_variable(std::string_view name, const json::value& value) {
    if (name != "messages" || !value.is_array()) return convert(value);
    std::vector<Value> messages;
    messages.reserve(value.get_array().size());
    for (const json::value& message : value.get_array()) {
      messages.push_back(message.is_object() ? convert_object(message.get_object(), true)
                                             : convert(message));
    }
    return runtime_.list(std::move(messages));
  }

 private:
  Value convert(const json::value& value) {
    if (runtime_.failed()) return Value();
    switch (value.kind()) {
      case json::kind::null: return Value::none();
      case json::kind::bool_: return Value::boolean(value.get_bool());
      case json::kind::int64: return Value::integer(value.get_int64());
      case json::kind::uint64: return make_integer(runtime_, value.get_uint64(), false);
      case json::kind::double_: return Value::real(value.get_double());
      case json::kind::string: return runtime_.text(view(value.get_string()), false);
      case json::kind::array: return convert_array(value.get_array());
      case json::kind::object: break;
    }
    const std::string_view digits = big_integer_text(value);
    if (digits.empty()) return convert_object(value.get_object(), false);
    return make_integer(runtime_, WholeNumber(std::string(digits)), false);
  }

  Value convert_array(const json::array& array) {
    std::vector<Value> items;
    items.reserve(array.size());
    for (const json::value& item : array) items.push_back(convert(item));
    return runtime_.list(std::move(items));
  }

  Value convert_object(const json::object& object, bool is_message) {
    std::vector<Dict::Entry> entries;
    entries.reserve(object.size());
    for (const json::key_value_pair& entry : object) {
      const bool is_role = is_message && entry.key() == "role" && is_usual_role(entry.value());
      const bool is_no_content = is_message && !keeps_none_ && entry.key() == "content" &&
                                 entry.value().is_null() && object.contains("tool_calls");
      Value value = is_role         ? runtime_.text(view(entry.value().get_string()), true)
                    : is_no_content ? runtime_.text("", true)
                                    : convert(entry.value());
      entries.push_back({key(view(entry.key())), std::move(value)});
    }
    return runtime_.failed() ? Value() : runtime_.dict(std::move(entries));
  }

  // Returns a key. Keys repeat ("role", "content"), so the common ones are shared.
  Value key(std::string_view text) {
    constexpr size_t kKeys = 1024;
    const auto known = keys_.find(text);
    if (known != keys_.end()) return known->second;
    Value made = runtime_.text(text, false);
    if (keys_.size() < kKeys && !runtime_.failed()) keys_.emplace(text, made);
    return made;
  }

  Runtime& runtime_;
  const bool keeps_none_;
  std::unordered_map<std::string_view, Value> keys_;
};

// Returns the variables and functions that the template uses, by symbol. A client's variable must
// not replace anything else.
absl::StatusOr<std::vector<const json::value*>> used_variables(const TemplateTree& tree,
                                                               const json::object& variables,
                                                               const TrustedVariables& trusted) {
  std::vector<const json::value*> used;
  for (const std::string& name : tree.names) {
    const json::value* variable = variables.if_contains(json::string_view(name));
    const bool is_reserved = trusted.texts.contains(name) || trusted.lists.contains(name) ||
                             find_function(name) != nullptr;
    if (variable != nullptr && is_reserved) {
      return invalid_argument("the variable ", quoted(name), " of a chat template is reserved");
    }
    used.push_back(variable);
  }
  return used;
}

Value trusted_list(Runtime& runtime, const std::vector<std::string>& texts) {
  std::vector<Value> items;
  for (const std::string& text : texts) items.push_back(runtime.text(text, true));
  return runtime.sequence(SequenceValue::Type::kList, std::move(items), true);
}

std::vector<RenderedPart> parts_of(const TaintedText& text) {
  std::vector<RenderedPart> parts;
  text.for_each_run([&](std::string_view bytes, bool trusted) {
    parts.push_back({std::string(bytes), trusted});
  });
  return parts;
}

}  // namespace

ChatTemplate::ChatTemplate(std::unique_ptr<const TemplateTree> tree, const TemplateLimits& limits)
    : tree_(std::move(tree)), limits_(limits) {}

ChatTemplate::~ChatTemplate() = default;

absl::StatusOr<std::unique_ptr<const ChatTemplate>> ChatTemplate::parse(
    std::string_view source, const TemplateLimits& limits) {
  if (source.size() > limits.source_bytes) {
    return absl::ResourceExhaustedError(str_cat("a chat template of ", source.size(),
                                                " bytes is longer than the ", limits.source_bytes,
                                                " allowed"));
  }
  if (!is_utf8(source)) return invalid_argument("the chat template is not valid UTF-8");
  absl::StatusOr<std::vector<TemplateToken>> tokens = tokenize(source);
  if (!tokens.ok()) return tokens.status();
  absl::StatusOr<TemplateTree> tree = Parser(*std::move(tokens), limits).parse();
  if (!tree.ok()) return tree.status();
  return std::unique_ptr<const ChatTemplate>(
      new ChatTemplate(std::make_unique<const TemplateTree>(*std::move(tree)), limits));
}

absl::StatusOr<std::vector<RenderedPart>> ChatTemplate::render(
    const json::object& variables, const TrustedVariables& trusted) const {
  const auto used = used_variables(*tree_, variables, trusted);
  if (!used.ok()) return used.status();
  size_t input_bytes = 0;
  for (size_t i = 0; i < used->size(); ++i) {
    if ((*used)[i] == nullptr || measure(*(*used)[i], limits_, limits_.value_depth, &input_bytes))
      continue;
    return absl::ResourceExhaustedError(str_cat("the variable ", quoted(tree_->names[i]),
                                                " is nested deeper than ", limits_.value_depth));
  }
  Runtime runtime(limits_, input_bytes, trusted.local_time ? trusted.local_time : clock_time);
  Converter converter(runtime, tree_->asks_for_none);
  std::vector<Value> globals(used->size());
  for (size_t i = 0; i < used->size(); ++i) {
    const std::string& name = tree_->names[i];
    const auto text = trusted.texts.find(name);
    const auto list = trusted.lists.find(name);
    const Builtin* function = find_function(name);
    if ((*used)[i] != nullptr) {
      globals[i] = converter.convert_variable(name, *(*used)[i]);
    } else if (text != trusted.texts.end()) {
      globals[i] = runtime.text(text->second, true);
    } else if (list != trusted.lists.end()) {
      globals[i] = trusted_list(runtime, list->second);
    } else if (function != nullptr) {
      globals[i] = Value(function);
    } else if (name == "self") {
      globals[i] = runtime.name_space({});  // the template's blocks, which are no functions here
    }
  }
  const TaintedText rendered = Interpreter(*tree_, runtime, std::move(globals)).run();
  if (runtime.failed()) return runtime.status();
  return parts_of(rendered);
}

}  // namespace deltaserve
