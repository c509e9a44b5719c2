// Filters that return texts and numbers.
#include <cmath>

#include "server/template/big_integer.h"
#include "server/template/builtin.h"
#include "server/template/number_parsing.h"
#include "server/template/text_operations.h"
#include "server/template/value_format.h"
#include "server/template/value_operations.h"

namespace deltaserve {
namespace {

template <TaintedText (*kOperation)(const TaintedText&)>
Value map_filter(const BuiltinCall& call) {
  const TaintedText text = call.self_text();
  if (!call.runtime.can_make(text.size())) return Value();
  return call.runtime.text(kOperation(text));
}

Value trim_filter(const BuiltinCall& call) {
  std::optional<std::string_view> characters;
  if (call.has(0)) {
    if (call.text(0) == nullptr) return Value();
    characters = call.text(0)->bytes();
  }
  if (const TaintedText* text = call.self.text()) {
    return call.runtime.text(strip(call.runtime, *text, characters, true, true));
  }
  return call.runtime.text(strip(call.runtime, call.self_text(), characters, true, true));
}

Value string_filter(const BuiltinCall& call) {
  return call.self.is_text() ? call.self : call.runtime.text(call.self_text());
}

Value safe_filter(const BuiltinCall& call) {
  return call.self.is_markup() ? call.self : call.runtime.markup(call.self_text());
}

Value escape_filter(const BuiltinCall& call) {
  const TaintedText text = call.self_text();
  if (call.self.is_markup() || !call.runtime.can_make(5 * text.size())) return call.self;
  return call.runtime.markup(escape_html(text));
}

Value replace_filter(const BuiltinCall& call) {
  const TaintedText wanted = str(call.runtime, *call.arguments[0]);
  const TaintedText replacement = str(call.runtime, *call.arguments[1]);
  return call.runtime.text(
      replace(call.runtime, call.self_text(), wanted.bytes(), replacement, call.integer(2, -1)));
}

Value default_filter(const BuiltinCall& call) {
  const bool missing = call.self.is_undefined() || (call.flag(1, false) && !truthy(call.self));
  if (!missing) return call.self;
  return call.arguments[0] == nullptr ? call.runtime.text("", true) : *call.arguments[0];
}

// Returns a text, or that many spaces; the number is checked against the limit.
std::optional<TaintedText> indentation(const BuiltinCall& call, size_t argument,
                                       int64_t otherwise) {
  if (call.has(argument) && call.arguments[argument]->is_text()) return *call.text(argument);
  const int64_t width = call.integer(argument, otherwise);
  if (width > call.runtime.limits().width) {
    call.runtime.exceed(str_cat("an indentation is wider than ", call.runtime.limits().width));
  }
  if (call.runtime.failed()) return std::nullopt;
  return TaintedText(std::string(static_cast<size_t>(std::max<int64_t>(width, 0)), ' '), true);
}

Value indent_filter(const BuiltinCall& call) {
  if (call.as_text(call.self) == nullptr) return Value();
  const std::optional<TaintedText> margin = indentation(call, 0, 4);
  TaintedText text = call.self_text();
  if (!margin.has_value() || !call.runtime.can_make(text.size())) return Value();
  text.append("\n", true);  // as in Jinja: it keeps a last line end
  const std::vector<Span> lines = split_lines(call.runtime, text.bytes());
  if (!call.runtime.can_make(text.size() + lines.size() * (1 + margin->size()))) return Value();
  TaintedText result;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) result.append("\n", true);
    const bool blank = lines[i].begin == lines[i].end;
    if (i == 0 ? call.flag(1, false) : call.flag(2, false) || !blank) result.append(*margin);
    result.append(text, lines[i].begin, lines[i].end);
  }
  return call.runtime.text(std::move(result));
}

Value tojson_filter(const BuiltinCall& call) {
  JsonStyle style;
  style.ensure_ascii = call.flag(0, false);
  style.sort_keys = call.flag(3, false);
  if (call.has(1)) {
    const std::optional<TaintedText> indent = indentation(call, 1, 0);
    if (!indent.has_value()) return Value();
    style.indent = indent->bytes();
    style.item_separator = TaintedText(",", true);
  }
  if (call.has(2)) {
    const SequenceValue* pair = call.arguments[2]->sequence();
    if (pair == nullptr || pair->items.size() != 2) {
      return call.runtime.fail("separators of tojson must be two texts");
    }
    const TaintedText* item = call.as_text(pair->items[0]);
    const TaintedText* key = call.as_text(pair->items[1]);
    if (item == nullptr || key == nullptr) return Value();
    style.item_separator = *item;
    style.key_separator = *key;
  }
  TaintedText json;
  append_json(call.runtime, call.self, style, &json);
  return call.runtime.text(std::move(json));
}

Value format_filter(const BuiltinCall& call) {
  const CallArguments& given = call.raw;
  if (!given.named.empty() && !given.positional.empty()) {
    return call.runtime.fail("filter 'format' takes positional or named arguments, not both");
  }
  if (given.named.empty()) {
    const Value tuple = call.runtime.sequence(SequenceValue::Type::kTuple, given.positional);
    return percent_format(call.runtime, call.self_text(), tuple);
  }
  std::vector<Dict::Entry> entries;
  for (const auto& [name, value] : given.named) {
    entries.push_back({call.runtime.text(name, true), value});
  }
  return percent_format(call.runtime, call.self_text(), call.runtime.dict(std::move(entries)));
}

Value default_number(const BuiltinCall& call, Value zero) {
  return call.arguments[0] == nullptr ? zero : *call.arguments[0];
}

