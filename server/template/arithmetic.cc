#include <cmath>
#include <optional>

#include "models/base/json_numbers.h"
#include "server/template/big_integer.h"
#include "server/template/text_operations.h"
#include "server/template/value_format.h"
#include "server/template/value_operations.h"

namespace deltaserve {
namespace {

const char* sign_of(Arithmetic operation) {
  switch (operation) {
    case Arithmetic::kAdd: return "+";
    case Arithmetic::kSubtract: return "-";
    case Arithmetic::kMultiply: return "*";
    case Arithmetic::kDivide: return "/";
    case Arithmetic::kFloorDivide: return "//";
    case Arithmetic::kRemainder: return "%";
    case Arithmetic::kPower: return "**";
  }
  return "";
}

std::optional<int64_t> whole(const Value& value) {
  if (const bool* truth = value.as<bool>()) return *truth;
  if (const int64_t* number = value.as<int64_t>()) return *number;
  return std::nullopt;
}

// Returns the power; nullopt if it has more than 64 bits. The exponent must not be negative.
std::optional<int64_t> small_power(int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) return std::nullopt;
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return std::nullopt;
  }
  return result;
}

// Returns a / b rounded down, as in Python. b must not be zero, and a / b must not overflow.
int64_t floor_quotient(int64_t a, int64_t b) {
  const int64_t quotient = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient;
}

std::optional<int64_t> whole_result(Arithmetic operation, int64_t a, int64_t b) {
  int64_t result = 0;
  const bool minimum_by_minus_one = a == INT64_MIN && b == -1;
  switch (operation) {
    case Arithmetic::kAdd:
      return __builtin_add_overflow(a, b, &result) ? std::nullopt : std::optional(result);
    case Arithmetic::kSubtract:
      return __builtin_sub_overflow(a, b, &result) ? std::nullopt : std::optional(result);
    case Arithmetic::kMultiply:
      return __builtin_mul_overflow(a, b, &result) ? std::nullopt : std::optional(result);
    case Arithmetic::kPower: return small_power(a, b);
    case Arithmetic::kFloorDivide:
      if (minimum_by_minus_one) return std::nullopt;
      return floor_quotient(a, b);
    case Arithmetic::kRemainder:
      if (minimum_by_minus_one) return 0;
      return a - floor_quotient(a, b) * b;
    case Arithmetic::kDivide: break;
  }
  return std::nullopt;
}

double real_remainder(double a, double b) {
  const double rest = std::fmod(a, b);
  if (rest == 0) return std::copysign(0.0, b);
  return (rest < 0) != (b < 0) ? rest + b : rest;
}

Value real_arithmetic(Runtime& runtime, Arithmetic operation, double a, double b, bool trusted) {
  double result = 0;
  switch (operation) {
    case Arithmetic::kAdd: result = a + b; break;
    case Arithmetic::kSubtract: result = a - b; break;
    case Arithmetic::kMultiply: result = a * b; break;
    case Arithmetic::kDivide: result = a / b; break;
    case Arithmetic::kFloorDivide: result = std::floor(a / b); break;
    case Arithmetic::kRemainder: result = real_remainder(a, b); break;
    case Arithmetic::kPower:
      result = std::pow(a, b);
      if (std::isnan(result) && !std::isnan(a) && !std::isnan(b)) {
        return runtime.fail("a power is not a real number");
      }
      break;
  }
  if (std::isinf(result) && !std::isinf(a) && !std::isinf(b)) {
    return runtime.fail("the result of '", sign_of(operation), "' is out of range");
  }
  return Value::real(result, trusted);
}

