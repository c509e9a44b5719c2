// Filters that take or return lists.
#include <algorithm>
#include <bit>
#include <functional>

#include "server/template/attribute_path.h"
#include "server/template/builtin.h"
#include "server/template/text_operations.h"
#include "server/template/value_format.h"
#include "server/template/value_operations.h"

namespace deltaserve {
namespace {

using Items = std::shared_ptr<const SequenceValue>;

// Returns the items of the value before '|' and checks the memory for a copy of the list.
Items own_items(const BuiltinCall& call) {
  const Items items = items_of(call.runtime, call.self);
  if (items == nullptr || !call.runtime.spend(items->items.size())) return nullptr;
  return call.runtime.can_make(items->items.size() * sizeof(Value)) ? items : nullptr;
}

// Returns no items for a false value, for map and select.
Items items_or_nothing(const BuiltinCall& call) {
  if (truthy(call.self)) return own_items(call);
  return items_of(call.runtime, Value());
}

Value length_filter(const BuiltinCall& call) {
  return Value::integer(length_of(call.runtime, call.self));
}

Value list_filter(const BuiltinCall& call) {
  const Items items = own_items(call);
  return items == nullptr ? Value() : call.runtime.list(items->items);
}

Value first_filter(const BuiltinCall& call) {
  if (const TaintedText* text = call.self.text()) return character_of(call.runtime, *text, 0);
  const Items items = items_of(call.runtime, call.self);
  return items == nullptr || items->items.empty() ? Value() : items->items.front();
}

bool is_generator(const Value& value) {
  return value.sequence() != nullptr && value.sequence()->type == SequenceValue::Type::kGenerator;
}

Value last_filter(const BuiltinCall& call) {
  if (const TaintedText* text = call.self.text()) return character_of(call.runtime, *text, -1);
  if (is_generator(call.self)) return call.runtime.fail("a generator has no last item; use |list");
  const Items items = items_of(call.runtime, call.self);
  return items == nullptr || items->items.empty() ? Value() : items->items.back();
}

Value reverse_filter(const BuiltinCall& call) {
  if (const TaintedText* text = call.self.text()) {
    if (!call.runtime.can_make(text->size())) return Value();
    return call.runtime.text(reversed(*text));
  }
  const Items items = own_items(call);
  if (items == nullptr) return Value();
  return call.runtime.generator({items->items.rbegin(), items->items.rend()});
}

Value join_filter(const BuiltinCall& call) {
  const AttributePath attribute(call, call.arguments[1]);
  const Items items = items_of(call.runtime, call.self);
  const TaintedText separator = call.has(0) ? str(call.runtime, *call.arguments[0]) : TaintedText();
  if (items == nullptr) return Value();
  TaintedText joined;
  for (size_t i = 0; i < items->items.size(); ++i) {
    if (!call.runtime.has_room(joined.heap_bytes())) return Value();
    if (!call.runtime.spend_bytes(separator.size())) return Value();
    if (i > 0) joined.append(separator);
    append_str(call.runtime, attribute.of(call.runtime, items->items[i]), &joined);
  }
  return call.runtime.text(std::move(joined));
}

// Returns the arguments of map, select and the like without the first `skip` positional ones: the
// arguments of the inner filter or test.
CallArguments arguments_after(const CallArguments& arguments, size_t skip) {
  CallArguments rest;
  rest.positional = {arguments.positional.begin() + static_cast<std::ptrdiff_t>(skip),
                     arguments.positional.end()};
  rest.named = arguments.named;
  return rest;
}

Value map_attribute(const BuiltinCall& call, const Items& items) {
  const Value* path = nullptr;
  const Value* otherwise = nullptr;
  for (const auto& [name, value] : call.raw.named) {
    if (name == "attribute") {
      path = &value;
    } else if (name == "default") {
      otherwise = &value;
    } else {
      return call.runtime.fail("filter 'map' has no argument ", quoted(name));
    }
  }
  if (path == nullptr) return call.runtime.fail("filter 'map' needs a filter or an attribute");
  const AttributePath attribute(call, path);
  std::vector<Value> mapped;
  mapped.reserve(items->items.size());
  for (const Value& item : items->items) {
    if (call.runtime.failed()) return Value();
    Value value = attribute.of(call.runtime, item);
    mapped.push_back(value.is_undefined() && otherwise != nullptr ? *otherwise : value);
  }
  return call.runtime.generator(std::move(mapped));
}

Value map_filter(const BuiltinCall& call) {
  const Items items = items_or_nothing(call);
  if (items == nullptr) return Value();
  if (call.raw.positional.empty()) return map_attribute(call, items);
  const TaintedText* name = call.as_text(call.raw.positional[0]);
  if (name == nullptr) return Value();
  const Builtin* filter = find_filter(name->bytes());
  if (filter == nullptr) return call.runtime.fail("no filter named ", quoted(name->bytes()));
  if (filter->run == map_filter) return call.runtime.fail("map('map') is not supported");
  const CallArguments arguments = arguments_after(call.raw, 1);
  std::vector<Value> mapped;
  mapped.reserve(items->items.size());
  for (const Value& item : items->items) {
    if (call.runtime.failed()) return Value();
    mapped.push_back(call_builtin(call.runtime, *filter, item, arguments));
  }
  return call.runtime.generator(std::move(mapped));
}

// Implements select, reject, selectattr and rejectattr: keeps the items for which a test of the
// item, or of its attribute, returns `kWanted`.
template <bool kAttribute, bool kWanted>
Value select_filter(const BuiltinCall& call) {
  const Items items = items_or_nothing(call);
  if (items == nullptr) return Value();
  const std::vector<Value>& given = call.raw.positional;
  if (kAttribute && given.empty()) return call.runtime.fail("a filter needs an attribute");
  const AttributePath attribute(call, kAttribute ? &given[0] : nullptr);
  constexpr size_t kBefore = kAttribute ? 1 : 0;
  const Builtin* test = nullptr;
  if (given.size() > kBefore) {
    const TaintedText* name = call.as_text(given[kBefore]);
    if (name == nullptr) return Value();
    test = find_test(name->bytes());
    if (test == nullptr) return call.runtime.fail("no test named ", quoted(name->bytes()));
  } else if (!call.raw.named.empty()) {
    return call.runtime.fail("a filter has no argument ", quoted(call.raw.named[0].first));
  }
  const CallArguments arguments = arguments_after(call.raw, std::min(given.size(), kBefore + 1));
  std::vector<Value> kept;
  for (const Value& item : items->items) {
    if (call.runtime.failed()) return Value();
    const Value value = attribute.of(call.runtime, item);
    const bool passed =
        truthy(test == nullptr ? value : call_builtin(call.runtime, *test, value, arguments));
    if (passed == kWanted) kept.push_back(item);
  }
  return call.runtime.generator(std::move(kept));
}

// Returns the value by which an item is ordered.
Value order_key(const BuiltinCall& call, const AttributePath& attribute, const Value& item,
                bool case_sensitive) {
  Value key = attribute.of(call.runtime, item);
  if (case_sensitive || !key.is_text()) return key;
  if (!call.runtime.can_make(key.text()->size())) return Value();
  return call.runtime.text(lower(*key.text()));
}

struct Keyed {
  Value key;
  Value item;
};

std::vector<Keyed> keyed_items(const BuiltinCall& call, const Value* path, bool case_sensitive) {
  const AttributePath attribute(call, path);
  const Items items = own_items(call);
  std::vector<Keyed> keyed;
  if (items == nullptr || !call.runtime.can_make(items->items.size() * sizeof(Keyed))) return keyed;
  for (const Value& item : items->items) {
    if (call.runtime.failed()) break;
    keyed.push_back({order_key(call, attribute, item, case_sensitive), item});
  }
  return keyed;
}

// After a failure every comparison returns false, which every sort tolerates.
void sort_keyed(Runtime& runtime, bool descending, std::vector<Keyed>* keyed) {
  std::stable_sort(keyed->begin(), keyed->end(), [&](const Keyed& a, const Keyed& b) {
    if (runtime.failed()) return false;
    const auto order = descending ? compare(runtime, b.key, a.key) : compare(runtime, a.key, b.key);
    return !runtime.failed() && order < 0;
  });
}

Value items_of_keyed(Runtime& runtime, std::vector<Keyed> keyed) {
  std::vector<Value> items;
  items.reserve(keyed.size());
  for (Keyed& entry : keyed) items.push_back(std::move(entry.item));
  return runtime.list(std::move(items));
}

// Sorts by lists of keys, one for each path.
Value sorted_by_all(const BuiltinCall& call, const std::vector<Value>& paths) {
  const bool case_sensitive = call.flag(1, false);
  std::vector<Keyed> keyed;
  const Items items = own_items(call);
  if (items == nullptr) return Value();
  for (const Value& item : items->items) {
    std::vector<Value> keys;
    for (const Value& path : paths) {
      keys.push_back(order_key(call, AttributePath(call, &path), item, case_sensitive));
    }
    if (call.runtime.failed()) return Value();
    keyed.push_back({call.runtime.list(std::move(keys)), item});
  }
  sort_keyed(call.runtime, call.flag(0, false), &keyed);
  return items_of_keyed(call.runtime, std::move(keyed));
}

// Returns the paths of "a,b.c"; none if the argument names one or none.
std::vector<Value> several_paths(const BuiltinCall& call, const Value* argument) {
  std::vector<Value> paths;
  const TaintedText* text = argument == nullptr ? nullptr : argument->text();
  if (text == nullptr || text->bytes().find(',') == std::string::npos) return paths;
  for (const Span& span : split(call.runtime, text->bytes(), ",", -1)) {
    paths.push_back(call.runtime.text(text->slice(span.begin, span.end)));
  }
  return paths;
}

Value sort_filter(const BuiltinCall& call) {
  const std::vector<Value> paths = several_paths(call, call.arguments[2]);
  if (!paths.empty()) return sorted_by_all(call, paths);
  std::vector<Keyed> keyed = keyed_items(call, call.arguments[2], call.flag(1, false));
  sort_keyed(call.runtime, call.flag(0, false), &keyed);
  return items_of_keyed(call.runtime, std::move(keyed));
}

Value dictsort_filter(const BuiltinCall& call) {
  if (call.self.dict() == nullptr) {
    return call.runtime.fail("filter 'dictsort' does not take ", call.self.type_name());
  }
  const TaintedText* by = call.has(1) ? call.text(1) : nullptr;
  const std::string position = by == nullptr ? "key" : by->bytes();
  if (position != "key" && position != "value") {
    return call.runtime.fail("filter 'dictsort' sorts by key or value, not ", quoted(position));
  }
  const AttributePath whole(call, nullptr);
  const std::vector<Dict::Entry>& entries = call.self.dict()->entries;
  std::vector<Keyed> keyed;
  if (!call.runtime.can_make(entries.size() * sizeof(Keyed))) return Value();
  for (const Dict::Entry& entry : entries) {
    if (!call.runtime.spend(1)) return Value();
    keyed.push_back(
        {order_key(call, whole, position == "key" ? entry.key : entry.value, call.flag(0, false)),
         call.runtime.sequence(SequenceValue::Type::kTuple, {entry.key, entry.value})});
  }
  sort_keyed(call.runtime, call.flag(2, false), &keyed);
  return items_of_keyed(call.runtime, std::move(keyed));
}

Value unique_filter(const BuiltinCall& call) {
  std::vector<Keyed> kept;
  for (Keyed& candidate : keyed_items(call, call.arguments[1], call.flag(0, false))) {
    const bool seen = std::any_of(kept.begin(), kept.end(), [&](const Keyed& earlier) {
      return equal(call.runtime, earlier.key, candidate.key);
    });
    if (call.runtime.failed()) return Value();
    if (!seen) kept.push_back(std::move(candidate));
  }
  const Value list = items_of_keyed(call.runtime, std::move(kept));
  return list.sequence() == nullptr ? Value() : call.runtime.generator(list.sequence()->items);
}

template <bool kLargest>
Value extreme_filter(const BuiltinCall& call) {
  const std::vector<Keyed> keyed = keyed_items(call, call.arguments[1], call.flag(0, false));
  const Keyed* best = nullptr;
  for (const Keyed& candidate : keyed) {
    if (call.runtime.failed()) return Value();
    const bool better =
        best == nullptr || (kLargest ? compare(call.runtime, candidate.key, best->key) > 0
                                     : compare(call.runtime, candidate.key, best->key) < 0);
    if (better) best = &candidate;
  }
  return best == nullptr ? Value() : best->item;
}

Value sum_filter(const BuiltinCall& call) {
  const AttributePath attribute(call, call.arguments[0]);
  const Items items = own_items(call);
  Value sum = call.arguments[1] == nullptr ? Value::integer(0, true) : *call.arguments[1];
  if (items == nullptr) return Value();
  if (sum.is_text()) return call.runtime.fail("filter 'sum' does not take texts; use join");
  for (const Value& item : items->items) {
    if (call.runtime.failed()) return Value();
    sum = arithmetic(call.runtime, Arithmetic::kAdd, std::move(sum),
                     attribute.of(call.runtime, item));
  }
  return sum;
}

Value items_filter(const BuiltinCall& call) {
  if (call.self.is_undefined()) return call.runtime.generator({});
  if (call.self.dict() == nullptr) {
    return call.runtime.fail("filter 'items' does not take ", call.self.type_name());
  }
  const Builtin* items = find_method(call.runtime, call.self, "items");
  const Value pairs = call_builtin(call.runtime, *items, call.self, CallArguments());
  return pairs.sequence() == nullptr ? Value() : call.runtime.generator(pairs.sequence()->items);
}

constexpr Builtin kSequenceFilters[] = {
    {kFilter, "length", length_filter},
    {kFilter, "count", length_filter},
    {kFilter, "list", list_filter},
    {kFilter, "first", first_filter},
    {kFilter, "last", last_filter},
    {kFilter, "reverse", reverse_filter},
    {kFilter, "join", join_filter, {"d", "attribute"}},
    {kFilter, "map", map_filter, {}, 0, true},
    {kFilter, "select", select_filter<false, true>, {}, 0, true},
    {kFilter, "reject", select_filter<false, false>, {}, 0, true},
    {kFilter, "selectattr", select_filter<true, true>, {}, 0, true},
    {kFilter, "rejectattr", select_filter<true, false>, {}, 0, true},
    {kFilter, "sort", sort_filter, {"reverse", "case_sensitive", "attribute"}},
    {kFilter, "dictsort", dictsort_filter, {"case_sensitive", "by", "reverse"}},
    {kFilter, "unique", unique_filter, {"case_sensitive", "attribute"}},
    {kFilter, "min", extreme_filter<false>, {"case_sensitive", "attribute"}},
    {kFilter, "max", extreme_filter<true>, {"case_sensitive", "attribute"}},
    {kFilter, "sum", sum_filter, {"attribute", "start"}},
    {kFilter, "items", items_filter},
};

}  // namespace

const Builtin* find_sequence_filter(std::string_view name) {
  return find_builtin(kSequenceFilters, name);
}

}  // namespace deltaserve
