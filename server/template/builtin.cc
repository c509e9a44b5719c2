#include "server/template/builtin.h"

#include "server/template/value_format.h"
#include "server/template/value_operations.h"

namespace deltaserve {
namespace {

// Returns the index of the parameter with this name; kParameters if there is none.
size_t parameter_index(const Builtin& builtin, std::string_view name) {
  size_t i = 0;
  while (i < Builtin::kParameters &&
         (builtin.parameters[i].empty() || builtin.parameters[i] != name))
    ++i;
  return i;
}

size_t parameter_count(const Builtin& builtin) {
  size_t count = 0;
  while (count < Builtin::kParameters && !builtin.parameters[count].empty()) ++count;
  return count;
}

bool bind(Runtime& runtime, const Builtin& builtin, const CallArguments& arguments,
          std::array<const Value*, Builtin::kParameters>* bound) {
  const size_t count = parameter_count(builtin);
  if (arguments.positional.size() > count) {
    runtime.fail(builtin.kind, " ", quoted(builtin.name), " takes at most ", count,
                 count == 1 ? " argument" : " arguments");
    return false;
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) (*bound)[i] = &arguments.positional[i];
  for (const auto& [name, value] : arguments.named) {
    const size_t i = parameter_index(builtin, name);
    if (i == Builtin::kParameters || (*bound)[i] != nullptr) {
      runtime.fail(
          builtin.kind, " ", quoted(builtin.name),
          i == Builtin::kParameters ? " has no argument " : " is given twice the argument ",
          quoted(name));
      return false;
    }
    (*bound)[i] = &value;
  }
  for (size_t i = 0; i < builtin.required; ++i) {
    if ((*bound)[i] != nullptr) continue;
    runtime.fail(builtin.kind, " ", quoted(builtin.name), " needs the argument ",
                 quoted(builtin.parameters[i]));
    return false;
  }
  return true;
}

}  // namespace

bool BuiltinCall::flag(size_t i, bool otherwise) const {
  return arguments[i] == nullptr ? otherwise : truthy(*arguments[i]);
}

int64_t BuiltinCall::integer(size_t i, int64_t otherwise) const {
  if (!has(i)) return otherwise;
  if (const int64_t* number = arguments[i]->as<int64_t>()) return *number;
  if (const bool* truth = arguments[i]->as<bool>()) return *truth;
  runtime.fail("an argument must be an integer, not of type ", arguments[i]->type_name());
  return otherwise;
}

const TaintedText* BuiltinCall::as_text(const Value& value) const {
  if (value.text() == nullptr) {
    if (const Undefined* missing = value.as<Undefined>()) {
      runtime.fail_undefined(*missing);
    } else {
      runtime.fail("an argument must be a text, not of type ", value.type_name());
    }
  }
  return value.text();
}

TaintedText BuiltinCall::self_text() const {
  return str(runtime, self);
}

const Builtin* find_filter(std::string_view name) {
  for (const auto find :
       {find_text_filter, find_sequence_filter, find_layout_filter, find_grouping_filter}) {
    if (const Builtin* filter = find(name)) return filter;
  }
  return nullptr;
}

Value call_builtin(Runtime& runtime, const Builtin& builtin, const Value& self,
                   const CallArguments& arguments) {
  if (!runtime.spend(1)) return Value();
  BuiltinCall call{runtime, self, arguments, {}};
  if (!builtin.variadic && !bind(runtime, builtin, arguments, &call.arguments)) return Value();
  Value result = builtin.run(call);
  return runtime.failed() ? Value() : result;
}

}  // namespace deltaserve
