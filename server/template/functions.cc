// The global functions that every template can call.
#include <ctime>

#include "server/template/builtin.h"
#include "server/template/value_format.h"
#include "server/template/value_operations.h"

namespace deltaserve {
namespace {

Value range_function(const BuiltinCall& call) {
  Runtime& runtime = call.runtime;
  const bool one = call.arguments[1] == nullptr;
  const int64_t begin = one ? 0 : call.integer(0, 0);
  const int64_t end = call.integer(one ? 0 : 1, 0);
  const int64_t step = call.integer(2, 1);
  if (step == 0) return runtime.fail("range needs a step that is not zero");
  std::vector<Value> items;
  int64_t number = begin;
  while (!runtime.failed() && (step > 0 ? number < end : number > end)) {
    if (items.size() >= runtime.limits().range_length) {
      return runtime.exceed(
          str_cat("a range has more than ", runtime.limits().range_length, " numbers"));
    }
    runtime.spend(1);
    items.push_back(Value::integer(number, true));
    if (__builtin_add_overflow(number, step, &number)) break;
  }
  return runtime.sequence(SequenceValue::Type::kRange, std::move(items), true);
}

// Adds the entries of a dictionary, or of a list of pairs.
void add_entries(Runtime& runtime, const Value& from, std::vector<Dict::Entry>* entries) {
  if (const Dict* dict = from.dict()) {
    if (!runtime.can_make(dict->entries.size() * sizeof(Dict::Entry))) return;
    if (runtime.spend(dict->entries.size())) *entries = dict->entries;
    return;
  }
  const auto pairs = items_of(runtime, from);
  if (pairs == nullptr || !runtime.can_make(pairs->items.size() * sizeof(Dict::Entry))) return;
  for (const Value& item : pairs->items) {
    const auto pair = runtime.spend(1) ? items_of(runtime, item) : nullptr;
    if (pair == nullptr) return;
    if (pair->items.size() != 2 || !can_be_key(pair->items[0])) {
      runtime.fail("dict takes a dictionary or pairs of a key and a value");
      return;
    }
    entries->push_back({pair->items[0], pair->items[1]});
  }
}

Value namespace_function(const BuiltinCall& call) {
  std::vector<Dict::Entry> entries;
  if (call.raw.positional.size() > 1) return call.runtime.fail("namespace takes one dictionary");
  if (!call.raw.positional.empty()) add_entries(call.runtime, call.raw.positional[0], &entries);
  std::vector<std::pair<std::string_view, Value>> attributes;
  for (const Dict::Entry& entry : entries) {
    if (entry.key.is_text()) attributes.emplace_back(entry.key.text()->bytes(), entry.value);
  }
  attributes.insert(attributes.end(), call.raw.named.begin(), call.raw.named.end());
  return call.runtime.failed() ? Value() : call.runtime.name_space(std::move(attributes));
}

Value joiner_function(const BuiltinCall& call) {
  Value separator =
      call.arguments[0] == nullptr ? call.runtime.text(", ", true) : *call.arguments[0];
  return call.runtime.cycle({std::move(separator)}, true);
}

Value cycler_function(const BuiltinCall& call) {
  if (call.raw.positional.empty() || !call.raw.named.empty()) {
    return call.runtime.fail("cycler takes at least one item");
  }
  return call.runtime.cycle(call.raw.positional, false);
}

Value dict_function(const BuiltinCall& call) {
  Runtime& runtime = call.runtime;
  std::vector<Dict::Entry> entries;
  if (call.raw.positional.size() > 1) return runtime.fail("dict takes one dictionary");
  if (!call.raw.positional.empty()) add_entries(runtime, call.raw.positional[0], &entries);
  for (const auto& [name, value] : call.raw.named) {
    entries.push_back({runtime.text(name, true), value});
  }
  return runtime.failed() ? Value() : runtime.dict(std::move(entries), call.raw.positional.empty());
}

Value raise_function(const BuiltinCall& call) {
  const TaintedText message = str(call.runtime, *call.arguments[0]);
  return call.runtime.raise(message.bytes());
}

// Returns true for the conversions on which C and Python agree. '-' before a letter drops padding.
bool is_strftime_format(std::string_view format) {
  constexpr std::string_view kLetters = "aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ%";
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') continue;
    if (i + 1 < format.size() && format[i + 1] == '-') ++i;
    if (++i == format.size() || kLetters.find(format[i]) == std::string_view::npos) return false;
  }
  return true;
}

Value strftime_function(const BuiltinCall& call) {
  const TaintedText* format = call.text(0);
  if (format == nullptr) return Value();
  char buffer[512];
  // With the space at the end an empty result differs from one that does not fit.
  const std::string padded = format->bytes() + " ";
  const std::tm now = call.runtime.local_time();
  const bool known = format->size() < sizeof buffer / 2 && is_strftime_format(format->bytes());
  const size_t size = known ? std::strftime(buffer, sizeof buffer, padded.c_str(), &now) : 0;
  if (size == 0)
    return call.runtime.fail("strftime_now has a bad format ", quoted(format->bytes()));
  return call.runtime.text(std::string_view(buffer, size - 1), format->all_trusted());
}

Value lipsum_function(const BuiltinCall& call) {
  return call.runtime.fail(
      "function 'lipsum' is not supported: the same messages must give the same "
      "prompt each time");
}

constexpr std::string_view kFunction = "function";

constexpr Builtin kFunctions[] = {
    {kFunction, "range", range_function, {"start", "stop", "step"}, 1},
    {kFunction, "namespace", namespace_function, {}, 0, true},
    {kFunction, "dict", dict_function, {}, 0, true},
    {kFunction, "joiner", joiner_function, {"sep"}},
    {kFunction, "cycler", cycler_function, {}, 0, true},
    {kFunction, "lipsum", lipsum_function, {}, 0, true},
    {kFunction, "raise_exception", raise_function, {"message"}, 1},
    {kFunction, "strftime_now", strftime_function, {"format"}, 1},
};

}  // namespace

const Builtin* find_function(std::string_view name) {
  return find_builtin(kFunctions, name);
}

}  // namespace deltaserve
