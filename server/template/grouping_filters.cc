// Filters that make lists of lists, and attr.
#include <algorithm>

#include "server/template/attribute_path.h"
#include "server/template/builtin.h"
#include "server/template/value_operations.h"

namespace deltaserve {
namespace {

std::shared_ptr<const SequenceValue> listed(const BuiltinCall& call) {
  const auto items = items_of(call.runtime, call.self);
  if (items == nullptr || !call.runtime.spend(items->items.size())) return nullptr;
  return call.runtime.can_make(2 * items->items.size() * sizeof(Value)) ? items : nullptr;
}

struct GroupItem {
  Value order;  // the key in the form in which it is compared
  Value key;
  Value item;
};

// The parameters are attribute, default and case_sensitive.
std::vector<GroupItem> group_items(const BuiltinCall& call) {
  const AttributePath path(call, call.arguments[0]);
  std::vector<GroupItem> found;
  const auto items = listed(call);
  if (items == nullptr) return found;
  for (const Value& item : items->items) {
    GroupItem entry;
    entry.item = item;
    entry.key = path.of(call.runtime, item);
    if (entry.key.is_undefined() && call.arguments[1] != nullptr) entry.key = *call.arguments[1];
    const bool folds = !call.flag(2, false) && entry.key.is_text();
    entry.order = folds ? call.runtime.text(lower(*entry.key.text())) : entry.key;
    if (call.runtime.failed()) break;
    found.push_back(std::move(entry));
  }
  return found;
}

Value groupby_filter(const BuiltinCall& call) {
  std::vector<GroupItem> items = group_items(call);
  std::stable_sort(items.begin(), items.end(), [&](const GroupItem& a, const GroupItem& b) {
    if (call.runtime.failed()) return false;
    const auto order = compare(call.runtime, a.order, b.order);
    return !call.runtime.failed() && order < 0;
  });
  std::vector<Value> groups;
  for (size_t first = 0, end = 0; first < items.size(); first = end) {
    std::vector<Value> members;
    while (end < items.size() && equal(call.runtime, items[end].order, items[first].order)) {
      members.push_back(items[end++].item);
    }
    if (call.runtime.failed()) return Value();
    if (end == first) ++end;  // NaN is not equal to itself
    groups.push_back(call.runtime.group(items[first].key, std::move(members)));
  }
  return call.runtime.failed() ? Value() : call.runtime.list(std::move(groups));
}

// Cuts a list into lists of `linecount` items.
Value batch_filter(const BuiltinCall& call) {
  const int64_t size = call.integer(0, 1);
  const auto items = listed(call);
  if (items == nullptr) return Value();
  if (size < 1 || size > 1'000'000)
    return call.runtime.fail("batch needs a size from 1 to 1000000");
  const auto step = static_cast<size_t>(size);
  std::vector<Value> lists;
  for (size_t first = 0; first < items->items.size(); first += step) {
    const size_t end = std::min(first + step, items->items.size());
    std::vector<Value> part(items->items.begin() + static_cast<std::ptrdiff_t>(first),
                            items->items.begin() + static_cast<std::ptrdiff_t>(end));
    if (call.has(1)) {
      if (!call.runtime.can_make(step * sizeof(Value))) return Value();
      part.resize(step, *call.arguments[1]);
    }
    lists.push_back(call.runtime.list(std::move(part)));
  }
  return call.runtime.generator(std::move(lists));
}

// Cuts a list into `slices` lists of almost the same size.
Value slice_filter(const BuiltinCall& call) {
  const int64_t slices = call.integer(0, 1);
  const auto items = listed(call);
  if (items == nullptr) return Value();
  if (slices < 1 || slices > 100'000) return call.runtime.fail("slice needs 1 to 100000 parts");
  const auto count = static_cast<size_t>(slices);
  if (!call.runtime.can_make(count * (sizeof(Value) + sizeof(SequenceValue)))) return Value();
  const size_t each = items->items.size() / count;
  const size_t longer = items->items.size() % count;
  std::vector<Value> lists;
  size_t begin = 0;
  for (size_t i = 0; i < count; ++i) {
    const size_t end = begin + each + (i < longer ? 1 : 0);
    std::vector<Value> part(items->items.begin() + static_cast<std::ptrdiff_t>(begin),
                            items->items.begin() + static_cast<std::ptrdiff_t>(end));
    if (call.has(1) && i >= longer) part.push_back(*call.arguments[1]);
    lists.push_back(call.runtime.list(std::move(part)));
    begin = end;
  }
  return call.runtime.generator(std::move(lists));
}

// Returns an attribute, never an item; the attributes of a dictionary are its methods.
Value attr_filter(const BuiltinCall& call) {
  const TaintedText* name = call.text(0);
  if (name == nullptr) return Value();
  if (const Undefined* missing = call.self.as<Undefined>()) {
    return call.runtime.fail_undefined(*missing);
  }
  if (call.self.dict() != nullptr) {
    const Builtin* method = find_method(call.runtime, call.self, name->bytes());
    return method == nullptr ? Value() : call.runtime.method(call.self, method);
  }
  const Value found = get_attribute(call.runtime, call.self, &name->bytes());
  return found.is_undefined() ? Value() : found;  // the name does not outlive the argument
}

constexpr Builtin kGroupingFilters[] = {
    {kFilter, "groupby", groupby_filter, {"attribute", "default", "case_sensitive"}, 1},
    {kFilter, "batch", batch_filter, {"linecount", "fill_with"}, 1},
    {kFilter, "slice", slice_filter, {"slices", "fill_with"}, 1},
    {kFilter, "attr", attr_filter, {"name"}, 1},
};

}  // namespace

const Builtin* find_grouping_filter(std::string_view name) {
  return find_builtin(kGroupingFilters, name);
}

}  // namespace deltaserve
