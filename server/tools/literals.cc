#include "server/tools/literals.h"

#include <boost/json/parse.hpp>
#include <cmath>

#include "absl/strings/ascii.h"
#include "models/base/json_numbers.h"
#include "server/base/json_text.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr int kLiteralDepth = 64;

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::optional<json::value> parse_json(std::string_view text) {
  json::parse_options options;
  options.max_depth = kLiteralDepth;
  boost::system::error_code ec;
  json::value value = json::parse({text.data(), text.size()}, ec, json::storage_ptr(), options);
  if (ec) return std::nullopt;
  return value;
}

void append_code_point(uint32_t code, std::string* out) {
  if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) code = 0xFFFD;
  if (code < 0x80) {
    out->push_back(static_cast<char>(code));
    return;
  }
  const int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  const uint32_t lead = more == 1 ? 0xC0 : more == 2 ? 0xE0 : 0xF0;
  out->push_back(static_cast<char>(lead | code >> (6 * more)));
  for (int i = more - 1; i >= 0; --i) {
    out->push_back(static_cast<char>(0x80 | ((code >> (6 * i)) & 0x3F)));
  }
}

// Reads a literal and writes it as JSON.
class LiteralReader {
 public:
  explicit LiteralReader(std::string_view text) : text_(text) {}

  bool read(std::string* out) {
    const bool good = read_value(out, 0);
    skip_space();
    return good && at_ == text_.size();
  }

 private:
  char next() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_space() {
    while (at_ < text_.size() && absl::ascii_isspace(text_[at_])) ++at_;
  }
  bool take(char c) {
    skip_space();
    if (next() != c) return false;
    ++at_;
    return true;
  }

  bool read_value(std::string* out, int depth) {
    if (depth > kLiteralDepth) return false;
    skip_space();
    switch (next()) {
      case '"':
      case '\'': return read_string(out);
      case '[': return read_list(']', out, depth);
      case '(': return read_list(')', out, depth);
      case '{': return read_dictionary(out, depth);
      default: return read_word(out);
    }
  }

  bool read_word(std::string* out) {
    const size_t begin = at_;
    while (absl::ascii_isalnum(next()) || next() == '-' || next() == '+' || next() == '.') ++at_;
    const std::string_view word = text_.substr(begin, at_ - begin);
    if (word == "True" || word == "true") {
      out->append("true");
    } else if (word == "False" || word == "false") {
      out->append("false");
    } else if (word == "None" || word == "null") {
      out->append("null");
    } else {
      const std::optional<json::value> number = parse_json(word);
      if (!number || !number->is_number()) return false;
      out->append(word);
    }
    return true;
  }

