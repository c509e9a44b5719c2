// The functions that templates may call (filters, tests, methods and globals), as tables of the
// same form.
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
  Value owner;  // keeps the names alive, if the template does not
};

struct BuiltinCall;

inline constexpr std::string_view kFilter = "filter";  // a kind, for errors

struct Builtin {
  static constexpr size_t kParameters = 5;

  std::string_view kind;  // kFilter or the like, for errors
  std::string_view name;
  Value (*run)(const BuiltinCall& call);
  // The names of the parameters. For a filter or test they follow the value before '|' or
  // 'is'.
  std::array<std::string_view, kParameters> parameters = {};
  size_t required = 0;    // number of parameters that must be given
  bool variadic = false;  // takes the arguments in `raw` as they are
};

struct BuiltinCall {
  Runtime& runtime;
  const Value& self;  // the value before '|', 'is' or '.'; undefined for a global function
  const CallArguments& raw;
  // The arguments in the order of the parameters; null = not given.
  std::array<const Value*, Builtin::kParameters> arguments;

  // Returns true if the argument was given and is not none.
  bool has(size_t i) const { return arguments[i] != nullptr && !arguments[i]->is_none(); }
  bool flag(size_t i, bool otherwise) const;
  // Returns the argument, or `otherwise` if it is absent. Fails for a value of another type.
  int64_t integer(size_t i, int64_t otherwise) const;
  // Returns null if the argument is not a text; the call has failed then.
  const TaintedText* text(size_t i) const { return as_text(*arguments[i]); }
  const TaintedText* as_text(const Value& value) const;
  // Returns a text itself, and str() of any other value.
  TaintedText self_text() const;
};

// Returns the filter of this name; null if there is none.
const Builtin* find_filter(std::string_view name);
const Builtin* find_test(std::string_view name);
const Builtin* find_function(std::string_view name);
// Returns a method of the type of `self`. Fails for methods of Python that templates may not use
// here.
const Builtin* find_method(Runtime& runtime, const Value& self, std::string_view name);

// Binds the arguments to the parameters and calls the function.
Value call_builtin(Runtime& runtime, const Builtin& builtin, const Value& self,
                   const CallArguments& arguments);

// Returns the first entry of `table` with this name; null if there is none.
template <class Table>
const Builtin* find_builtin(const Table& table, std::string_view name) {
  for (const Builtin& builtin : table) {
    if (builtin.name == name) return &builtin;
  }
  return nullptr;
}

// Search the parts of the filter table that are in other files.
const Builtin* find_sequence_filter(std::string_view name);
const Builtin* find_text_filter(std::string_view name);
const Builtin* find_layout_filter(std::string_view name);
const Builtin* find_grouping_filter(std::string_view name);
const Builtin* find_text_method(std::string_view name);

// Filters that have files of their own.
Value pprint_filter(const BuiltinCall& call);
Value urlize_filter(const BuiltinCall& call);

}  // namespace deltaserve
