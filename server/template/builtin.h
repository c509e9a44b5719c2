// The functions that templates may call: filters, tests, methods and globals, as tables of one
// kind.
#pragma once
#include <array>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "server/template/runtime.h"

namespace deltaserve {

struct CallArguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;
};

struct BuiltinCall;

inline constexpr std::string_view kFilter = "filter";  // a kind, for errors

struct Builtin {
  static constexpr size_t kParameters = 5;

  std::string_view kind;  // kFilter or the like, for errors
  std::string_view name;
  Value (*run)(const BuiltinCall& call);
  // Of a filter or test these come after the value before '|' or 'is'.
  std::array<std::string_view, kParameters> parameters = {};
  size_t required = 0;    // of the parameters
  bool variadic = false;  // takes `raw` as it is
};

struct BuiltinCall {
  Runtime& runtime;
  const Value& self;  // the value before '|', 'is' or '.'; undefined for a global function
  const CallArguments& raw;
  // By parameter; null = not given.
  std::array<const Value*, Builtin::kParameters> arguments;

  // Neither left out nor none.
  bool has(size_t i) const { return arguments[i] != nullptr && !arguments[i]->is_none(); }
  bool flag(size_t i, bool otherwise) const;
  // The argument or `otherwise`. Fails for a value of another type.
  int64_t integer(size_t i, int64_t otherwise) const;
  // Null when it is not a text: then the call failed.
  const TaintedText* text(size_t i) const { return as_text(*arguments[i]); }
  const TaintedText* as_text(const Value& value) const;
  // The text of a text, str() of any other value.
  TaintedText self_text() const;
};

// Null when there is none of that name.
const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
const Builtin* find_function(std::string_view name);
// A method of the type of `self`. One of Python's methods that templates may not use here is an
// error.
const Builtin* find_method(Runtime& runtime, const Value& self, std::string_view name);

// Binds the arguments to the parameters and runs.
Value call_builtin(Runtime& runtime, const Builtin& builtin, const Value& self,
                   const CallArguments& arguments);

// The first of `table` with this name, or null.
template <class Table>
const Builtin* find_builtin(const Table& table, std::string_view name) {
  for (const Builtin& builtin : table) {
    if (builtin.name == name) return &builtin;
  }
  return nullptr;
}

// The parts of the filter table that are in files of their own.
const Builtin* find_sequence_filter(std::string_view name);
const Builtin* find_text_filter(std::string_view name);

}  // namespace deltaserve
