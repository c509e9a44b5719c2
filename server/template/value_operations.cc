#include "server/template/value_operations.h"

#include <optional>
#include <string_view>

#include "server/template/big_integer.h"
#include "server/template/text_operations.h"

namespace deltaserve {
namespace {

bool is_list_or_tuple(const Value& value) {
  return value.sequence() != nullptr && value.sequence()->type <= SequenceValue::Type::kTuple;
}

bool is_tuple(const Value& value) {
  return value.sequence() != nullptr && value.sequence()->type == SequenceValue::Type::kTuple;
}

bool equal_items(Runtime& runtime, const SequenceValue& a, const SequenceValue& b) {
  if (a.type != b.type || a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.items.size(); ++i) {
    if (!equal(runtime, a.items[i], b.items[i])) return false;
  }
  return true;
}

bool equal_entries(Runtime& runtime, const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const Dict::Entry& entry : a.entries) {
    const Value* other = b.find(entry.key);
    if (other == nullptr || !equal(runtime, entry.value, *other)) return false;
  }
  return true;
}

std::partial_ordering compare_items(Runtime& runtime, const SequenceValue& a,
                                    const SequenceValue& b) {
  const size_t both = std::min(a.items.size(), b.items.size());
  for (size_t i = 0; i < both && !runtime.failed(); ++i) {
    if (equal(runtime, a.items[i], b.items[i])) continue;
    return compare(runtime, a.items[i], b.items[i]);
  }
  return a.items.size() <=> b.items.size();
}

std::shared_ptr<const SequenceValue> hold(const Value& value) {
  const auto* node = value.as<std::shared_ptr<const SequenceValue>>();
  return node == nullptr ? nullptr : *node;
}

Value characters_of(Runtime& runtime, const TaintedText& text) {
  const size_t count = count_characters(text.bytes());
  if (!runtime.spend_bytes(text.size()) || !runtime.spend(count)) return Value();
  if (!runtime.can_make(count * (sizeof(Value) + sizeof(TextNode)))) return Value();
  std::vector<Value> characters;
  characters.reserve(count);
  for (size_t i = 0; i < text.size() && !runtime.failed();) {
    const size_t end = i + character_at(text.bytes(), i).bytes;
    characters.push_back(runtime.text(text.slice(i, end)));
    i = end;
  }
  return runtime.list(std::move(characters));
}

Value keys_of(Runtime& runtime, const Dict& dict) {
  if (!runtime.can_make(dict.entries.size() * sizeof(Value))) return Value();
  std::vector<Value> keys;
  keys.reserve(dict.entries.size());
  for (const Dict::Entry& entry : dict.entries) keys.push_back(entry.key);
  return runtime.list(std::move(keys));
}

// A slice's bounds for `size` items, by Python's rules.
struct SliceRange {
  int64_t begin;
  int64_t step;
  int64_t count;
};

std::optional<int64_t> bound_of(Runtime& runtime, const Value& value, int64_t otherwise) {
  if (value.is_none()) return otherwise;
  if (const int64_t* number = value.as<int64_t>()) return *number;
  if (const bool* truth = value.as<bool>()) return *truth;
  if (const BigInteger* number = value.as<BigInteger>()) {  // beyond every text and list
    return (*number)->value.sign() < 0 ? INT64_MIN : INT64_MAX;
  }
  runtime.fail("slice bounds must be integers, not ", value.type_name());
  return std::nullopt;
}

std::optional<SliceRange> slice_range(Runtime& runtime, int64_t size, const Value& begin,
                                      const Value& end, const Value& step) {
  const std::optional<int64_t> by = bound_of(runtime, step, 1);
  if (by == 0) runtime.fail("a slice's step must not be zero");
  if (!by.has_value() || *by == 0) return std::nullopt;
  const bool forward = *by > 0;
  const auto place = [&](const Value& value, int64_t otherwise) -> std::optional<int64_t> {
    if (value.is_none()) return otherwise;
    std::optional<int64_t> at = bound_of(runtime, value, 0);
    if (!at.has_value()) return at;
    if (*at < 0) at = std::max<int64_t>(*at, -size - 1) + size;
    return std::clamp<int64_t>(*at, forward ? 0 : -1, forward ? size : size - 1);
  };
  const std::optional<int64_t> from = place(begin, forward ? 0 : size - 1);
  const std::optional<int64_t> to = place(end, forward ? size : -1);
  if (!from.has_value() || !to.has_value()) return std::nullopt;
  const int64_t distance = forward ? *to - *from : *from - *to;
  // -(*by) would overflow for the smallest step.
  const int64_t stride = forward ? *by : -std::max<int64_t>(*by, -INT64_MAX);
  return SliceRange{*from, *by, distance <= 0 ? 0 : (distance - 1) / stride + 1};
}

Value slice_text(Runtime& runtime, const TaintedText& text, const SliceRange& range) {
  if (!runtime.can_make(text.size())) return Value();
  const std::string_view bytes = text.bytes();
  TaintedText part;
  if (range.step == 1) {
    size_t begin = 0;
    for (int64_t i = 0; i < range.begin; ++i) begin += character_at(bytes, begin).bytes;
    size_t end = begin;
    for (int64_t i = 0; i < range.count; ++i) end += character_at(bytes, end).bytes;
    return runtime.text(text.slice(begin, end));
  }
  if (!runtime.can_make(bytes.size() * sizeof(size_t))) return Value();
  std::vector<size_t> offsets;
  for (size_t i = 0; i < bytes.size(); i += character_at(bytes, i).bytes) offsets.push_back(i);
  for (int64_t i = 0; i < range.count; ++i) {
    const size_t begin = offsets[static_cast<size_t>(range.begin + i * range.step)];
    part.append(text, begin, begin + character_at(bytes, begin).bytes);
  }
  return runtime.text(std::move(part));
}

Value slice_items(Runtime& runtime, const Value& object, const SliceRange& range) {
  const SequenceValue& sequence = *object.sequence();
  if (!runtime.can_make(static_cast<size_t>(range.count) * sizeof(Value))) return Value();
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(range.count));
  for (int64_t i = 0; i < range.count; ++i) {
    items.push_back(sequence.items[static_cast<size_t>(range.begin + i * range.step)]);
  }
  return runtime.sequence(sequence.type, std::move(items), object.trusted());
}

