// The part of the interpreter that evaluates expressions.
#include "server/template/interpreter.h"
#include "server/template/value_format.h"

namespace deltaserve {

Value Interpreter::evaluate(const Expression& expression) {
  const Depth depth(this);
  if (!runtime_.spend(1)) return Value();
  Value value = std::visit([this](const auto& node) { return value_of(node); }, expression.node);
  return runtime_.failed() ? Value() : value;
}

Value Interpreter::evaluate_or_none(const ExpressionPtr& expression) {
  return expression == nullptr ? Value::none() : evaluate(*expression);
}

Value Interpreter::value_of(const Constant& node) {
  return node.value;
}

Value Interpreter::value_of(const Name& node) {
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    for (const auto& [symbol, value] : scope->variables) {
      if (symbol == node.symbol) return value;
    }
  }
  const Value& global = globals_[node.symbol];
  const Undefined* missing = global.as<Undefined>();
  if (missing == nullptr || missing->name != nullptr) return global;
  return Value(Undefined{&tree_.names[node.symbol], nullptr});
}

Value Interpreter::value_of(const ListLiteral& node) {
  if (!runtime_.can_make(node.items.size() * sizeof(Value))) return Value();
  std::vector<Value> items;
  items.reserve(node.items.size());
  for (const ExpressionPtr& item : node.items) items.push_back(evaluate(*item));
  return runtime_.sequence(node.type, std::move(items), true);
}

Value Interpreter::value_of(const DictLiteral& node) {
  if (!runtime_.can_make(node.entries.size() * sizeof(Dict::Entry))) return Value();
  std::vector<Dict::Entry> entries;
  entries.reserve(node.entries.size());
  for (const auto& [key, value] : node.entries) {
    Value name = evaluate(*key);
    if (runtime_.failed()) return Value();
    if (!can_be_key(name)) {
      return runtime_.fail("a value of type ", name.type_name(), " cannot be a dictionary's key");
    }
    entries.push_back({std::move(name), evaluate(*value)});
  }
  return runtime_.failed() ? Value() : runtime_.dict(std::move(entries), true);
}

Value Interpreter::value_of(const Unary& node) {
  const Value operand = evaluate(*node.operand);
  if (runtime_.failed()) return Value();
  if (node.operation == UnaryOperator::kNot) return Value::boolean(!truthy(operand));
  Value opposite = negative(runtime_, operand);
  if (node.operation == UnaryOperator::kMinus) return opposite;
  return operand.is<bool>() ? Value::integer(*operand.as<bool>(), operand.trusted()) : operand;
}

Value Interpreter::value_of(const Binary& node) {
  Value left = evaluate(*node.left);
  const Value right = evaluate(*node.right);
  return arithmetic(runtime_, node.operation, std::move(left), right);
}

Value Interpreter::value_of(const Logical& node) {
  Value left = evaluate(*node.left);
  if (runtime_.failed() || truthy(left) != node.is_and) return left;
  return evaluate(*node.right);
}

Value Interpreter::value_of(const Concatenation& node) {
  TaintedText text;
  for (const ExpressionPtr& part : node.parts) {
    const Value value = evaluate(*part);
    const size_t added = value.is_text() ? value.text()->size() : 0;
    if (!runtime_.has_room(text.heap_bytes() + added)) return Value();
    append_str(runtime_, value, &text);
  }
  return runtime_.text(std::move(text));
}

bool Interpreter::holds(Comparator comparator, const Value& left, const Value& right) {
  switch (comparator) {
    case Comparator::kEqual: return equal(runtime_, left, right);
    case Comparator::kNotEqual: return !equal(runtime_, left, right);
    case Comparator::kLess: return compare(runtime_, left, right) < 0;
    case Comparator::kLessOrEqual: return compare(runtime_, left, right) <= 0;
    case Comparator::kGreater: return compare(runtime_, left, right) > 0;
    case Comparator::kGreaterOrEqual: return compare(runtime_, left, right) >= 0;
    case Comparator::kIn: return contains(runtime_, right, left);
    case Comparator::kNotIn: return !contains(runtime_, right, left);
  }
  return false;
}

Value Interpreter::value_of(const Comparison& node) {
  Value left = evaluate(*node.first);
  for (const auto& [comparator, operand] : node.rest) {
    Value right = evaluate(*operand);
    if (runtime_.failed()) return Value();
    if (!holds(comparator, left, right)) return Value::boolean(false);
    left = std::move(right);
  }
  return Value::boolean(true);
}

Value Interpreter::value_of(const Conditional& node) {
  const bool holds = truthy(evaluate(*node.condition));
  if (runtime_.failed()) return Value();
  if (holds) return evaluate(*node.then);
  return node.otherwise == nullptr ? Value() : evaluate(*node.otherwise);
}

Value Interpreter::value_of(const Attribute& node) {
  const Value object = evaluate(*node.object);
  return runtime_.failed() ? Value() : get_attribute(runtime_, object, &node.name);
}

Value Interpreter::value_of(const Item& node) {
  const Value object = evaluate(*node.object);
  const Value index = evaluate(*node.index);
  if (runtime_.failed()) return Value();
  const auto* constant = std::get_if<Constant>(&node.index->node);
  const bool named = constant != nullptr && constant->value.is_text();
  return get_item(runtime_, object, index, named ? &constant->value.text()->bytes() : nullptr);
}

Value Interpreter::value_of(const Slice& node) {
  const Value object = evaluate(*node.object);
  const Value begin = evaluate_or_none(node.begin);
  const Value end = evaluate_or_none(node.end);
  const Value step = evaluate_or_none(node.step);
  return runtime_.failed() ? Value() : get_slice(runtime_, object, begin, end, step);
}

Value Interpreter::value_of(const FilterUse& node) {
  const Value input = node.input == nullptr ? std::move(block_text_) : evaluate(*node.input);
  const CallArguments arguments = evaluate_arguments(node.arguments);
  if (runtime_.failed()) return Value();
  if (node.filter == nullptr) return runtime_.fail("no filter named ", quoted(node.name));
  return call_builtin(runtime_, *node.filter, input, arguments);
}

Value Interpreter::value_of(const TestUse& node) {
  const Value input = evaluate(*node.input);
  const CallArguments arguments = evaluate_arguments(node.arguments);
  if (runtime_.failed()) return Value();
  if (node.test == nullptr) return runtime_.fail("no test named ", quoted(node.name));
  const Value result = call_builtin(runtime_, *node.test, input, arguments);
  return Value::boolean(truthy(result) != node.negated);
}

}  // namespace deltaserve