Value truncated(const BuiltinCall& call, double number) {
  if (std::isinf(number)) return call.runtime.fail("an infinite number is no integer");
  return truncated_integer(call.runtime, number, call.self.trusted());
}

Value int_filter(const BuiltinCall& call) {
  if (const auto* missing = call.self.as<Undefined>()) return call.runtime.fail_undefined(*missing);
  if (call.self.is<int64_t>() || call.self.is<BigInteger>()) return call.self;
  if (const bool* truth = call.self.as<bool>()) return Value::integer(*truth, call.self.trusted());
  if (const double* number = call.self.as<double>(); number != nullptr && !std::isnan(*number)) {
    return truncated(call, *number);
  }
  const TaintedText* text = call.self.text();
  if (text == nullptr) return default_number(call, Value::integer(0, true));
  const int64_t base = call.integer(1, 10);
  if (base < 2 || base > 36) return call.runtime.fail("filter 'int' needs a base in [2, 36]");
  if (!call.runtime.can_make(text->size())) return Value();
  WholeNumber whole;
  const NumberError error = parse_integer(text->bytes(), static_cast<int>(base), &whole);
  if (error == NumberError::kNone) return make_integer(call.runtime, whole, text->all_trusted());
  const std::optional<double> number = parse_float(text->bytes());
  if (!number.has_value() || !std::isfinite(*number)) {
    return default_number(call, Value::integer(0, true));
  }
  return truncated(call, *number);
}

Value float_filter(const BuiltinCall& call) {
  if (const auto* missing = call.self.as<Undefined>()) return call.runtime.fail_undefined(*missing);
  const bool trusted = call.self.trusted();
  if (call.self.is<double>()) return call.self;
  if (const std::optional<WholeNumber> whole = whole_number(call.self)) {
    const std::optional<double> real = double_of(*whole);
    if (real.has_value()) return Value::real(*real, trusted);
    return call.runtime.fail("an integer is too large for a float");
  }
  if (const TaintedText* text = call.self.text()) {
    if (!call.runtime.can_make(text->size())) return Value();
    const std::optional<double> number = parse_float(text->bytes());
    if (number.has_value()) return Value::real(*number, text->all_trusted());
  }
  return default_number(call, Value::real(0, true));
}

Value abs_filter(const BuiltinCall& call) {
  if (!call.self.is_number()) {
    return call.runtime.fail("filter 'abs' does not take ", call.self.type_name());
  }
  if (call.self.is<bool>()) return int_filter(call);
  const bool below = compare(call.runtime, call.self, Value::integer(0)) < 0;
  if (below) return negative(call.runtime, call.self);
  const double* real = call.self.as<double>();
  return real == nullptr ? call.self : Value::real(std::abs(*real), call.self.trusted());
}

// Rounds exactly, a tie to even, like Python's round.
double rounded(double number, int places) {
  char buffer[512];
  const int size = std::snprintf(buffer, sizeof buffer, "%.*f", places, number);
  return size > 0 && size < static_cast<int>(sizeof buffer) ? std::strtod(buffer, nullptr) : number;
}

Value round_filter(const BuiltinCall& call) {
  const int64_t places = call.integer(0, 0);
  if (places < 0 || places > call.runtime.limits().decimal_places) {
    return call.runtime.fail("filter 'round' needs a precision in [0, ",
                             call.runtime.limits().decimal_places, "]");
  }
  const TaintedText* named = call.has(1) ? call.text(1) : nullptr;
  const std::string method = named == nullptr ? "common" : named->bytes();
  if (method != "common" && method != "ceil" && method != "floor") {
    return call.runtime.fail("filter 'round' knows common, ceil and floor, not ", quoted(method));
  }
  if (!call.self.is_number()) {
    return call.runtime.fail("filter 'round' does not take ", call.self.type_name());
  }
  const double* real = call.self.as<double>();
  if (method == "common" && real == nullptr) return int_filter(call);
  if (real == nullptr) return float_filter(call);  // there is nothing to round
  const double number = *real;
  if (!std::isfinite(number)) return call.self;
  if (method == "common") {
    return Value::real(rounded(number, static_cast<int>(places)), call.self.trusted());
  }
  const double scale = std::pow(10.0, static_cast<double>(places));
  const double scaled = number * scale;
  const double result = (method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale;
  return Value::real(result, call.self.trusted());
}

constexpr Builtin kTextFilters[] = {
    {kFilter, "trim", trim_filter, {"chars"}},
    {kFilter, "upper", map_filter<upper>},
    {kFilter, "lower", map_filter<lower>},
    {kFilter, "title", map_filter<title_words>},
    {kFilter, "capitalize", map_filter<capitalize>},
    {kFilter, "replace", replace_filter, {"old", "new", "count"}, 2},
    {kFilter, "string", string_filter},
    {kFilter, "safe", safe_filter},
    {kFilter, "escape", escape_filter},
    {kFilter, "e", escape_filter},
    {kFilter, "indent", indent_filter, {"width", "first", "blank"}},
    {kFilter, "tojson", tojson_filter, {"ensure_ascii", "indent", "separators", "sort_keys"}},
    {kFilter, "format", format_filter, {}, 0, true},
    {kFilter, "default", default_filter, {"default_value", "boolean"}},
    {kFilter, "d", default_filter, {"default_value", "boolean"}},
    {kFilter, "int", int_filter, {"default", "base"}},
    {kFilter, "float", float_filter, {"default"}},
    {kFilter, "abs", abs_filter},
    {kFilter, "round", round_filter, {"precision", "method"}},
};

}  // namespace

const Builtin* find_text_filter(std::string_view name) {
  return find_builtin(kTextFilters, name);
}

}  // namespace deltaserve
