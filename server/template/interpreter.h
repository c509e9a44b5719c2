// Runs a template for one set of variables.
#pragma once
#include <memory>
#include <utility>
#include <vector>

#include "server/template/runtime.h"
#include "server/template/syntax.h"

namespace deltaserve {

class Interpreter {
 public:
  // `globals` are, by symbol, the values of names outside of all scopes, undefined for unknown
  // ones. `tree` and `runtime` must outlive the interpreter.
  Interpreter(const TemplateTree& tree, Runtime& runtime, std::vector<Value> globals);
  // Runs the template and returns the text it writes. The render failed if runtime.failed() is true
  // afterwards.
  TaintedText run();

 private:
  // The effect of a statement on the loop around it. kStop: the render failed.
  enum class Flow : uint8_t { kNext, kBreak, kContinue, kStop };

  // The variables of one pass of a loop, a macro's call or a block.
  struct Scope {
    Scope* parent = nullptr;  // null: globals
    std::vector<std::pair<Symbol, Value>> variables;
    void set(Symbol symbol, Value value);
  };

  // Counts one level of recursion for its lifetime.
  class Depth {
   public:
    explicit Depth(Interpreter* interpreter) : depth_(interpreter->depth_) {
      const int most = interpreter->runtime_.limits().evaluation_depth;
      if (++depth_ > most) {
        interpreter->runtime_.exceed(str_cat("the evaluation is nested deeper than ", most));
      }
    }
    ~Depth() { --depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    int& depth_;
  };

  class EnteredScope;
  class Capture;

  // ---- Statements
  Flow execute(const Block& block);
  Flow execute(const Statement& statement);
  Flow run_node(const Data& node);
  Flow run_node(const Output& node);
  Flow run_node(const If& node);
  Flow run_node(const For& node);
  Flow run_node(const Set& node);
  Flow run_node(const SetBlock& node);
  Flow run_node(const FilterBlock& node);
  Flow run_node(const MacroDefinition& node);
  Flow run_node(const CallBlock& node);
  Flow run_node(const With& node);
  Flow run_node(const Unsupported& node);
  Flow run_node(const Break&) { return Flow::kBreak; }
  Flow run_node(const Continue&) { return Flow::kContinue; }
  Flow run_node(const ScopedBlock& node);
  Flow after() const { return runtime_.failed() ? Flow::kStop : Flow::kNext; }
  // Runs a loop over `items`, `depth0` levels inside itself.
  Flow run_loop(const For& node, const Value& items, int depth0);
  std::shared_ptr<const SequenceValue> items_for(const For& node, const Value& value);
  void assign(const Target& target, const Value& value);
  void assign_attribute(const Target& target, const Value& value);
  // Returns the macro with the variables of all scopes around its definition.
  Value close_over(const Macro& macro);
  void set(Symbol symbol, Value value);
  // Returns the output of `body` in a scope of its own, passed through `filter` if there is one.
  Value captured(const Block& body, const Expression* filter);
  void write(const Value& value);

  // ---- Expressions
  Value evaluate(const Expression& expression);
  // Returns none if the expression is null.
  Value evaluate_or_none(const ExpressionPtr& expression);
  Value value_of(const Constant& node);
  Value value_of(const Name& node);
  Value value_of(const ListLiteral& node);
  Value value_of(const DictLiteral& node);
  Value value_of(const Unary& node);
  Value value_of(const Binary& node);
  Value value_of(const Logical& node);
  Value value_of(const Concatenation& node);
  Value value_of(const Comparison& node);
  Value value_of(const Conditional& node);
  Value value_of(const Attribute& node);
  Value value_of(const Item& node);
  Value value_of(const Slice& node);
  Value value_of(const Call& node);
  Value value_of(const FilterUse& node);
  Value value_of(const TestUse& node);
  bool holds(Comparator comparator, const Value& left, const Value& right);
  CallArguments evaluate_arguments(const Arguments& arguments);
  void add_named(const Value& value, CallArguments* arguments);
  Value call(const Value& callee, const CallArguments& arguments);
  Value call_macro(const Value& callee, const BoundMacro& macro, const CallArguments& arguments);
  Value call_loop(const std::shared_ptr<Loop>& loop, const CallArguments& arguments);
  Value call_cycle(Cycle* cycle, const CallArguments& arguments);
  bool bind(const Macro& macro, const CallArguments& arguments, Scope* scope);
  bool bind_beyond(const Macro& macro, const CallArguments& arguments, Scope* scope);

  const TemplateTree& tree_;
  Runtime& runtime_;
  std::vector<Value> globals_;
  Scope* scope_ = nullptr;      // the innermost
  Capture* capture_ = nullptr;  // receives the output
  Value block_text_;            // input of a filter without a value before it
  int depth_ = 0;
  int macro_depth_ = 0;  // also of loops inside themselves
};

}  // namespace deltaserve
