// Converts values to text: Python's str and repr, and JSON.
#pragma once
#include <optional>
#include <string>

#include "server/template/builtin.h"
#include "server/template/runtime.h"

namespace deltaserve {

// Appends str(value) to `*out`. Fails for values that Python would print as an address.
void append_str(Runtime& runtime, const Value& value, TaintedText* out);
TaintedText str(Runtime& runtime, const Value& value);
// Appends repr(value), as it appears inside a printed list.
void append_repr(Runtime& runtime, const Value& value, TaintedText* out);

// The arguments of json.dumps.
struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;
  TaintedText item_separator{", ", true};
  TaintedText key_separator{": ", true};
};

void append_json(Runtime& runtime, const Value& value, const JsonStyle& style, TaintedText* out);

// Implements str.format: fields by position and name, attributes and items of them, !r and !s, and
// the format specifications of texts and numbers.
Value brace_format(Runtime& runtime, const TaintedText& format, const CallArguments& arguments);

// Returns `value` as Python's format(value, specification) does, for texts and numbers.
TaintedText formatted(Runtime& runtime, const Value& value, std::string_view specification,
                      bool trusted);

// Returns format % arguments, where the arguments are a tuple, a dictionary or one value. Supports
// Python's conversions but %a, with its flags, a width and a precision.
Value percent_format(Runtime& runtime, const TaintedText& format, const Value& arguments);

}  // namespace deltaserve
