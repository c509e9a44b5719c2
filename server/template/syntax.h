// The syntax tree of a template.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "server/template/builtin.h"
#include "server/template/value.h"
#include "server/template/value_operations.h"

namespace deltaserve {

using Symbol = uint32_t;  // index into the names of a template

struct Expression;
struct Statement;
using ExpressionPtr = std::unique_ptr<Expression>;
using Block = std::vector<std::unique_ptr<Statement>>;

// ---- Expressions

struct Arguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr more_positional;  // of *list; null = none
  ExpressionPtr more_named;       // of **dictionary; null = none
};

struct Constant {
  Value value;
};
struct Name {
  Symbol symbol;
};
struct ListLiteral {
  SequenceValue::Type type;  // list or tuple
  std::vector<ExpressionPtr> items;
};
struct DictLiteral {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
};
enum class UnaryOperator : uint8_t { kNot, kMinus, kPlus };
struct Unary {
  UnaryOperator operation;
  ExpressionPtr operand;
};
struct Binary {
  Arithmetic operation;
  ExpressionPtr left;
  ExpressionPtr right;
};
struct Logical {  // `and`, `or`
  bool is_and;
  ExpressionPtr left;
  ExpressionPtr right;
};
struct Concatenation {  // a ~ b ~ c
  std::vector<ExpressionPtr> parts;
};
enum class Comparator : uint8_t {
  kEqual,
  kNotEqual,
  kLess,
  kLessOrEqual,
  kGreater,
  kGreaterOrEqual,
  kIn,
  kNotIn
};
struct Comparison {  // a < b <= c
  ExpressionPtr first;
  std::vector<std::pair<Comparator, ExpressionPtr>> rest;
};
struct Conditional {  // a if condition else b
  ExpressionPtr condition;
  ExpressionPtr then;
  ExpressionPtr otherwise;  // null: undefined
};
struct Attribute {
  ExpressionPtr object;
  std::string name;
};
struct Item {
  ExpressionPtr object;
  ExpressionPtr index;
};
struct Slice {  // bounds are null where left out
  ExpressionPtr object;
  ExpressionPtr begin;
  ExpressionPtr end;
  ExpressionPtr step;
};
struct Call {
  ExpressionPtr callee;
  Arguments arguments;
};
struct FilterUse {
  ExpressionPtr input;    // null: the output of a block
  const Builtin* filter;  // null: there is none of this name, which fails when it runs
  std::string name;
  Arguments arguments;
};
struct TestUse {
  ExpressionPtr input;
  const Builtin* test;  // null: there is none of this name, which fails when it runs
  std::string name;
  bool negated;
  Arguments arguments;
};

struct Expression {
  using Node =
      std::variant<Constant, Name, ListLiteral, DictLiteral, Unary, Binary, Logical, Concatenation,
                   Comparison, Conditional, Attribute, Item, Slice, Call, FilterUse, TestUse>;
  int line;
  int depth;  // depth of the tree below, at least 1
  Node node;
};

// ---- Statements

struct Data {
  TaintedText text;
};
struct Output {
  ExpressionPtr value;
};
struct If {
  std::vector<std::pair<ExpressionPtr, Block>> branches;  // if, elif, elif ...
  Block otherwise;
};
// The place that a value is assigned to: a name, an attribute of a namespace, or several targets
// into which the value is unpacked.
struct Target {
  Symbol symbol = 0;
  std::string attribute;        // not empty: symbol.attribute
  std::vector<Target> several;  // not empty: these
};
struct For {
  Target target;
  ExpressionPtr items;
  ExpressionPtr filter;  // null: all items
  bool recursive = false;
  Block body;
  Block otherwise;
};
struct Set {
  Target target;
  ExpressionPtr value;
};
struct SetBlock {  // {% set name %}body{% endset %}
  Target target;
  ExpressionPtr filter;  // null: none
  Block body;
};
struct FilterBlock {
  ExpressionPtr filter;
  Block body;
};
struct Macro {
  struct Parameter {
    Symbol symbol;
    ExpressionPtr otherwise;  // null: undefined
  };
  std::string name;
  Symbol symbol = 0;  // of the name; 0 = none
  std::vector<Parameter> parameters;
  Block body;
  // True if the body uses these names, so that the macro takes a caller or arguments beyond the
  // parameters.
  bool takes_caller = false;
  bool takes_more_positional = false;
  bool takes_more_named = false;
};
struct MacroDefinition {
  Symbol name;
  std::unique_ptr<const Macro> macro;
};
struct CallBlock {  // {% call(parameters) macro(arguments) %}body{% endcall %}
  ExpressionPtr call;
  std::unique_ptr<const Macro> caller;
};
struct With {
  std::vector<std::pair<Target, ExpressionPtr>> variables;
  Block body;
};
struct Unsupported {  // a tag that fails when it runs
  std::string message;
};
struct Break {};
struct Continue {};
struct ScopedBlock {  // {% generation %} and {% autoescape %}: only their scope matters here
  Block body;
  bool sees_globals_only = false;  // {% block %}
};

struct Statement {
  using Node = std::variant<Data, Output, If, For, Set, SetBlock, FilterBlock, MacroDefinition,
                            CallBlock, With, Unsupported, Break, Continue, ScopedBlock>;
  int line;
  Node node;
};

struct TemplateTree {
  Block body;
  std::vector<std::string> names;  // by symbol
  Symbol loop;                     // of the name "loop", likewise the next three
  Symbol caller;
  Symbol varargs;
  Symbol kwargs;
  bool asks_for_none = false;  // it tests whether a message's content is none
};

}  // namespace deltaserve
