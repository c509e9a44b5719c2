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
std::shared_ptr<const Sequence> Interpreter::items_for(const For& node) {
  auto items = items_of(runtime_, evaluate(*node.items));
  if (items == nullptr || node.filter == nullptr) return items;
  std::vector<Value> kept;
  if (!runtime_.can_make(items->items.size() * sizeof(Value))) return nullptr;
  for (const Value& item : items->items) {
    const EnteredScope scope(this, scope_);
    assign(node.targets, item);
    const bool passes = truthy(evaluate(*node.filter));
    if (runtime_.failed()) return nullptr;
    if (passes) kept.push_back(item);
  }
  const Value list = runtime_.list(std::move(kept));
  return runtime_.failed() ? nullptr : items_of(runtime_, list);
}

Interpreter::Flow Interpreter::run_node(const For& node) {
  const auto items = items_for(node);
  if (items == nullptr) return Flow::kStop;
  if (items->items.empty()) {
    const EnteredScope scope(this, scope_);
    return execute(node.otherwise);
  }
  const std::shared_ptr<Loop> loop = runtime_.loop(items);
  EnteredScope scope(this, scope_);
  for (size_t i = 0; i < items->items.size(); ++i) {
    loop->index = i;
    scope->variables.clear();
    scope->set(tree_.loop, Value(std::shared_ptr<const Loop>(loop)));
    assign(node.targets, items->items[i]);
    if (!runtime_.spend(1)) return Flow::kStop;
    const Flow flow = execute(node.body);
    if (flow == Flow::kStop) return flow;
    if (flow == Flow::kBreak) break;
  }
  return after();
}

void Interpreter::set(Symbol symbol, Value value) {
  if (scope_ == nullptr) {
    globals_[symbol] = std::move(value);
  } else {
    scope_->set(symbol, std::move(value));
  }
}

void Interpreter::assign(const std::vector<Symbol>& targets, const Value& value) {
  if (targets.size() == 1) {
    set(targets[0], value);
    return;
  }
  const auto items = items_of(runtime_, value);
  if (items == nullptr) return;
  if (items->items.size() != targets.size()) {
    runtime_.fail(targets.size(), " values are to be assigned, but there are ",
                  items->items.size());
    return;
  }
  for (size_t i = 0; i < targets.size(); ++i) set(targets[i], items->items[i]);
}

Interpreter::Flow Interpreter::run_node(const Set& node) {
  const Value value = evaluate(*node.value);
  if (!runtime_.failed()) assign(node.targets, value);
  return after();
}

Interpreter::Flow Interpreter::run_node(const SetAttribute& node) {
  Value value = evaluate(*node.value);
  const Value object = value_of(Name{node.object});
  const auto* space = object.as<Namespace*>();
  if (space == nullptr) {
    runtime_.fail("only attributes of a namespace can be set, not of ", object.type_name());
  } else {
    (*space)->attributes.insert_or_assign(node.name, std::move(value));
  }
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
  Value value = captured(node.body, node.filter.get());
  if (!runtime_.failed()) set(node.target, std::move(value));
  return after();
}

Interpreter::Flow Interpreter::run_node(const FilterBlock& node) {
  write(captured(node.body, node.filter.get()));
  return after();
}

Interpreter::Flow Interpreter::run_node(const ScopedBlock& node) {
  const EnteredScope scope(this, scope_);
  return execute(node.body);
}

Interpreter::Flow Interpreter::run_node(const MacroDefinition& node) {
  set(node.name, Value(node.macro.get()));
  return Flow::kNext;
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
  return values;
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
  if (const auto* macro = callee.as<const Macro*>()) return call_macro(**macro, arguments);
  if (const auto* missing = callee.as<Undefined>()) return runtime_.fail_undefined(*missing);
  return runtime_.fail("a value of type ", callee.type_name(), " cannot be called");
}

// Gives the parameters their values in the order of declaration, because a default may use the
// parameters before it.
bool Interpreter::bind(const Macro& macro, const CallArguments& arguments, Scope* scope) {
  if (arguments.positional.size() > macro.parameters.size()) {
    runtime_.fail("macro ", quoted(macro.name), " takes at most ", macro.parameters.size(),
                  " arguments");
    return false;
  }
  std::vector<const Value*> given(macro.parameters.size(), nullptr);
  for (size_t i = 0; i < arguments.positional.size(); ++i) given[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    size_t i = 0;
    while (i < given.size() && tree_.names[macro.parameters[i].symbol] != name) ++i;
    if (i == given.size() || given[i] != nullptr) {
      runtime_.fail("macro ", quoted(macro.name),
                    i == given.size() ? " has no argument " : " is given twice the argument ",
                    quoted(name));
      return false;
    }
    given[i] = &value;
  }
  for (size_t i = 0; i < given.size(); ++i) {
    const Macro::Parameter& parameter = macro.parameters[i];
    Value value(Undefined{&tree_.names[parameter.symbol], nullptr});
    if (given[i] != nullptr) {
      value = *given[i];
    } else if (parameter.otherwise != nullptr) {
      value = evaluate(*parameter.otherwise);
    }
    scope->set(parameter.symbol, std::move(value));
  }
  return !runtime_.failed();
}

Value Interpreter::call_macro(const Macro& macro, const CallArguments& arguments) {
  const int most = runtime_.limits().macro_depth;
  if (macro_depth_ == most) {
    return runtime_.exceed(str_cat("macros call each other deeper than ", most));
  }
  ++macro_depth_;
  const int line = runtime_.line();
  Value result;
  {
    EnteredScope scope(this, nullptr);
    Capture capture(this);
    if (bind(macro, arguments, scope.get()) && execute(macro.body) != Flow::kStop) {
      result = runtime_.text(capture.take());
    }
  }
  --macro_depth_;
  runtime_.at_line(line);
  return result;
}

}  // namespace deltaserve
