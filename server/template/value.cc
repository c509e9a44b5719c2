#include "server/template/value.h"

#include <algorithm>
#include <cmath>
#include <compare>
#include <numeric>
#include <optional>

#include "server/template/big_integer.h"

namespace deltaserve {
namespace {

constexpr size_t kFewEntries = 8;

const char* sequence_name(SequenceValue::Type type) {
  switch (type) {
    case SequenceValue::Type::kList: return "list";
    case SequenceValue::Type::kTuple: return "tuple";
    case SequenceValue::Type::kRange: return "range";
    case SequenceValue::Type::kGenerator: return "generator";
    case SequenceValue::Type::kKeys: return "dict_keys";
    case SequenceValue::Type::kValues: return "dict_values";
    case SequenceValue::Type::kItems: return "dict_items";
  }
  return "";
}

int rank_of_key(const Value& value) {
  if (value.is_number()) return 0;
  if (value.is_text()) return 1;
  return value.is_none() ? 2 : 3;
}

int sign(std::partial_ordering order) {
  return order < 0 ? -1 : order > 0 ? 1 : 0;
}

}  // namespace

const TaintedText* Value::text() const {
  const auto* node = as<std::shared_ptr<TextNode>>();
  return node == nullptr ? nullptr : &(*node)->text;
}

const SequenceValue* Value::sequence() const {
  const auto* node = as<std::shared_ptr<const SequenceValue>>();
  return node == nullptr ? nullptr : node->get();
}

const Dict* Value::dict() const {
  const auto* node = as<std::shared_ptr<const Dict>>();
  return node == nullptr ? nullptr : node->get();
}

TextNode* Value::unshared_text() {
  auto* node = std::get_if<std::shared_ptr<TextNode>>(&data_);
  return node != nullptr && node->use_count() == 1 ? node->get() : nullptr;
}

int Value::depth() const {
  if (sequence() != nullptr) return sequence()->depth;
  if (dict() != nullptr) return dict()->depth;
  if (const auto* method = as<std::shared_ptr<const BoundMethod>>()) {
    return (*method)->self.depth() + 1;
  }
  if (const auto* loop = as<std::shared_ptr<Loop>>()) return (*loop)->items->depth + 1;
  if (const auto* macro = as<std::shared_ptr<const BoundMacro>>()) {
    int deepest = 0;
    for (const auto& [symbol, value] : (*macro)->variables) {
      deepest = std::max(deepest, value.depth() + 1);
    }
    return deepest;
  }
  if (const auto* cycle = as<std::shared_ptr<Cycle>>()) {
    int deepest = 0;
    for (const Value& item : (*cycle)->items) deepest = std::max(deepest, item.depth() + 1);
    return deepest;
  }
  return 0;
}

const char* Value::type_name() const {
  struct Names {
    const char* operator()(const Undefined&) const { return "Undefined"; }
    const char* operator()(const None&) const { return "NoneType"; }
    const char* operator()(bool) const { return "bool"; }
    const char* operator()(int64_t) const { return "int"; }
    const char* operator()(double) const { return "float"; }
    const char* operator()(const std::shared_ptr<TextNode>&) const { return "str"; }
    const char* operator()(const std::shared_ptr<const SequenceValue>& value) const {
      return sequence_name(value->type);
    }
    const char* operator()(const std::shared_ptr<const Dict>&) const { return "dict"; }
    const char* operator()(Namespace*) const { return "Namespace"; }
    const char* operator()(const Builtin*) const { return "function"; }
    const char* operator()(const std::shared_ptr<const BoundMacro>&) const { return "Macro"; }
    const char* operator()(const std::shared_ptr<const BoundMethod>&) const {
      return "builtin_function_or_method";
    }
    const char* operator()(const std::shared_ptr<Loop>&) const { return "LoopContext"; }
    const char* operator()(const std::shared_ptr<Cycle>& cycle) const {
      return cycle->is_joiner ? "Joiner" : "Cycler";
    }
    const char* operator()(const BigInteger&) const { return "int"; }
  };
  return std::visit(Names(), data_);
}

// Recursion is at most value_depth deep.
int compare_keys(const Value& a, const Value& b) {
  const int rank = rank_of_key(a);
  if (rank != rank_of_key(b)) return rank < rank_of_key(b) ? -1 : 1;
  if (rank == 0) return sign(compare_numbers(a, b));
  if (rank == 1) return a.text()->bytes().compare(b.text()->bytes());
  if (rank == 2) return 0;
  const std::vector<Value>& left = a.sequence()->items;
  const std::vector<Value>& right = b.sequence()->items;
  for (size_t i = 0; i < left.size() && i < right.size(); ++i) {
    const int order = compare_keys(left[i], right[i]);
    if (order != 0) return order;
  }
  return sign(left.size() <=> right.size());
}

bool can_be_key(const Value& value) {
  if (const double* number = value.as<double>()) return !std::isnan(*number);
  if (value.is_text() || value.is_none() || value.is_number()) return true;
  const SequenceValue* sequence = value.sequence();
  return sequence != nullptr && sequence->type == SequenceValue::Type::kTuple &&
         std::all_of(sequence->items.begin(), sequence->items.end(), can_be_key);
}

const Value* Dict::find(std::string_view key) const {
  if (entries.size() <= kFewEntries) {
    for (const Entry& entry : entries) {
      const TaintedText* text = entry.key.text();
      if (text != nullptr && text->bytes() == key) return &entry.value;
    }
    return nullptr;
  }
  const auto before = [&](uint32_t index, std::string_view wanted) {
    const Value& known = entries[index].key;
    return known.is_text() ? known.text()->bytes() < wanted : rank_of_key(known) < 1;
  };
  const auto place = std::lower_bound(sorted.begin(), sorted.end(), key, before);
  if (place == sorted.end()) return nullptr;
  const TaintedText* found = entries[*place].key.text();
  return found != nullptr && found->bytes() == key ? &entries[*place].value : nullptr;
}

const Value* Dict::find(const Value& key) const {
  if (key.is_text()) return find(key.text()->bytes());
  if (!can_be_key(key)) return nullptr;
  if (entries.size() <= kFewEntries) {
    for (const Entry& entry : entries) {
      if (compare_keys(entry.key, key) == 0) return &entry.value;
    }
    return nullptr;
  }
  const auto place =
      std::lower_bound(sorted.begin(), sorted.end(), key, [&](uint32_t index, const Value& wanted) {
        return compare_keys(entries[index].key, wanted) < 0;
      });
  if (place == sorted.end() || compare_keys(entries[*place].key, key) != 0) return nullptr;
  return &entries[*place].value;
}

void Dict::build_index() {
  sorted.resize(entries.size());
  std::iota(sorted.begin(), sorted.end(), 0u);
  std::stable_sort(sorted.begin(), sorted.end(), [&](uint32_t a, uint32_t b) {
    return compare_keys(entries[a].key, entries[b].key) < 0;
  });
  std::vector<bool> dropped(entries.size(), false);
  bool repeated = false;
  for (size_t i = 0; i + 1 < sorted.size(); ++i) {
    if (compare_keys(entries[sorted[i]].key, entries[sorted[i + 1]].key) != 0) continue;
    entries[sorted[i]].value = entries[sorted[i + 1]].value;
    dropped[sorted[i + 1]] = repeated = true;
    sorted[i + 1] = sorted[i];
  }
  if (repeated) {
    size_t kept = 0;
    for (size_t i = 0; i < entries.size(); ++i) {
      if (!dropped[i]) entries[kept++] = entries[i];
    }
    entries.resize(kept);
    return build_index();
  }
  if (entries.size() <= kFewEntries) sorted = {};
}

}  // namespace deltaserve
