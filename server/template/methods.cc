// Methods of dictionaries, lists, loops and cycles, and the lookup of attributes and items.
#include <algorithm>

#include "server/template/builtin.h"
#include "server/template/text_operations.h"
#include "server/template/value_format.h"
#include "server/template/value_operations.h"

namespace deltaserve {
namespace {

Value items_method(const BuiltinCall& call) {
  const Dict& dict = *call.self.dict();
  if (!call.runtime.can_make(dict.entries.size() * sizeof(Value))) return Value();
  std::vector<Value> pairs;
  pairs.reserve(dict.entries.size());
  for (const Dict::Entry& entry : dict.entries) {
    if (!call.runtime.spend(1)) return Value();
    pairs.push_back(call.runtime.sequence(SequenceValue::Type::kTuple, {entry.key, entry.value}));
  }
  return call.runtime.sequence(SequenceValue::Type::kItems, std::move(pairs));
}

Value keys_method(const BuiltinCall& call) {
  const auto keys = items_of(call.runtime, call.self);
  if (keys == nullptr) return Value();
  return call.runtime.sequence(SequenceValue::Type::kKeys, keys->items);
}

Value values_method(const BuiltinCall& call) {
  const Dict& dict = *call.self.dict();
  if (!call.runtime.can_make(dict.entries.size() * sizeof(Value))) return Value();
  std::vector<Value> values;
  values.reserve(dict.entries.size());
  for (const Dict::Entry& entry : dict.entries) values.push_back(entry.value);
  return call.runtime.sequence(SequenceValue::Type::kValues, std::move(values));
}

Value get_method(const BuiltinCall& call) {
  const Value* found = call.self.dict()->find(*call.arguments[0]);
  if (found != nullptr) return *found;
  return call.arguments[1] == nullptr ? Value::none() : *call.arguments[1];
}

Value copy_dict(const BuiltinCall& call) {
  const Dict& dict = *call.self.dict();
  if (!call.runtime.can_make(dict.entries.size() * sizeof(Dict::Entry))) return Value();
  return call.runtime.dict(dict.entries, call.self.trusted());
}

Value copy_list(const BuiltinCall& call) {
  const SequenceValue& list = *call.self.sequence();
  if (!call.runtime.can_make(list.items.size() * sizeof(Value))) return Value();
  return call.runtime.sequence(list.type, list.items, call.self.trusted());
}

// Implements list.count (all of them) and list.index (the first).
template <bool kCount>
Value find_in_list(const BuiltinCall& call) {
  const std::vector<Value>& items = call.self.sequence()->items;
  int64_t count = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    const bool same = equal(call.runtime, items[i], *call.arguments[0]);
    if (call.runtime.failed()) return Value();
    if (same && !kCount) return Value::integer(static_cast<int64_t>(i));
    if (same) ++count;
  }
  return kCount ? Value::integer(count)
                : call.runtime.fail("the list does not have what is looked for");
}

Value cycle_of_loop(const BuiltinCall& call) {
  const std::vector<Value>& items = call.raw.positional;
  if (items.empty()) return call.runtime.fail("loop.cycle needs at least one item");
  return items[(*call.self.as<std::shared_ptr<Loop>>())->index % items.size()];
}

// Returns true if the arguments are not those of the call before.
Value changed_in_loop(const BuiltinCall& call) {
  Loop& loop = **call.self.as<std::shared_ptr<Loop>>();
  const std::vector<Value>& now = call.raw.positional;
  bool same = loop.changed.size() == now.size();
  for (size_t i = 0; same && i < now.size(); ++i)
    same = equal(call.runtime, loop.changed[i], now[i]);
  for (const Value& value : now) {
    // A loop that held itself would never be freed.
    if (value.is<std::shared_ptr<Loop>>() || value.depth() > 0) {
      return call.runtime.fail("loop.changed compares texts and numbers");
    }
  }
  if (!same) loop.changed = now;
  return Value::boolean(!same);
}

Value next_of_cycle(const BuiltinCall& call) {
  Cycle& cycle = **call.self.as<std::shared_ptr<Cycle>>();
  Value item = cycle.items[cycle.index];
  cycle.index = (cycle.index + 1) % cycle.items.size();
  return item;
}

Value reset_cycle(const BuiltinCall& call) {
  (*call.self.as<std::shared_ptr<Cycle>>())->index = 0;
  return Value::none();
}

constexpr std::string_view kMethod = "method";

constexpr Builtin kListMethods[] = {
    {kMethod, "count", find_in_list<true>, {"value"}, 1},
    {kMethod, "index", find_in_list<false>, {"value"}, 1},
    {kMethod, "copy", copy_list},
};

constexpr Builtin kLoopMethods[] = {
    {kMethod, "cycle", cycle_of_loop, {}, 0, true},
    {kMethod, "changed", changed_in_loop, {}, 0, true},
};

constexpr Builtin kCyclerMethods[] = {
    {kMethod, "next", next_of_cycle},
    {kMethod, "reset", reset_cycle},
};

constexpr Builtin kDictMethods[] = {
    {kMethod, "items", items_method},   {kMethod, "keys", keys_method},
    {kMethod, "values", values_method}, {kMethod, "get", get_method, {"key", "default"}, 1},
    {kMethod, "copy", copy_dict},
};

// Methods of Python that are not supported, because values must not change, or because chat
// templates hardly need them. Without these lists they would seem to be attributes that do not
// exist.
constexpr std::string_view kRefusedTextMethods[] = {"encode", "maketrans", "translate"};
constexpr std::string_view kRefusedDictMethods[] = {"clear",   "fromkeys",   "pop",
                                                    "popitem", "setdefault", "update"};
constexpr std::string_view kRefusedListMethods[] = {"append", "clear",  "extend",  "insert",
                                                    "pop",    "remove", "reverse", "sort"};

template <class Names>
bool has_name(const Names& names, std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

bool is_refused(const Value& self, std::string_view name) {
  if (name.starts_with("__")) return true;
  if (self.is_text()) return has_name(kRefusedTextMethods, name);
  if (self.dict() != nullptr) return has_name(kRefusedDictMethods, name);
  return self.sequence() != nullptr && has_name(kRefusedListMethods, name);
}

Value loop_attribute(const Loop& loop, const std::string* name) {
  const std::vector<Value>& items = loop.items->items;
  const auto index = static_cast<int64_t>(loop.index);
  const auto size = static_cast<int64_t>(items.size());
  if (*name == "index") return Value::integer(index + 1, true);
  if (*name == "index0") return Value::integer(index, true);
  if (*name == "revindex") return Value::integer(size - index, true);
  if (*name == "revindex0") return Value::integer(size - index - 1, true);
  if (*name == "first") return Value::boolean(index == 0);
  if (*name == "last") return Value::boolean(index == size - 1);
  if (*name == "length") return Value::integer(size, true);
  if (*name == "depth0") return Value::integer(loop.depth0, true);
  if (*name == "depth") return Value::integer(loop.depth0 + 1, true);
  if (*name == "previtem" && index > 0) return items[loop.index - 1];
  if (*name == "nextitem" && index + 1 < size) return items[loop.index + 1];
  return Value(Undefined{name, "LoopContext"});
}

// Returns the attribute of that name; nullopt if the object has none.
std::optional<Value> find_attribute(Runtime& runtime, const Value& object,
                                    const std::string* name) {
  if (const auto* space = object.as<Namespace*>()) {
    const auto found = (*space)->attributes.find(*name);
    if (found != (*space)->attributes.end()) return found->second;
  }
  const SequenceValue* pair = object.sequence();
  if (pair != nullptr && pair->is_group) {
    if (*name == "grouper") return pair->items[0];
    if (*name == "list") return pair->items[1];
  }
  if (const auto* cycle = object.as<std::shared_ptr<Cycle>>()) {
    if (*name == "current" && !(*cycle)->is_joiner) return (*cycle)->items[(*cycle)->index];
  }
  const Builtin* method = find_method(runtime, object, *name);
  if (method != nullptr) return runtime.method(object, method);
  return std::nullopt;
}

// Returns the item with that key or index; nullopt if the object has none.
std::optional<Value> find_item(Runtime& runtime, const Value& object, const Value& index) {
  if (const Dict* dict = object.dict()) {
    const Value* found = dict->find(index);
    return found == nullptr ? std::nullopt : std::optional(*found);
  }
  const bool* truth = index.as<bool>();
  const int64_t* number = index.as<int64_t>();
  if (truth == nullptr && number == nullptr) return std::nullopt;
  const int64_t at = truth != nullptr ? *truth : *number;
  if (const TaintedText* text = object.text()) {
    Value character = character_of(runtime, *text, at);
    return character.is_undefined() ? std::nullopt : std::optional(character);
  }
  const SequenceValue* sequence = object.sequence();
  if (sequence == nullptr || sequence->type > SequenceValue::Type::kRange) return std::nullopt;
  const auto size = static_cast<int64_t>(sequence->items.size());
  if (at < -size || at >= size) return std::nullopt;
  return sequence->items[static_cast<size_t>(at < 0 ? at + size : at)];
}

}  // namespace

const Builtin* find_method(Runtime& runtime, const Value& self, std::string_view name) {
  const Builtin* method = nullptr;
  if (self.is_text()) method = find_text_method(name);
  if (self.dict() != nullptr) method = find_builtin(kDictMethods, name);
  const SequenceValue* sequence = self.sequence();
  if (sequence != nullptr && sequence->type <= SequenceValue::Type::kTuple) {
    method = find_builtin(kListMethods, name);
  }
  if (self.is<std::shared_ptr<Loop>>()) method = find_builtin(kLoopMethods, name);
  const auto* cycle = self.as<std::shared_ptr<Cycle>>();
  if (cycle != nullptr && !(*cycle)->is_joiner) method = find_builtin(kCyclerMethods, name);
  if (method == nullptr && is_refused(self, name)) {
    runtime.fail("templates may not use ", quoted(name), " of a value of type ", self.type_name());
  }
  return method;
}

Value get_attribute(Runtime& runtime, const Value& object, const std::string* name) {
  if (const Undefined* missing = object.as<Undefined>()) return runtime.fail_undefined(*missing);
  if (const auto* loop = object.as<std::shared_ptr<Loop>>()) {
    const Builtin* method = find_builtin(kLoopMethods, *name);
    return method != nullptr ? runtime.method(object, method) : loop_attribute(**loop, name);
  }
  if (const std::optional<Value> found = find_attribute(runtime, object, name)) return *found;
  const Value* item = object.dict() == nullptr ? nullptr : object.dict()->find(*name);
  return item != nullptr ? *item : Value(Undefined{name, object.type_name()});
}

Value get_item(Runtime& runtime, const Value& object, const Value& index, const std::string* name) {
  if (const Undefined* missing = object.as<Undefined>()) return runtime.fail_undefined(*missing);
  if (const std::optional<Value> found = find_item(runtime, object, index)) return *found;
  if (name != nullptr && object.is<std::shared_ptr<Loop>>()) {
    return get_attribute(runtime, object, name);
  }
  if (index.is_text()) {
    if (const auto found = find_attribute(runtime, object, &index.text()->bytes())) return *found;
  }
  return Value(Undefined{name, object.type_name()});
}

}  // namespace deltaserve