bool can_index(const SequenceValue& sequence) {
  return sequence.type <= SequenceValue::Type::kRange;
}

}  // namespace

bool truthy(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (value.is_number()) return compare_numbers(value, Value::integer(0)) != 0;
  if (const TaintedText* text = value.text()) return !text->empty();
  if (const Dict* dict = value.dict()) return !dict->entries.empty();
  if (const SequenceValue* sequence = value.sequence()) {
    return sequence->type == SequenceValue::Type::kGenerator || !sequence->items.empty();
  }
  return true;
}

// Recursion is at most value_depth deep, as in compare().
bool equal(Runtime& runtime, const Value& a, const Value& b) {
  if (!runtime.spend(1)) return false;
  if (a.is_number() && b.is_number()) return compare_numbers(a, b) == 0;
  if (a.data().index() != b.data().index()) return false;
  if (a.is_undefined() || a.is_none()) return true;
  if (a.is_text()) {
    return runtime.spend_bytes(std::min(a.text()->size(), b.text()->size())) &&
           a.text()->bytes() == b.text()->bytes();
  }
  if (is_list_or_tuple(a)) return equal_items(runtime, *a.sequence(), *b.sequence());
  if (a.dict() != nullptr) return equal_entries(runtime, *a.dict(), *b.dict());
  if (a.sequence() != nullptr) return a.sequence() == b.sequence();
  if (const auto* space = a.as<Namespace*>()) return *space == *b.as<Namespace*>();
  if (const auto* macro = a.as<std::shared_ptr<const BoundMacro>>()) {
    return *macro == *b.as<std::shared_ptr<const BoundMacro>>();
  }
  if (const auto* cycle = a.as<std::shared_ptr<Cycle>>()) {
    return *cycle == *b.as<std::shared_ptr<Cycle>>();
  }
  if (const auto* function = a.as<const Builtin*>()) return *function == *b.as<const Builtin*>();
  return false;
}

std::partial_ordering compare(Runtime& runtime, const Value& a, const Value& b) {
  if (!runtime.spend(1)) return std::partial_ordering::unordered;
  if (a.is_number() && b.is_number()) return compare_numbers(a, b);
  if (a.is_text() && b.is_text()) {
    if (!runtime.spend_bytes(std::min(a.text()->size(), b.text()->size()))) {
      return std::partial_ordering::unordered;
    }
    return a.text()->bytes().compare(b.text()->bytes()) <=> 0;
  }
  if (is_list_or_tuple(a) && is_list_or_tuple(b) && a.sequence()->type == b.sequence()->type) {
    return compare_items(runtime, *a.sequence(), *b.sequence());
  }
  runtime.fail("cannot order a value of type ", a.type_name(), " and one of type ", b.type_name());
  return std::partial_ordering::unordered;
}