// Computes with integers of any size. b must not be zero where it divides.
Value big_arithmetic(Runtime& runtime, Arithmetic operation, const WholeNumber& a,
                     const WholeNumber& b, bool trusted) {
  if (!runtime.spend(a.backend().size() + b.backend().size())) return Value();
  switch (operation) {
    case Arithmetic::kAdd: return make_integer(runtime, a + b, trusted);
    case Arithmetic::kSubtract: return make_integer(runtime, a - b, trusted);
    case Arithmetic::kMultiply: return make_integer(runtime, a * b, trusted);
    case Arithmetic::kFloorDivide:
      return make_integer(runtime, floor_division(a, b).first, trusted);
    case Arithmetic::kRemainder: return make_integer(runtime, floor_division(a, b).second, trusted);
    case Arithmetic::kPower: {
      const std::optional<WholeNumber> power = whole_power(a, b);
      if (power.has_value()) return make_integer(runtime, *power, trusted);
      return runtime.exceed(str_cat("a power has more than ", kMostIntegerDigits, " digits"));
    }
    case Arithmetic::kDivide: break;
  }
  const std::optional<double> quotient = true_quotient(a, b);
  if (quotient.has_value()) return Value::real(*quotient, trusted);
  return runtime.fail("the result of '/' is out of range");
}

Value whole_arithmetic(Runtime& runtime, Arithmetic operation, const Value& a, const Value& b,
                       bool trusted) {
  const std::optional<int64_t> x = whole(a), y = whole(b);
  if (x.has_value() && y.has_value()) {
    const std::optional<int64_t> result = whole_result(operation, *x, *y);
    if (result.has_value()) return Value::integer(*result, trusted);
  }
  return big_arithmetic(runtime, operation, *whole_number(a), *whole_number(b), trusted);
}

Value number_arithmetic(Runtime& runtime, Arithmetic operation, const Value& a, const Value& b) {
  const bool trusted = a.trusted() && b.trusted();
  const bool divides = operation == Arithmetic::kDivide || operation == Arithmetic::kFloorDivide ||
                       operation == Arithmetic::kRemainder;
  if (divides && !truthy(b)) return runtime.fail("division by zero");
  const bool reciprocal =
      operation == Arithmetic::kPower && compare_numbers(b, Value::integer(0)) < 0;
  if (!a.is<double>() && !b.is<double>() && !reciprocal) {
    return whole_arithmetic(runtime, operation, a, b, trusted);
  }
  const auto real = [](const Value& value) {
    const double* number = value.as<double>();
    return number != nullptr ? std::optional(*number) : double_of(*whole_number(value));
  };
  const std::optional<double> x = real(a), y = real(b);
  if (!x.has_value() || !y.has_value()) return runtime.fail("an integer is too large for a float");
  return real_arithmetic(runtime, operation, *x, *y, trusted);
}

// Returns the text as it stands in a markup.
TaintedText in_markup(Runtime& runtime, const Value& value) {
  constexpr size_t kLongestEscape = 5;
  if (value.is_markup()) return *value.text();
  if (!runtime.can_make(kLongestEscape * value.text()->size())) return {};
  return escape_html(*value.text());
}

Value join_markup(Runtime& runtime, const Value& a, const Value& b) {
  TaintedText sum = in_markup(runtime, a);
  const TaintedText rest = in_markup(runtime, b);
  if (runtime.failed() || !runtime.can_make(sum.size() + rest.size())) return Value();
  sum.append(rest);
  return runtime.markup(std::move(sum));
}

Value join_texts(Runtime& runtime, Value a, const Value& b) {
  if (a.is_markup() || b.is_markup()) return join_markup(runtime, a, b);
  if (TextNode* own = a.unshared_text()) {
    if (!runtime.can_make(b.text()->size())) return Value();
    own->text.append(*b.text());
    runtime.recharge(own);
    return a;
  }
  if (!runtime.can_make(a.text()->size() + b.text()->size())) return Value();
  TaintedText sum = *a.text();
  sum.append(*b.text());
  return runtime.text(std::move(sum));
}

