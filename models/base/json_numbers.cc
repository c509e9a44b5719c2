#include "models/base/json_numbers.h"

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value_stack.hpp>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <utility>

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr json::string_view kBigIntegerKey = "\xff";

// Builds a document like Boost's own handler, but for the numbers.
class ExactHandler {
 public:
  static constexpr size_t max_object_size = std::numeric_limits<size_t>::max();
  static constexpr size_t max_array_size = std::numeric_limits<size_t>::max();
  static constexpr size_t max_key_size = std::numeric_limits<size_t>::max();
  static constexpr size_t max_string_size = std::numeric_limits<size_t>::max();

  json::value release() { return stack_.release(); }

  bool on_document_begin(json::error_code&) {
    stack_.reset();
    return true;
  }
  bool on_document_end(json::error_code&) { return true; }
  bool on_object_begin(json::error_code&) { return true; }
  bool on_object_end(size_t size, json::error_code&) {
    stack_.push_object(size);
    return true;
  }
  bool on_array_begin(json::error_code&) { return true; }
  bool on_array_end(size_t size, json::error_code&) {
    stack_.push_array(size);
    return true;
  }
  bool on_key_part(json::string_view part, size_t, json::error_code&) {
    stack_.push_chars(part);
    return true;
  }
  bool on_key(json::string_view part, size_t, json::error_code&) {
    stack_.push_key(part);
    return true;
  }
  bool on_string_part(json::string_view part, size_t, json::error_code&) {
    stack_.push_chars(part);
    return true;
  }
  bool on_string(json::string_view part, size_t, json::error_code&) {
    stack_.push_string(part);
    return true;
  }
  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(int64_t value, json::string_view, json::error_code&) {
    stack_.push_int64(value);
    return true;
  }
  bool on_uint64(uint64_t value, json::string_view, json::error_code&) {
    stack_.push_uint64(value);
    return true;
  }
  bool on_double(double, json::string_view given, json::error_code& ec) {
    const std::string_view text(given.data(), given.size());
    if (!is_integer_text(text)) {
      stack_.push_double(nearest_double(text));
      return true;
    }
    if (count_digits(text) > kMostIntegerDigits) {
      ec = json::error::not_number;
      return false;
    }
    push_big_integer_on(&stack_, text);
    return true;
  }
  bool on_bool(bool value, json::error_code&) {
    stack_.push_bool(value);
    return true;
  }
  bool on_null(json::error_code&) {
    stack_.push_null();
    return true;
  }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

 private:
  json::value_stack stack_;
};

// JSON has no infinity, but every reader makes one of a number that is too large.
std::string json_float(double value) {
  if (std::isnan(value)) return "null";
  if (std::isinf(value)) return value > 0 ? "1e999" : "-1e999";
  return python_float(value);
}

// Recursion is as deep as the value.
// Stops once there are more than `most` bytes.
void write(const json::value& value, size_t most, std::string* out) {
  if (out->size() > most) return;
  if (const std::string_view digits = big_integer_text(value); !digits.empty()) {
    out->append(digits);
  } else if (const double* number = value.if_double()) {
    out->append(json_float(*number));
  } else if (const json::array* list = value.if_array()) {
    const char* separator = "[";
    for (const json::value& item : *list) {
      out->append(std::exchange(separator, ","));
      write(item, most, out);
    }
    out->append(list->empty() ? "[]" : "]");
  } else if (const json::object* object = value.if_object()) {
    const char* separator = "{";
    for (const json::key_value_pair& member : *object) {
      out->append(std::exchange(separator, ","));
      out->append(json::serialize(member.key())).push_back(':');
      write(member.value(), most, out);
    }
    out->append(object->empty() ? "{}" : "}");
  } else if (const json::string* text = value.if_string(); text != nullptr && text->size() > most) {
    out->append(json::serialize(json::string_view(text->data(), most)));
  } else {
    out->append(json::serialize(value));
  }
}

}  // namespace

bool is_integer_text(std::string_view number) {
  return number.find_first_of(".eE") == number.npos;
}

size_t count_digits(std::string_view integer) {
  return integer.size() - (integer.starts_with('-') ? 1 : 0);
}

void push_big_integer_on(json::value_stack* stack, std::string_view digits) {
  stack->push_key(kBigIntegerKey);
  stack->push_string({digits.data(), digits.size()});
  stack->push_object(1);
}

std::string_view big_integer_text(const json::value& value) {
  const json::object* object = value.if_object();
  const json::value* text = object != nullptr ? object->if_contains(kBigIntegerKey) : nullptr;
  if (text == nullptr || !text->is_string()) return {};
  return {text->get_string().data(), text->get_string().size()};
}

bool is_json_object(const json::value& value) {
  return value.is_object() && big_integer_text(value).empty();
}

bool is_exact_number(const json::value& value) {
  return value.is_number() || !big_integer_text(value).empty();
}

double nearest_double(std::string_view number) {
  double value = 0;
  const auto result = std::from_chars(number.data(), number.data() + number.size(), value);
  if (result.ec == std::errc()) return value;
  return std::strtod(std::string(number).c_str(), nullptr);  // it is out of range
}

std::string python_float(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  char buffer[40];
  const auto end = std::to_chars(buffer, std::end(buffer), value, std::chars_format::scientific);
  std::string text(buffer, end.ptr);
  const size_t e = text.find('e');
  const int exponent = std::atoi(text.c_str() + e + 1);
  if (exponent < -4 || exponent >= 16) return text;
  // Python writes such numbers without an exponent and with at least one decimal.
  const auto fixed = std::to_chars(buffer, std::end(buffer), value, std::chars_format::fixed);
  text.assign(buffer, fixed.ptr);
  return text.find('.') == std::string::npos ? text + ".0" : text;
}

std::optional<json::value> parse_json_exactly(std::string_view text, size_t depth) {
  json::parse_options options;
  options.max_depth = depth;
  json::basic_parser<ExactHandler> parser(options);
  json::error_code error;
  const size_t used = parser.write_some(false, text.data(), text.size(), error);
  if (error || used != text.size()) return std::nullopt;
  return parser.handler().release();
}

std::string exact_json(const json::value& value) {
  std::string out;
  write(value, std::string::npos, &out);
  return out;
}

std::string exact_json_up_to(size_t most, const json::value& value) {
  std::string out;
  write(value, most, &out);
  if (out.size() > most) out.replace(most, out.npos, "...");
  return out;
}

}  // namespace deltaserve
