#include "server/template/value.h"

#include <algorithm>
#include <numeric>

namespace deltaserve {
namespace {

constexpr size_t kFewEntries = 8;

const char* sequence_name(Sequence::Type type) {
  switch (type) {
    case Sequence::Type::kList: return "list";
    case Sequence::Type::kTuple: return "tuple";
    case Sequence::Type::kRange: return "range";
    case Sequence::Type::kGenerator: return "generator";
    case Sequence::Type::kKeys: return "dict_keys";
    case Sequence::Type::kValues: return "dict_values";
    case Sequence::Type::kItems: return "dict_items";
  }
  return "";
}

const std::string& key_of(const Dict::Entry& entry) {
  return entry.key.text()->bytes();
}

}  // namespace

const TaintedText* Value::text() const {
  const auto* node = as<std::shared_ptr<TextNode>>();
  return node == nullptr ? nullptr : &(*node)->text;
}

const Sequence* Value::sequence() const {
  const auto* node = as<std::shared_ptr<const Sequence>>();
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
  if (const auto* loop = as<std::shared_ptr<const Loop>>()) return (*loop)->items->depth + 1;
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
    const char* operator()(const std::shared_ptr<const Sequence>& value) const {
      return sequence_name(value->type);
    }
    const char* operator()(const std::shared_ptr<const Dict>&) const { return "dict"; }
    const char* operator()(Namespace*) const { return "Namespace"; }
    const char* operator()(const Builtin*) const { return "function"; }
    const char* operator()(const Macro*) const { return "Macro"; }
    const char* operator()(const std::shared_ptr<const BoundMethod>&) const {
      return "builtin_function_or_method";
    }
    const char* operator()(const std::shared_ptr<const Loop>&) const { return "LoopContext"; }
  };
  return std::visit(Names(), data_);
}

const Value* Dict::find(std::string_view key) const {
  if (entries.size() <= kFewEntries) {
    for (const Entry& entry : entries) {
      if (key_of(entry) == key) return &entry.value;
    }
    return nullptr;
  }
  const auto place = std::lower_bound(
      sorted.begin(), sorted.end(), key,
      [&](uint32_t index, std::string_view wanted) { return key_of(entries[index]) < wanted; });
  if (place == sorted.end() || key_of(entries[*place]) != key) return nullptr;
  return &entries[*place].value;
}

void Dict::build_index() {
  sorted.resize(entries.size());
  std::iota(sorted.begin(), sorted.end(), 0u);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [&](uint32_t a, uint32_t b) { return key_of(entries[a]) < key_of(entries[b]); });
  std::vector<bool> dropped(entries.size(), false);
  bool repeated = false;
  for (size_t i = 0; i + 1 < sorted.size(); ++i) {
    if (key_of(entries[sorted[i]]) != key_of(entries[sorted[i + 1]])) continue;
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
