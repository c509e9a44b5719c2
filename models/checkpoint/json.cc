#include "models/checkpoint/json.h"

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_stack.hpp>
#include <cmath>
#include <exception>
#include <limits>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "models/base/json_numbers.h"
#include "models/base/limits.h"
#include "models/base/text.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

// Builds the document like Boost's own handler and keeps the keys of every open object.
class Handler {
 public:
  static constexpr size_t max_object_size = limits::kJsonValues;
  static constexpr size_t max_array_size = limits::kJsonValues;
  static constexpr size_t max_key_size = 65536;
  static constexpr size_t max_string_size = limits::kTokenizerConfigBytes;

  json::value release() { return stack_.release(); }
  // Returns one clause that names what was refused; empty if the parser itself found the error.
  const std::string& refusal() const { return refusal_; }

  bool on_document_begin(json::error_code&) {
    stack_.reset();
    return true;
  }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code& ec) {
    keys_.emplace_back();
    return count(ec);
  }
  bool on_object_end(size_t n, json::error_code&) {
    stack_.push_object(n);
    keys_.pop_back();
    return true;
  }
  bool on_array_begin(json::error_code& ec) { return count(ec); }
  bool on_array_end(size_t n, json::error_code&) {
    stack_.push_array(n);
    return true;
  }
  bool on_key_part(json::string_view part, size_t, json::error_code&) {
    stack_.push_chars(part);
    key_.append(part.data(), part.size());
    return true;
  }
  bool on_key(json::string_view part, size_t, json::error_code& ec) {
    stack_.push_key(part);
    key_.append(part.data(), part.size());
    if (!keys_.back().insert(key_).second) {
      return refuse(str_cat("the key ", quoted(key_), " occurs twice"), ec);
    }
    key_.clear();
    return true;
  }
  bool on_string_part(json::string_view part, size_t, json::error_code&) {
    stack_.push_chars(part);
    return true;
  }
  bool on_string(json::string_view part, size_t, json::error_code& ec) {
    stack_.push_string(part);
    return count(ec);
  }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(int64_t value, json::string_view, json::error_code& ec) {
    stack_.push_int64(value);
    return count(ec);
  }
  bool on_uint64(uint64_t value, json::string_view, json::error_code& ec) {
    stack_.push_uint64(value);
    return count(ec);
  }
  bool on_double(double, json::string_view text, json::error_code& ec) {
    stack_.push_double(nearest_double({text.data(), text.size()}));
    return count(ec);
  }
  bool on_bool(bool value, json::error_code& ec) {
    stack_.push_bool(value);
    return count(ec);
  }
  bool on_null(json::error_code& ec) {
    stack_.push_null();
    return count(ec);
  }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

 private:
  bool count(json::error_code& ec) {
    if (++num_values_ <= limits::kJsonValues) return true;
    return refuse(str_cat("more than ", limits::kJsonValues, " values"), ec);
  }
  bool refuse(std::string why, json::error_code& ec) {
    refusal_ = std::move(why);
    ec = json::error::object_too_large;
    return false;
  }

  json::value_stack stack_;
  std::vector<std::unordered_set<std::string>> keys_;
  std::string key_;
  std::string refusal_;
  size_t num_values_ = 0;
};

constexpr std::string_view kFloatKey = "__float__";

// Returns the number for which Python's json writes `word`; nullopt for every other word.
std::optional<double> unusual_number(std::string_view word) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (word == "Infinity") return kInfinity;
  if (word == "-Infinity") return -kInfinity;
  if (word == "NaN") return std::numeric_limits<double>::quiet_NaN();
  return std::nullopt;
}

// Returns the first of Python's words for numbers that `text` begins with; empty if there is none.
std::string_view unusual_word(std::string_view text) {
  for (const std::string_view word : {"NaN", "Infinity", "-Infinity"}) {
    if (text.starts_with(word)) return word;
  }
  return {};
}

// Returns `text` as JSON: without a byte order mark, and with objects as transformers writes them
// ({"__float__": "NaN"}) in place of bare words.
std::string as_json(std::string_view text) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  std::string out;
  out.reserve(text.size());
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const std::string_view word = in_string ? std::string_view() : unusual_word(text.substr(i));
    if (!word.empty()) {
      out += str_cat("{\"", kFloatKey, "\":\"", word, "\"}");
      i += word.size() - 1;
      continue;
    }
    out.push_back(text[i]);
    if (text[i] == '"') in_string = !in_string;
    if (in_string && text[i] == '\\' && i + 1 < text.size()) out.push_back(text[++i]);
  }
  return out;
}

// Replaces objects such as {"__float__": "Infinity"} by their numbers. Recursion is at most
// kJsonDepth deep.
void read_unusual_numbers(json::value* value) {
  if (json::array* list = value->if_array()) {
    for (json::value& item : *list) read_unusual_numbers(&item);
    return;
  }
  json::object* object = value->if_object();
  if (object == nullptr) return;
  const json::value* word = object->size() == 1 ? object->if_contains(kFloatKey) : nullptr;
  if (word != nullptr && word->is_string()) {
    const json::string& text = word->get_string();
    if (const auto number = unusual_number({text.data(), text.size()})) {
      *value = *number;
      return;
    }
  }
  for (auto& member : *object) read_unusual_numbers(&member.value());
}

absl::StatusOr<json::value> parse(std::string_view text, std::string_view origin) {
  json::parse_options options;
  options.max_depth = limits::kJsonDepth;
  json::basic_parser<Handler> parser(options);
  json::error_code error;
  const size_t used = parser.write_some(false, text.data(), text.size(), error);
  if (!parser.handler().refusal().empty()) {
    return invalid_argument(origin, ": ", parser.handler().refusal());
  }
  if (error) {
    return invalid_argument(origin, ": not valid JSON at byte ", used, ": ", error.message());
  }
  if (used != text.size()) {
    return invalid_argument(origin, ": text after the end of the JSON value at byte ", used);
  }
  json::value value = parser.handler().release();
  read_unusual_numbers(&value);
  return value;
}

}  // namespace

absl::StatusOr<json::value> parse_json(std::string_view text, std::string_view origin) {
  try {
    return parse(as_json(text), origin);
  } catch (const std::exception& failure) {  // the library throws if there is not enough memory
    return absl::ResourceExhaustedError(str_cat(origin, ": ", failure.what()));
  }
}

absl::StatusOr<json::object> parse_json_object(std::string_view text, std::string_view origin) {
  absl::StatusOr<json::value> value = parse_json(text, origin);
  if (!value.ok()) return value.status();
  if (!value->is_object()) return invalid_argument(origin, ": must hold a JSON object");
  return std::move(value->get_object());
}

std::string json_text(const boost::json::value& value) {
  constexpr size_t kShown = 80;
  if (value.is_array()) return value.get_array().empty() ? "[]" : "a list";
  if (value.is_object()) return value.get_object().empty() ? "{}" : "an object";
  if (const double* number = value.if_double(); number != nullptr && !std::isfinite(*number)) {
    return std::isnan(*number) ? "NaN" : *number > 0 ? "Infinity" : "-Infinity";
  }
  std::string text = json::serialize(value);
  if (text.size() > kShown) text = str_cat(text.substr(0, kShown), "...");
  return text;
}

}  // namespace deltaserve
