// Methods of texts, dictionaries and lists, and the lookup of attributes and items.
#include <algorithm>

#include "server/template/builtin.h"
#include "server/template/text_operations.h"
#include "server/template/value_format.h"
#include "server/template/value_operations.h"

namespace deltaserve {
namespace {

const TaintedText& self_of(const BuiltinCall& call) {
  return *call.self.text();
}

template <TaintedText (*kOperation)(const TaintedText&)>
Value map_text(const BuiltinCall& call) {
  if (!call.runtime.can_make(self_of(call).size())) return Value();
  return call.runtime.text(kOperation(self_of(call)));
}

template <bool kLeft, bool kRight>
Value strip_text(const BuiltinCall& call) {
  std::optional<std::string_view> characters;
  if (call.has(0)) {
    if (call.text(0) == nullptr) return Value();
    characters = call.text(0)->bytes();
  }
  return call.runtime.text(strip(call.runtime, self_of(call), characters, kLeft, kRight));
}

Value texts_of(Runtime& runtime, const TaintedText& text, const std::vector<Span>& spans) {
  if (!runtime.can_make(text.size() + spans.size() * sizeof(Value))) return Value();
  std::vector<Value> parts;
  parts.reserve(spans.size());
  for (const Span& span : spans) {
    if (!runtime.spend(1)) return Value();
    parts.push_back(runtime.text(text.slice(span.begin, span.end)));
  }
  return runtime.list(std::move(parts));
}

template <bool kFromRight>
Value split_text(const BuiltinCall& call) {
  std::optional<std::string_view> separator;
  if (call.has(0)) {
    if (call.text(0) == nullptr) return Value();
    separator = call.text(0)->bytes();
    if (separator->empty()) return call.runtime.fail("split needs a separator that is not empty");
  }
  const int64_t most = call.integer(1, -1);
  const std::string_view bytes = self_of(call).bytes();
  // From the right, every place may be compared with the whole separator.
  const size_t factor = kFromRight ? 1 + separator.value_or("").size() : 1;
  if (!call.runtime.spend_bytes(bytes.size() * factor)) return Value();
  return texts_of(call.runtime, self_of(call),
                  kFromRight ? split_from_right(call.runtime, bytes, separator, most)
                             : split(call.runtime, bytes, separator, most));
}

Value splitlines(const BuiltinCall& call) {
  if (!call.runtime.spend_bytes(self_of(call).size())) return Value();
  return texts_of(call.runtime, self_of(call), split_lines(call.runtime, self_of(call).bytes()));
}

// Returns true if an end of the text is the argument, or one of the texts of a tuple.
template <bool kAtStart>
Value has_affix(const BuiltinCall& call) {
  const auto matches = [&](const Value& value) {
    const TaintedText* affix = call.as_text(value);
    if (affix == nullptr || !call.runtime.spend_bytes(affix->size())) return false;
    return kAtStart ? self_of(call).bytes().starts_with(affix->bytes())
                    : self_of(call).bytes().ends_with(affix->bytes());
  };
  const Sequence* choices = call.arguments[0]->sequence();
  if (choices == nullptr || choices->type != Sequence::Type::kTuple) {
    return Value::boolean(matches(*call.arguments[0]));
  }
  return Value::boolean(std::any_of(choices->items.begin(), choices->items.end(), matches));
}

template <bool kAtStart>
Value remove_affix(const BuiltinCall& call) {
  const TaintedText* affix = call.text(0);
  if (affix == nullptr || !truthy(has_affix<kAtStart>(call))) return call.self;
  const size_t size = self_of(call).size();
  if (!call.runtime.can_make(size)) return Value();
  return call.runtime.text(kAtStart ? self_of(call).slice(affix->size(), size)
                                    : self_of(call).slice(0, size - affix->size()));
}

Value replace_text(const BuiltinCall& call) {
  if (call.text(0) == nullptr || call.text(1) == nullptr) return Value();
  const int64_t count = call.integer(2, -1);
  return call.runtime.text(
      replace(call.runtime, self_of(call), call.text(0)->bytes(), *call.text(1), count));
}

Value join_text(const BuiltinCall& call) {
  const auto items = items_of(call.runtime, *call.arguments[0]);
  if (items == nullptr) return Value();
  TaintedText joined;
  for (size_t i = 0; i < items->items.size(); ++i) {
    const TaintedText* text = call.as_text(items->items[i]);
    if (text == nullptr || !call.runtime.has_room(joined.heap_bytes())) return Value();
    if (!call.runtime.spend_bytes(text->size() + self_of(call).size())) return Value();
    if (i > 0) joined.append(self_of(call));
    joined.append(*text);
  }
  return call.runtime.text(std::move(joined));
}

template <bool kFromRight>
Value find_text(const BuiltinCall& call) {
  const TaintedText* wanted = call.text(0);
  if (wanted == nullptr) return Value();
  const std::string_view bytes = self_of(call).bytes();
  if (!call.runtime.spend_bytes(bytes.size() * (kFromRight ? 1 + wanted->size() : 1)))
    return Value();
  const size_t place =
      kFromRight ? bytes.rfind(wanted->bytes()) : find_bytes(bytes, wanted->bytes());
  if (place == std::string_view::npos) return Value::integer(-1);
  return Value::integer(static_cast<int64_t>(count_characters(bytes.substr(0, place))));
}

Value count_text(const BuiltinCall& call) {
  const TaintedText* wanted = call.text(0);
  if (wanted == nullptr || !call.runtime.spend_bytes(self_of(call).size())) return Value();
  return Value::integer(count_occurrences(self_of(call).bytes(), wanted->bytes()));
}

Value items_method(const BuiltinCall& call) {
  const Dict& dict = *call.self.dict();
  if (!call.runtime.can_make(dict.entries.size() * sizeof(Value))) return Value();
  std::vector<Value> pairs;
  pairs.reserve(dict.entries.size());
  for (const Dict::Entry& entry : dict.entries) {
    if (!call.runtime.spend(1)) return Value();
    pairs.push_back(call.runtime.sequence(Sequence::Type::kTuple, {entry.key, entry.value}));
  }
  return call.runtime.sequence(Sequence::Type::kItems, std::move(pairs));
}

Value keys_method(const BuiltinCall& call) {
  const auto keys = items_of(call.runtime, call.self);
  if (keys == nullptr) return Value();
  return call.runtime.sequence(Sequence::Type::kKeys, keys->items);
}

Value values_method(const BuiltinCall& call) {
  const Dict& dict = *call.self.dict();
  if (!call.runtime.can_make(dict.entries.size() * sizeof(Value))) return Value();
  std::vector<Value> values;
  values.reserve(dict.entries.size());
  for (const Dict::Entry& entry : dict.entries) values.push_back(entry.value);
  return call.runtime.sequence(Sequence::Type::kValues, std::move(values));
}

Value get_method(const BuiltinCall& call) {
  const TaintedText* key = call.arguments[0]->text();
  const Value* found = key == nullptr ? nullptr : call.self.dict()->find(key->bytes());
  if (found != nullptr) return *found;
  return call.arguments[1] == nullptr ? Value::none() : *call.arguments[1];
}

constexpr std::string_view kMethod = "method";

constexpr Builtin kTextMethods[] = {
    {kMethod, "strip", strip_text<true, true>, {"chars"}},
    {kMethod, "lstrip", strip_text<true, false>, {"chars"}},
    {kMethod, "rstrip", strip_text<false, true>, {"chars"}},
    {kMethod, "split", split_text<false>, {"sep", "maxsplit"}},
    {kMethod, "rsplit", split_text<true>, {"sep", "maxsplit"}},
    {kMethod, "splitlines", splitlines},
    {kMethod, "startswith", has_affix<true>, {"prefix"}, 1},
    {kMethod, "endswith", has_affix<false>, {"suffix"}, 1},
    {kMethod, "removeprefix", remove_affix<true>, {"prefix"}, 1},
    {kMethod, "removesuffix", remove_affix<false>, {"suffix"}, 1},
    {kMethod, "upper", map_text<upper>},
    {kMethod, "lower", map_text<lower>},
    {kMethod, "title", map_text<title>},
    {kMethod, "capitalize", map_text<capitalize>},
    {kMethod, "replace", replace_text, {"old", "new", "count"}, 2},
    {kMethod, "join", join_text, {"iterable"}, 1},
    {kMethod, "find", find_text<false>, {"sub"}, 1},
    {kMethod, "rfind", find_text<true>, {"sub"}, 1},
    {kMethod, "count", count_text, {"sub"}, 1},
};

constexpr Builtin kDictMethods[] = {
    {kMethod, "items", items_method},
    {kMethod, "keys", keys_method},
    {kMethod, "values", values_method},
    {kMethod, "get", get_method, {"key", "default"}, 1},
};

// Methods of Python that are not supported. Values must not change, and the rest is not worth its
// code. Without these lists they would look like attributes that do not exist.
constexpr std::string_view kRefusedTextMethods[] = {
    "casefold",  "center",      "encode",  "expandtabs", "format",   "format_map",   "index",
    "isalnum",   "isalpha",     "isascii", "isdecimal",  "isdigit",  "isidentifier", "islower",
    "isnumeric", "isprintable", "isspace", "istitle",    "isupper",  "ljust",        "maketrans",
    "partition", "rindex",      "rjust",   "rpartition", "swapcase", "translate",    "zfill"};
constexpr std::string_view kRefusedDictMethods[] = {"clear",   "copy",       "fromkeys", "pop",
                                                    "popitem", "setdefault", "update"};
constexpr std::string_view kRefusedListMethods[] = {"append", "clear",   "copy",   "count",
                                                    "extend", "index",   "insert", "pop",
                                                    "remove", "reverse", "sort"};

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
  const Builtin* method = find_method(runtime, object, *name);
  if (method != nullptr) return runtime.method(object, method);
  return std::nullopt;
}

// Returns the item with that key or index; nullopt if the object has none.
std::optional<Value> find_item(Runtime& runtime, const Value& object, const Value& index) {
  if (const Dict* dict = object.dict()) {
    const Value* found = index.is_text() ? dict->find(index.text()->bytes()) : nullptr;
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
  const Sequence* sequence = object.sequence();
  if (sequence == nullptr || sequence->type > Sequence::Type::kRange) return std::nullopt;
  const auto size = static_cast<int64_t>(sequence->items.size());
  if (at < -size || at >= size) return std::nullopt;
  return sequence->items[static_cast<size_t>(at < 0 ? at + size : at)];
}

}  // namespace

const Builtin* find_method(Runtime& runtime, const Value& self, std::string_view name) {
  const Builtin* method = nullptr;
  if (self.is_text()) method = find_builtin(kTextMethods, name);
  if (self.dict() != nullptr) method = find_builtin(kDictMethods, name);
  if (method == nullptr && is_refused(self, name)) {
    runtime.fail("templates may not use ", quoted(name), " of a value of type ", self.type_name());
  }
  return method;
}

Value get_attribute(Runtime& runtime, const Value& object, const std::string* name) {
  if (const Undefined* missing = object.as<Undefined>()) return runtime.fail_undefined(*missing);
  if (const auto* loop = object.as<std::shared_ptr<const Loop>>()) {
    return loop_attribute(**loop, name);
  }
  if (const std::optional<Value> found = find_attribute(runtime, object, name)) return *found;
  const Value* item = object.dict() == nullptr ? nullptr : object.dict()->find(*name);
  return item != nullptr ? *item : Value(Undefined{name, object.type_name()});
}

Value get_item(Runtime& runtime, const Value& object, const Value& index, const std::string* name) {
  if (const Undefined* missing = object.as<Undefined>()) return runtime.fail_undefined(*missing);
  if (const std::optional<Value> found = find_item(runtime, object, index)) return *found;
  if (name != nullptr && object.is<std::shared_ptr<const Loop>>()) {
    return get_attribute(runtime, object, name);
  }
  if (index.is_text()) {
    if (const auto found = find_attribute(runtime, object, &index.text()->bytes())) return *found;
  }
  return Value(Undefined{name, object.type_name()});
}

}  // namespace deltaserve
