#include "server/template/interpreter.h"

#include <algorithm>
#include <optional>

#include "server/template/value_format.h"

namespace deltaserve {

// Collects text that is being written and counts its memory.
class Interpreter::Capture {
 public:
  explicit Capture(Interpreter* interpreter)
      : interpreter_(interpreter),
        outer_(interpreter->capture_),
        charge_(interpreter->runtime_.memory(), 0) {
    interpreter_->capture_ = this;
  }
  ~Capture() { interpreter_->capture_ = outer_; }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  TaintedText* text() { return &text_; }
  // Checks whether the text that was added is within the limits.
  void check() {
    Runtime& runtime = interpreter_->runtime_;
    charge_.resize(text_.heap_bytes());
    const size_t most = runtime.limits().rendered_bytes;
    if (text_.size() > most) runtime.exceed(str_cat("more than ", most, " bytes are rendered"));
    runtime.has_room(0);
  }
  TaintedText take() { return std::move(text_); }

 private:
  Interpreter* const interpreter_;
  Capture* const outer_;
  TaintedText text_;
  MemoryCharge charge_;
};

// Enters a new scope inside the current one, or inside the globals, for its lifetime.
class Interpreter::EnteredScope {
 public:
  EnteredScope(Interpreter* interpreter, Scope* parent)
      : interpreter_(interpreter), outer_(interpreter->scope_) {
    scope_.parent = parent;
    interpreter_->scope_ = &scope_;
  }
  ~EnteredScope() { interpreter_->scope_ = outer_; }
  EnteredScope(const EnteredScope&) = delete;
  EnteredScope& operator=(const EnteredScope&) = delete;
  Scope* operator->() { return &scope_; }
  Scope* get() { return &scope_; }

