// The tests that `value is test` can use.
#include "server/template/builtin.h"
#include "server/template/text_operations.h"
#include "server/template/value_operations.h"

namespace deltaserve {
namespace {

template <bool (*kTest)(const Value&)>
Value test_value(const BuiltinCall& call) {
  return Value::boolean(kTest(call.self));
}

bool is_defined(const Value& value) {
  return !value.is_undefined();
}
bool is_undefined(const Value& value) {
  return value.is_undefined();
}
bool is_none(const Value& value) {
  return value.is_none();
}
bool is_string(const Value& value) {
  return value.is_text();
}
bool is_number(const Value& value) {
  return value.is_number();
}
bool is_integer(const Value& value) {
  return value.is<int64_t>() || value.is<BigInteger>();
}
bool is_float(const Value& value) {
  return value.is<double>();
}
bool is_boolean(const Value& value) {
  return value.is<bool>();
}
bool is_mapping(const Value& value) {
  return value.dict() != nullptr;
}
bool is_true(const Value& value) {
  return value.is<bool>() && *value.as<bool>();
}
bool is_false(const Value& value) {
  return value.is<bool>() && !*value.as<bool>();
}

// Returns true if the value has a length and items by index or key; Jinja includes undefined.
bool is_sequence(const Value& value) {
  if (value.sequence() != nullptr) return value.sequence()->type <= SequenceValue::Type::kRange;
  return value.is_text() || value.dict() != nullptr || value.is_undefined();
}

bool is_iterable(const Value& value) {
  return value.sequence() != nullptr || is_sequence(value) || value.is<std::shared_ptr<Loop>>();
}

bool is_callable(const Value& value) {
  return value.is<const Builtin*>() || value.is<std::shared_ptr<const BoundMacro>>() ||
         value.is_undefined() || value.is<std::shared_ptr<const BoundMethod>>();
}

Value remainder_of(const BuiltinCall& call, const Value& divisor) {
  if (!call.self.is_number()) {
    return call.runtime.fail("a test needs a number, not a value of type ", call.self.type_name());
  }
  return arithmetic(call.runtime, Arithmetic::kRemainder, call.self, divisor);
}

Value is_odd(const BuiltinCall& call) {
  const Value rest = remainder_of(call, Value::integer(2));
  return Value::boolean(equal(call.runtime, rest, Value::integer(1)));
}

Value is_even(const BuiltinCall& call) {
  const Value rest = remainder_of(call, Value::integer(2));
  return Value::boolean(equal(call.runtime, rest, Value::integer(0)));
}

Value is_divisible(const BuiltinCall& call) {
  const Value rest = remainder_of(call, *call.arguments[0]);
  return Value::boolean(equal(call.runtime, rest, Value::integer(0)));
}

Value is_equal(const BuiltinCall& call) {
  return Value::boolean(equal(call.runtime, call.self, *call.arguments[0]));
}

Value is_not_equal(const BuiltinCall& call) {
  return Value::boolean(!equal(call.runtime, call.self, *call.arguments[0]));
}

Value is_greater(const BuiltinCall& call) {
  return Value::boolean(compare(call.runtime, call.self, *call.arguments[0]) > 0);
}

Value is_less(const BuiltinCall& call) {
  return Value::boolean(compare(call.runtime, call.self, *call.arguments[0]) < 0);
}

Value is_greater_or_equal(const BuiltinCall& call) {
  return Value::boolean(compare(call.runtime, call.self, *call.arguments[0]) >= 0);
}

Value is_less_or_equal(const BuiltinCall& call) {
  return Value::boolean(compare(call.runtime, call.self, *call.arguments[0]) <= 0);
}

Value is_in(const BuiltinCall& call) {
  return Value::boolean(contains(call.runtime, *call.arguments[0], call.self));
}

// Implements Python's `is`, for cases in which the result does not depend on how the interpreter
// stores small values.
Value is_same(const BuiltinCall& call) {
  const Value& a = call.self;
  const Value& b = *call.arguments[0];
  if (a.data().index() != b.data().index()) return Value::boolean(false);
  if (a.is_none()) return Value::boolean(true);
  if (const bool* truth = a.as<bool>()) return Value::boolean(*truth == *b.as<bool>());
  if (a.dict() != nullptr) return Value::boolean(a.dict() == b.dict());
  if (a.sequence() != nullptr) return Value::boolean(a.sequence() == b.sequence());
  return call.runtime.fail("test 'sameas' compares only none, booleans, lists and dictionaries");
}

template <bool (*kTest)(std::string_view)>
Value test_text(const BuiltinCall& call) {
  const TaintedText text = call.self_text();
  if (!call.runtime.spend_bytes(4 * text.size())) return Value();
  return Value::boolean(kTest(text.bytes()));
}

template <const Builtin* (*kFind)(std::string_view)>
Value has_builtin(const BuiltinCall& call) {
  return Value::boolean(call.self.is_text() && kFind(call.self.text()->bytes()) != nullptr);
}

bool never(const Value&) {
  return false;
}

constexpr std::string_view kTest = "test";

constexpr Builtin kTests[] = {
    {kTest, "defined", test_value<is_defined>},
    {kTest, "undefined", test_value<is_undefined>},
    {kTest, "none", test_value<is_none>},
    {kTest, "string", test_value<is_string>},
    {kTest, "number", test_value<is_number>},
    {kTest, "integer", test_value<is_integer>},
    {kTest, "float", test_value<is_float>},
    {kTest, "boolean", test_value<is_boolean>},
    {kTest, "mapping", test_value<is_mapping>},
    {kTest, "sequence", test_value<is_sequence>},
    {kTest, "iterable", test_value<is_iterable>},
    {kTest, "callable", test_value<is_callable>},
    {kTest, "true", test_value<is_true>},
    {kTest, "false", test_value<is_false>},
    {kTest, "odd", is_odd},
    {kTest, "even", is_even},
    {kTest, "divisibleby", is_divisible, {"num"}, 1},
    {kTest, "equalto", is_equal, {"other"}, 1},
    {kTest, "eq", is_equal, {"other"}, 1},
    {kTest, "==", is_equal, {"other"}, 1},
    {kTest, "ne", is_not_equal, {"other"}, 1},
    {kTest, "!=", is_not_equal, {"other"}, 1},
    {kTest, "gt", is_greater, {"other"}, 1},
    {kTest, "greaterthan", is_greater, {"other"}, 1},
    {kTest, ">", is_greater, {"other"}, 1},
    {kTest, "lt", is_less, {"other"}, 1},
    {kTest, "lessthan", is_less, {"other"}, 1},
    {kTest, "<", is_less, {"other"}, 1},
    {kTest, "ge", is_greater_or_equal, {"other"}, 1},
    {kTest, ">=", is_greater_or_equal, {"other"}, 1},
    {kTest, "le", is_less_or_equal, {"other"}, 1},
    {kTest, "<=", is_less_or_equal, {"other"}, 1},
    {kTest, "in", is_in, {"seq"}, 1},
    {kTest, "sameas", is_same, {"other"}, 1},
    {kTest, "upper", test_text<is_upper_text>},
    {kTest, "lower", test_text<is_lower_text>},
    {kTest, "filter", has_builtin<find_filter>},
    {kTest, "test", has_builtin<find_test>},
    {kTest, "escaped", test_value<never>},  // nothing is marked as escaped
};

}  // namespace

const Builtin* find_test(std::string_view name) {
  return find_builtin(kTests, name);
}

}  // namespace deltaserve