Value join_items(Runtime& runtime, const Value& a, const Value& b) {
  const SequenceValue& first = *a.sequence();
  const SequenceValue& second = *b.sequence();
  if (!runtime.can_make((first.items.size() + second.items.size()) * sizeof(Value))) return Value();
  std::vector<Value> items;
  items.reserve(first.items.size() + second.items.size());
  items.insert(items.end(), first.items.begin(), first.items.end());
  items.insert(items.end(), second.items.begin(), second.items.end());
  return runtime.sequence(first.type, std::move(items), a.trusted() && b.trusted());
}

// Returns how often something of `unit` bytes is to be repeated; nullopt if that needs too much
// memory.
std::optional<size_t> repetitions(Runtime& runtime, size_t unit, int64_t count) {
  if (count <= 0 || unit == 0) return 0;
  size_t bytes = 0;
  if (__builtin_mul_overflow(unit, static_cast<size_t>(count), &bytes)) bytes = SIZE_MAX;
  if (!runtime.can_make(bytes)) return std::nullopt;
  return static_cast<size_t>(count);
}

Value repeat(Runtime& runtime, const Value& value, int64_t count) {
  if (const TaintedText* text = value.text()) {
    if (text->empty()) return value;
    const std::optional<size_t> times = repetitions(runtime, text->heap_bytes(), count);
    if (!times.has_value()) return Value();
    TaintedText result;
    for (size_t i = 0; i < *times; ++i) result.append(*text);
    return value.is_markup() ? runtime.markup(std::move(result)) : runtime.text(std::move(result));
  }
  const std::vector<Value>& items = value.sequence()->items;
  const std::optional<size_t> times = repetitions(runtime, items.size() * sizeof(Value), count);
  if (!times.has_value()) return Value();
  std::vector<Value> result;
  result.reserve(items.size() * *times);
  for (size_t i = 0; i < *times; ++i) result.insert(result.end(), items.begin(), items.end());
  return runtime.sequence(value.sequence()->type, std::move(result), value.trusted());
}

bool is_repeatable(const Value& value) {
  return value.is_text() ||
         (value.sequence() != nullptr && value.sequence()->type <= SequenceValue::Type::kTuple);
}

bool can_join_items(const Value& a, const Value& b) {
  return a.sequence() != nullptr && b.sequence() != nullptr && is_repeatable(a) &&
         a.sequence()->type == b.sequence()->type;
}

}  // namespace

Value arithmetic(Runtime& runtime, Arithmetic operation, Value a, const Value& b) {
  if (runtime.failed()) return Value();
  if (a.is_number() && b.is_number()) return number_arithmetic(runtime, operation, a, b);
  if (operation == Arithmetic::kAdd) {
    if (a.is_text() && b.is_text()) return join_texts(runtime, std::move(a), b);
    if (can_join_items(a, b)) return join_items(runtime, a, b);
  }
  if (operation == Arithmetic::kMultiply) {
    if (is_repeatable(a) && whole(b).has_value()) return repeat(runtime, a, *whole(b));
    if (is_repeatable(b) && whole(a).has_value()) return repeat(runtime, b, *whole(a));
  }
  if (operation == Arithmetic::kRemainder && a.is_text()) {
    return percent_format(runtime, *a.text(), b);
  }
  for (const Value* operand : {static_cast<const Value*>(&a), &b}) {
    const Undefined* missing = operand->as<Undefined>();
    if (missing != nullptr) return runtime.fail_undefined(*missing);
  }
  return runtime.fail("unsupported operands of '", sign_of(operation), "': ", a.type_name(),
                      " and ", b.type_name());
}

Value negative(Runtime& runtime, const Value& value) {
  if (const double* number = value.as<double>()) return Value::real(-*number, value.trusted());
  if (value.is_number()) {
    return arithmetic(runtime, Arithmetic::kSubtract, Value::integer(0, value.trusted()), value);
  }
  return runtime.fail("'-' does not take ", value.type_name());
}

}  // namespace deltaserve