  // Reads up to `count` hexadecimal digits.
  uint32_t read_hex(int count) {
    uint32_t value = 0;
    for (; count > 0 && absl::ascii_isxdigit(next()); --count, ++at_) {
      const char c = absl::ascii_tolower(next());
      value = value * 16 + static_cast<uint32_t>(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return value;
  }

  // Reads the four digits of \u, and a second escape if they are half of a pair.
  uint32_t read_utf16() {
    const uint32_t high = read_hex(4);
    if (high < 0xD800 || high >= 0xDC00 || text_.substr(at_, 2) != "\\u") return high;
    at_ += 2;
    const uint32_t low = read_hex(4);
    return low < 0xDC00 || low >= 0xE000 ? 0xFFFD
                                         : 0x10000 + ((high - 0xD800) << 10) + low - 0xDC00;
  }

  void read_escape(std::string* text) {
    const char c = next();
    ++at_;
    switch (c) {
      case 'n': text->push_back('\n'); break;
      case 't': text->push_back('\t'); break;
      case 'r': text->push_back('\r'); break;
      case 'b': text->push_back('\b'); break;
      case 'f': text->push_back('\f'); break;
      case '\n': break;  // the line continues
      case 'x': append_code_point(read_hex(2), text); break;
      case 'u': append_code_point(read_utf16(), text); break;
      case 'U': append_code_point(read_hex(8), text); break;
      case '"':
      case '\'':
      case '\\':
      case '/': text->push_back(c); break;
      default: text->append({'\\', c});
    }
  }

  bool read_string(std::string* out) {
    const char quote = next();
    ++at_;
    std::string text;
    while (next() != quote) {
      if (at_ >= text_.size()) return false;
      if (next() == '\\') {
        ++at_;
        read_escape(&text);
      } else {
        text.push_back(text_[at_++]);
      }
    }
    ++at_;
    append_json_string(out, text);
    return true;
  }

  bool read_list(char close, std::string* out, int depth) {
    ++at_;
    out->push_back('[');
    for (bool first = true; !take(close); first = false) {
      if (!first && !take(',')) return false;
      if (!first && take(close)) break;
      if (!first) out->append(", ");
      if (!read_value(out, depth + 1)) return false;
    }
    out->push_back(']');
    return true;
  }

  bool read_dictionary(std::string* out, int depth) {
    ++at_;
    out->push_back('{');
    for (bool first = true; !take('}'); first = false) {
      if (!first && !take(',')) return false;
      if (!first && take('}')) break;
      if (!first) out->append(", ");
      skip_space();
      if ((next() != '"' && next() != '\'') || !read_string(out) || !take(':')) return false;
      out->append(": ");
      if (!read_value(out, depth + 1)) return false;
    }
    out->push_back('}');
    return true;
  }

  const std::string_view text_;
  size_t at_ = 0;
};

// Returns true if a value has one of the types.
bool fits(const ArgumentType& type, const json::value& value) {
  switch (value.kind()) {
    case json::kind::null: return type.null;
    case json::kind::bool_: return type.boolean;
    case json::kind::object: return type.object;
    case json::kind::array: return type.array;
    case json::kind::string: return false;  // a string of JSON within a text is that text
    case json::kind::double_: {
      const double number = value.get_double();
      return type.number || (type.integer && number == std::trunc(number));
    }
    default: return type.number || type.integer;
  }
}

void add_type(std::string_view name, ArgumentType* type) {
  if (name == "string") type->string = true;
  if (name == "boolean") type->boolean = true;
  if (name == "integer") type->integer = true;
  if (name == "number") type->number = true;
  if (name == "null") type->null = true;
  if (name == "object") type->object = true;
  if (name == "array") type->array = true;
}

void add_type_of_value(const json::value& value, ArgumentType* type) {
  switch (value.kind()) {
    case json::kind::null: type->null = true; break;
    case json::kind::bool_: type->boolean = true; break;
    case json::kind::string: type->string = true; break;
    case json::kind::object: (is_json_object(value) ? type->object : type->number) = true; break;
    case json::kind::array: type->array = true; break;
    default: type->number = true; break;
  }
}

std::string_view text_of(const json::value& value) {
  const json::string& text = value.get_string();
  return {text.data(), text.size()};
}

// Adds the types that a schema allows. `root` has its definitions.
void add_types(const json::value& root, const json::value& schema, int depth, ArgumentType* type) {
  if (depth > kLiteralDepth || !schema.is_object()) return;
  const json::object& members = schema.get_object();
  if (const json::value* names = members.if_contains("type")) {
    if (names->is_string()) add_type(text_of(*names), type);
    if (names->is_array()) {
      for (const json::value& name : names->get_array()) {
        if (name.is_string()) add_type(text_of(name), type);
      }
    }
  } else if (const json::value* values = members.if_contains("enum")) {
    if (values->is_array()) {
      for (const json::value& value : values->get_array()) add_type_of_value(value, type);
    }
  } else if (const json::value* value = members.if_contains("const")) {
    add_type_of_value(*value, type);
  }
  const json::value* nullable = members.if_contains("nullable");
  if (nullable != nullptr && nullable->is_bool() && nullable->get_bool()) type->null = true;
  for (const char* key : {"anyOf", "oneOf", "allOf"}) {
    const json::value* branches = members.if_contains(key);
    if (branches == nullptr || !branches->is_array()) continue;
    for (const json::value& branch : branches->get_array()) {
      add_types(root, branch, depth + 1, type);
    }
  }
  const json::value* reference = members.if_contains("$ref");
  if (reference == nullptr || !reference->is_string() || !text_of(*reference).starts_with('#')) {
    return;
  }
  const std::string_view pointer = text_of(*reference).substr(1);
  boost::system::error_code ec;
  const json::value* target = root.find_pointer({pointer.data(), pointer.size()}, ec);
  if (target != nullptr && !ec) add_types(root, *target, depth + 1, type);
}

}  // namespace

std::optional<std::string> literal_to_json(std::string_view text) {
  text = trimmed(text);
  if (parse_json(text)) return std::string(text);
  std::string out;
  if (!LiteralReader(text).read(&out)) return std::nullopt;
  return out;
}

std::string argument_to_json(const ArgumentType& type, std::string_view text) {
  if (!type.only_string()) {
    const std::optional<std::string> literal = literal_to_json(text);
    const std::optional<json::value> value = literal ? parse_json(*literal) : std::nullopt;
    if (value && (type.any() || fits(type, *value))) return *literal;
  }
  std::string out;
  append_json_string(&out, text);
  return out;
}

ToolArguments::ToolArguments(const json::array& tools) {
  for (const json::value& tool : tools) {
    const json::value* function =
        tool.is_object() ? tool.get_object().if_contains("function") : nullptr;
    if (function == nullptr || !function->is_object()) continue;
    const json::value* name = function->get_object().if_contains("name");
    if (name == nullptr || !name->is_string()) continue;
    Types& types = tools_[std::string(text_of(*name))];
    const json::value* schema = function->get_object().if_contains("parameters");
    const json::value* properties = schema != nullptr && schema->is_object()
                                        ? schema->get_object().if_contains("properties")
                                        : nullptr;
    if (properties == nullptr || !properties->is_object()) continue;
    for (const auto& [key, property] : properties->get_object()) {
      add_types(*schema, property, 0, &types[std::string(std::string_view(key))]);
    }
  }
}

ArgumentType ToolArguments::type_of(std::string_view tool, std::string_view argument) const {
  const auto types = tools_.find(tool);
  if (types == tools_.end()) return {};
  const auto type = types->second.find(argument);
  return type == types->second.end() ? ArgumentType() : type->second;
}

}  // namespace deltaserve