bool contains(Runtime& runtime, const Value& container, const Value& item) {
  if (container.is_undefined()) return false;
  if (const TaintedText* text = container.text()) {
    if (!item.is_text()) {
      runtime.fail("'in' on a text needs a text before it, not ", item.type_name());
      return false;
    }
    return runtime.spend_bytes(text->size()) &&
           find_bytes(text->bytes(), item.text()->bytes()) != std::string_view::npos;
  }
  if (const Dict* dict = container.dict()) {
    if (item.dict() != nullptr || (item.sequence() != nullptr && !is_tuple(item))) {
      runtime.fail("a value of type ", item.type_name(), " cannot be a dictionary's key");
    }
    return dict->find(item) != nullptr;
  }
  if (container.sequence() == nullptr) {
    runtime.fail("'in' needs a text, list or dictionary after it, not ", container.type_name());
    return false;
  }
  const auto items = items_of(runtime, container);
  if (items == nullptr) return false;
  for (const Value& candidate : items->items) {
    if (runtime.failed()) return false;
    if (equal(runtime, candidate, item)) return true;
  }
  return false;
}

std::shared_ptr<const SequenceValue> items_of(Runtime& runtime, const Value& value) {
  if (const SequenceValue* sequence = value.sequence()) {
    if (sequence->type == SequenceValue::Type::kGenerator) {
      if (sequence->consumed) return hold(runtime.list({}));
      sequence->consumed = true;
    }
    return runtime.failed() ? nullptr : hold(value);
  }
  if (value.is_undefined()) return hold(runtime.list({}));
  if (const TaintedText* text = value.text()) return hold(characters_of(runtime, *text));
  if (const Dict* dict = value.dict()) return hold(keys_of(runtime, *dict));
  runtime.fail("a value of type ", value.type_name(), " has no items to go through");
  return nullptr;
}

Value get_slice(Runtime& runtime, const Value& object, const Value& begin, const Value& end,
                const Value& step) {
  const TaintedText* text = object.text();
  const bool items = object.sequence() != nullptr && can_index(*object.sequence());
  if (const Undefined* missing = object.as<Undefined>()) return runtime.fail_undefined(*missing);
  if (text == nullptr && !items) {
    return runtime.fail("a value of type ", object.type_name(), " cannot be sliced");
  }
  if (text != nullptr && !runtime.spend_bytes(text->size())) return Value();
  const auto size = static_cast<int64_t>(items ? object.sequence()->items.size()
                                               : count_characters(text->bytes()));
  const std::optional<SliceRange> range = slice_range(runtime, size, begin, end, step);
  if (!range.has_value()) return Value();
  return items ? slice_items(runtime, object, *range) : slice_text(runtime, *text, *range);
}

Value character_of(Runtime& runtime, const TaintedText& text, int64_t index) {
  if (!runtime.spend_bytes(text.size())) return Value();
  const auto count = static_cast<int64_t>(count_characters(text.bytes()));
  if (index < -count || index >= count) return Value();
  size_t begin = 0;
  for (int64_t i = index < 0 ? index + count : index; i > 0; --i) {
    begin += character_at(text.bytes(), begin).bytes;
  }
  return runtime.text(text.slice(begin, begin + character_at(text.bytes(), begin).bytes));
}

int64_t length_of(Runtime& runtime, const Value& value) {
  if (value.is_undefined()) return 0;
  if (const TaintedText* text = value.text()) {
    if (!runtime.spend_bytes(text->size())) return -1;
    return static_cast<int64_t>(count_characters(text->bytes()));
  }
  if (const Dict* dict = value.dict()) return static_cast<int64_t>(dict->entries.size());
  const SequenceValue* sequence = value.sequence();
  if (sequence != nullptr && sequence->type != SequenceValue::Type::kGenerator) {
    return static_cast<int64_t>(sequence->items.size());
  }
  runtime.fail("a value of type ", value.type_name(), " has no length",
               sequence != nullptr ? "; use |list before" : "");
  return -1;
}

}  // namespace deltaserve