 private:
  Interpreter* const interpreter_;
  Scope* const outer_;
  Scope scope_;
};

void Interpreter::Scope::set(Symbol symbol, Value value) {
  for (auto& [known, old] : variables) {
    if (known == symbol) {
      old = std::move(value);
      return;
    }
  }
  variables.emplace_back(symbol, std::move(value));
}

Interpreter::Interpreter(const TemplateTree& tree, Runtime& runtime, std::vector<Value> globals)
    : tree_(tree), runtime_(runtime), globals_(std::move(globals)) {}

TaintedText Interpreter::run() {
  Capture output(this);
  execute(tree_.body);
  return output.take();
}

// ---- Statements

Interpreter::Flow Interpreter::execute(const Block& block) {
  for (const auto& statement : block) {
    const Flow flow = execute(*statement);
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::execute(const Statement& statement) {
  const Depth depth(this);
  runtime_.at_line(statement.line);
  if (!runtime_.spend(1)) return Flow::kStop;
  return std::visit([this](const auto& node) { return run_node(node); }, statement.node);
}

void Interpreter::write(const Value& value) {
  append_str(runtime_, value, capture_->text());
  capture_->check();
}

Interpreter::Flow Interpreter::run_node(const Data& node) {
  if (runtime_.spend_bytes(node.text.size())) capture_->text()->append(node.text);
  capture_->check();
  return after();
}

Interpreter::Flow Interpreter::run_node(const Output& node) {
  write(evaluate(*node.value));
  return after();
}

Interpreter::Flow Interpreter::run_node(const If& node) {
  for (const auto& [condition, body] : node.branches) {
    const bool holds = truthy(evaluate(*condition));
    if (runtime_.failed()) return Flow::kStop;
    if (holds) return execute(body);
  }
  return execute(node.otherwise);
}

// Returns the items that pass the loop's filter.
std::shared_ptr<const SequenceValue> Interpreter::items_for(const For& node, const Value& value) {
  auto items = items_of(runtime_, value);
  if (items == nullptr || node.filter == nullptr) return items;
  std::vector<Value> kept;
  if (!runtime_.can_make(items->items.size() * sizeof(Value))) return nullptr;
  for (const Value& item : items->items) {
    const EnteredScope scope(this, scope_);
    assign(node.target, item);
    const bool passes = truthy(evaluate(*node.filter));
    if (runtime_.failed()) return nullptr;
    if (passes) kept.push_back(item);
  }
  const Value list = runtime_.list(std::move(kept));
  return runtime_.failed() ? nullptr : items_of(runtime_, list);
}

Interpreter::Flow Interpreter::run_node(const For& node) {
  const Value items = evaluate(*node.items);
  return runtime_.failed() ? Flow::kStop : run_loop(node, items, 0);
}

Interpreter::Flow Interpreter::run_loop(const For& node, const Value& value, int depth0) {
  const auto items = items_for(node, value);
  if (items == nullptr) return Flow::kStop;
  if (items->items.empty()) {
    const EnteredScope scope(this, scope_);
    return execute(node.otherwise);
  }
  const std::shared_ptr<Loop> loop = runtime_.loop(items);
  loop->depth0 = depth0;
  if (node.recursive) loop->statement = &node;
  EnteredScope scope(this, scope_);
  Flow flow = Flow::kNext;
  for (size_t i = 0; i < items->items.size() && flow != Flow::kBreak; ++i) {
    loop->index = i;
    scope->variables.clear();
    scope->set(tree_.loop, Value(loop));
    assign(node.target, items->items[i]);
    flow = runtime_.spend(1) ? execute(node.body) : Flow::kStop;
    if (flow == Flow::kStop) break;
  }
  loop->statement = nullptr;
  loop->changed.clear();
  return flow == Flow::kStop ? flow : after();
}

void Interpreter::set(Symbol symbol, Value value) {
  if (scope_ == nullptr) {
    globals_[symbol] = std::move(value);
  } else {
    scope_->set(symbol, std::move(value));
  }
}

void Interpreter::assign_attribute(const Target& target, const Value& value) {
  const Value object = value_of(Name{target.symbol});
  const auto* space = object.as<Namespace*>();
  if (space == nullptr) {
    runtime_.fail("only attributes of a namespace can be set, not of ", object.type_name());
  } else {
    (*space)->attributes.insert_or_assign(target.attribute, value);
  }
}

// Recursion is as deep as the template's brackets.
void Interpreter::assign(const Target& target, const Value& value) {
  if (runtime_.failed()) return;
  if (!target.attribute.empty()) return assign_attribute(target, value);
  if (target.several.empty()) return set(target.symbol, value);
  const auto items = items_of(runtime_, value);
  if (items == nullptr) return;
  if (items->items.size() != target.several.size()) {
    runtime_.fail(target.several.size(), " values are to be assigned, but there are ",
                  items->items.size());
    return;
  }
  for (size_t i = 0; i < target.several.size(); ++i) assign(target.several[i], items->items[i]);
}

Interpreter::Flow Interpreter::run_node(const Set& node) {
  const Value value = evaluate(*node.value);
  if (!runtime_.failed()) assign(node.target, value);
  return after();
}

Value Interpreter::captured(const Block& body, const Expression* filter) {
  const int line = runtime_.line();
  TaintedText text;
  {
    Capture capture(this);
    const EnteredScope scope(this, scope_);
    if (execute(body) == Flow::kStop) return Value();
    text = capture.take();
  }
  runtime_.at_line(line);
  Value value = runtime_.text(std::move(text));
  if (filter == nullptr || runtime_.failed()) return value;
  block_text_ = std::move(value);
  return evaluate(*filter);
}

Interpreter::Flow Interpreter::run_node(const SetBlock& node) {
  const Value value = captured(node.body, node.filter.get());
  if (!runtime_.failed()) assign(node.target, value);
  return after();
}

Interpreter::Flow Interpreter::run_node(const FilterBlock& node) {
  write(captured(node.body, node.filter.get()));
  return after();
}

Interpreter::Flow Interpreter::run_node(const ScopedBlock& node) {
  const EnteredScope scope(this, node.sees_globals_only ? nullptr : scope_);
  return execute(node.body);
}

Interpreter::Flow Interpreter::run_node(const With& node) {
  // The values see the variables outside, not each other.
  std::vector<Value> values;
  for (const auto& [target, value] : node.variables) values.push_back(evaluate(*value));
  if (runtime_.failed()) return Flow::kStop;
  const EnteredScope scope(this, scope_);
  for (size_t i = 0; i < values.size(); ++i) assign(node.variables[i].first, values[i]);
  return runtime_.failed() ? Flow::kStop : execute(node.body);
}

Interpreter::Flow Interpreter::run_node(const Unsupported& node) {
  runtime_.fail(node.message);
  return Flow::kStop;
}

Value Interpreter::close_over(const Macro& macro) {
  std::vector<std::pair<uint32_t, Value>> variables;
  for (const Scope* scope = scope_; scope != nullptr; scope = scope->parent) {
    for (const auto& variable : scope->variables) {
      const bool hidden = std::any_of(variables.begin(), variables.end(), [&](const auto& inner) {
        return inner.first == variable.first;
      });
      if (!hidden) variables.push_back(variable);
    }
  }
  if (!runtime_.spend(1 + variables.size())) return Value();
  return runtime_.macro(&macro, std::move(variables), scope_ != nullptr);
}

Interpreter::Flow Interpreter::run_node(const MacroDefinition& node) {
  Value macro = close_over(*node.macro);
  if (!runtime_.failed()) set(node.name, std::move(macro));
  return after();
}

Interpreter::Flow Interpreter::run_node(const CallBlock& node) {
  const Value caller = close_over(*node.caller);
  const Call& call_node = std::get<Call>(node.call->node);
  const Value callee = evaluate(*call_node.callee);
  CallArguments arguments = evaluate_arguments(call_node.arguments);
  arguments.named.emplace_back("caller", caller);
  if (!runtime_.failed()) write(call(callee, arguments));
  return after();
}

// ---- Calls

CallArguments Interpreter::evaluate_arguments(const Arguments& arguments) {
  CallArguments values;
  values.positional.reserve(arguments.positional.size());
  for (const ExpressionPtr& value : arguments.positional) {
    values.positional.push_back(evaluate(*value));
  }
  for (const auto& [name, value] : arguments.named)
    values.named.emplace_back(name, evaluate(*value));
  if (arguments.more_positional != nullptr) {
    const auto items = items_of(runtime_, evaluate(*arguments.more_positional));
    if (items == nullptr || !runtime_.can_make(items->items.size() * sizeof(Value))) return values;
    values.positional.insert(values.positional.end(), items->items.begin(), items->items.end());
  }
  if (arguments.more_named != nullptr) add_named(evaluate(*arguments.more_named), &values);
  return values;
}

void Interpreter::add_named(const Value& value, CallArguments* arguments) {
  if (value.dict() == nullptr) {
    runtime_.fail("'**' before an argument needs a dictionary, not ", value.type_name());
    return;
  }
  arguments->owner = value;  // it keeps the names alive
  for (const Dict::Entry& entry : value.dict()->entries) {
    if (!runtime_.spend(1)) return;
    if (entry.key.text() == nullptr) {
      runtime_.fail("the name of an argument must be a text, not of type ", entry.key.type_name());
      return;
    }
    arguments->named.emplace_back(entry.key.text()->bytes(), entry.value);
  }
}

Value Interpreter::value_of(const Call& node) {
  const Attribute* attribute = std::get_if<Attribute>(&node.callee->node);
  if (attribute == nullptr) {
    const Value callee = evaluate(*node.callee);
    return call(callee, evaluate_arguments(node.arguments));
  }
  // A method is called directly, without making a value of it.
  const Value object = evaluate(*attribute->object);
  const Builtin* method = find_method(runtime_, object, attribute->name);
  if (runtime_.failed()) return Value();
  if (method != nullptr) {
    return call_builtin(runtime_, *method, object, evaluate_arguments(node.arguments));
  }
  const Value callee = get_attribute(runtime_, object, &attribute->name);
  return call(callee, evaluate_arguments(node.arguments));
}

Value Interpreter::call(const Value& callee, const CallArguments& arguments) {
  if (runtime_.failed()) return Value();
  if (const auto* builtin = callee.as<const Builtin*>()) {
    return call_builtin(runtime_, **builtin, Value(), arguments);
  }
  if (const auto* method = callee.as<std::shared_ptr<const BoundMethod>>()) {
    return call_builtin(runtime_, *(*method)->method, (*method)->self, arguments);
  }
  if (const auto* macro = callee.as<std::shared_ptr<const BoundMacro>>()) {
    return call_macro(callee, **macro, arguments);
  }
  if (const auto* loop = callee.as<std::shared_ptr<Loop>>()) return call_loop(*loop, arguments);
  if (const auto* cycle = callee.as<std::shared_ptr<Cycle>>()) {
    if ((*cycle)->is_joiner) return call_cycle(cycle->get(), arguments);
  }
  if (const auto* missing = callee.as<Undefined>()) return runtime_.fail_undefined(*missing);
  return runtime_.fail("a value of type ", callee.type_name(), " cannot be called");
}

// Gives the parameters their values in the order of declaration, because a default may use the
// parameters before it.
bool Interpreter::bind(const Macro& macro, const CallArguments& arguments, Scope* scope) {
  const size_t count = macro.parameters.size();
  if (arguments.positional.size() > count && !macro.takes_more_positional) {
    runtime_.fail("macro ", quoted(macro.name), " takes at most ", count, " arguments");
    return false;
  }
  std::vector<const Value*> given(count, nullptr);
  CallArguments beyond;
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    if (i < count) {
      given[i] = &arguments.positional[i];
    } else {
      beyond.positional.push_back(arguments.positional[i]);
    }
  }
  for (const auto& [name, value] : arguments.named) {
    size_t i = 0;
    while (i < count && tree_.names[macro.parameters[i].symbol] != name) ++i;
    if (i == count) {
      beyond.named.emplace_back(name, value);
    } else if (given[i] != nullptr) {
      runtime_.fail("macro ", quoted(macro.name), " is given twice the argument ", quoted(name));
      return false;
    } else {
      given[i] = &value;
    }
  }
  for (size_t i = 0; i < count; ++i) {
    const Macro::Parameter& parameter = macro.parameters[i];
    Value value(Undefined{&tree_.names[parameter.symbol], nullptr});
    if (given[i] != nullptr) {
      value = *given[i];
    } else if (parameter.otherwise != nullptr) {
      value = evaluate(*parameter.otherwise);
    }
    scope->set(parameter.symbol, std::move(value));
  }
  return !runtime_.failed() && bind_beyond(macro, beyond, scope);
}

// Binds caller, varargs and kwargs to the arguments that no parameter takes.
bool Interpreter::bind_beyond(const Macro& macro, const CallArguments& arguments, Scope* scope) {
  Value caller(Undefined{&tree_.names[tree_.caller], nullptr});
  std::vector<Dict::Entry> named;
  for (const auto& [name, value] : arguments.named) {
    if (name == "caller" && macro.takes_caller) {
      caller = value;
    } else if (macro.takes_more_named) {
      named.push_back({runtime_.text(name, true), value});
    } else {
      runtime_.fail("macro ", quoted(macro.name), " has no argument ", quoted(name));
      return false;
    }
  }
  if (runtime_.failed()) return false;
  if (macro.takes_caller) scope->set(tree_.caller, caller);
  if (macro.takes_more_positional) {
    scope->set(tree_.varargs,
               runtime_.sequence(SequenceValue::Type::kTuple, arguments.positional, true));
  }
  if (macro.takes_more_named) scope->set(tree_.kwargs, runtime_.dict(std::move(named), true));
  return !runtime_.failed();
}

Value Interpreter::call_macro(const Value& callee, const BoundMacro& bound,
                              const CallArguments& arguments) {
  const int most = runtime_.limits().macro_depth;
  if (macro_depth_ == most) {
    return runtime_.exceed(str_cat("macros call each other deeper than ", most));
  }
  ++macro_depth_;
  const int line = runtime_.line();
  const Macro& macro = *bound.macro;
  Value result;
  {
    EnteredScope around(this, nullptr);
    for (const auto& [symbol, value] : bound.variables)
      around->variables.emplace_back(symbol, value);
    if (bound.in_scope && macro.symbol != 0) around->set(macro.symbol, callee);
    EnteredScope scope(this, around.get());
    Capture capture(this);
    if (bind(macro, arguments, scope.get()) && execute(macro.body) != Flow::kStop) {
      result = runtime_.text(capture.take());
    }
  }
  --macro_depth_;
  runtime_.at_line(line);
  return result;
}

// Runs a `recursive` loop inside itself and returns what it writes.
Value Interpreter::call_loop(const std::shared_ptr<Loop>& loop, const CallArguments& arguments) {
  const For* statement = loop->statement;
  if (statement == nullptr) {
    return runtime_.fail("the loop cannot be called: it has no 'recursive', or it has ended");
  }
  if (arguments.positional.size() != 1 || !arguments.named.empty()) {
    return runtime_.fail("a loop is called with one list");
  }
  const int most = runtime_.limits().macro_depth;
  if (macro_depth_ == most) return runtime_.exceed(str_cat("loops are nested deeper than ", most));
  ++macro_depth_;
  Value result;
  {
    Capture capture(this);
    if (run_loop(*statement, arguments.positional[0], loop->depth0 + 1) != Flow::kStop) {
      result = runtime_.text(capture.take());
    }
  }
  --macro_depth_;
  return result;
}

// The first call of a joiner returns nothing, all others the text between items.
Value Interpreter::call_cycle(Cycle* cycle, const CallArguments& arguments) {
  if (!arguments.positional.empty() || !arguments.named.empty()) {
    return runtime_.fail("a joiner is called without arguments");
  }
  return cycle->index++ == 0 ? runtime_.text("", true) : cycle->items[0];
}

}  // namespace deltaserve
