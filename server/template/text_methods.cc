// Methods of texts.
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
  // When splitting from the right, every place may be compared with the whole separator.
  const size_t factor = kFromRight ? 1 + separator.value_or("").size() : 1;
  if (!call.runtime.spend_bytes(bytes.size() * factor)) return Value();
  return texts_of(call.runtime, self_of(call),
                  kFromRight ? split_from_right(call.runtime, bytes, separator, most)
                             : split(call.runtime, bytes, separator, most));
}

Value splitlines(const BuiltinCall& call) {
  const TaintedText& text = self_of(call);
  if (!call.runtime.spend_bytes(text.size())) return Value();
  std::vector<Span> lines = split_lines(call.runtime, text.bytes());
  if (call.flag(0, false)) {
    for (size_t i = 0; i < lines.size(); ++i) {
      lines[i].end = i + 1 < lines.size() ? lines[i + 1].begin : text.size();
    }
  }
  return texts_of(call.runtime, text, lines);
}

// The part of a text between two bounds in characters, which may be absent or negative.
struct Part {
  std::string_view bytes;
  int64_t first = 0;  // of its characters
  bool exists = true;
};

Part part_of(const BuiltinCall& call, size_t argument) {
  const std::string_view bytes = self_of(call).bytes();
  if (!call.has(argument) && !call.has(argument + 1)) return {bytes};
  if (!call.runtime.spend_bytes(bytes.size())) return {};
  const auto count = static_cast<int64_t>(count_characters(bytes));
  const auto bound = [&](size_t i, int64_t otherwise) {
    int64_t at = call.integer(i, otherwise);
    if (at < 0) at = std::max<int64_t>(at, -count) + count;
    return at;
  };
  const int64_t first = bound(argument, 0);
  const int64_t last = std::min(bound(argument + 1, count), count);
  if (first > last) return {{}, first, false};
  size_t begin = 0;
  for (int64_t i = 0; i < first; ++i) begin += character_at(bytes, begin).bytes;
  size_t end = begin;
  for (int64_t i = first; i < last; ++i) end += character_at(bytes, end).bytes;
  return {bytes.substr(begin, end - begin), first};
}

// Returns true if an end of the text is the argument, or one of the texts of a tuple.
template <bool kAtStart>
Value has_affix(const BuiltinCall& call) {
  const Part part = part_of(call, 1);
  const auto matches = [&](const Value& value) {
    const TaintedText* affix = call.as_text(value);
    if (affix == nullptr || !call.runtime.spend_bytes(affix->size()) || !part.exists) return false;
    return kAtStart ? part.bytes.starts_with(affix->bytes()) : part.bytes.ends_with(affix->bytes());
  };
  const SequenceValue* choices = call.arguments[0]->sequence();
  if (choices == nullptr || choices->type != SequenceValue::Type::kTuple) {
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

// Implements find, rfind, index and rindex; the last two fail where there is nothing.
template <bool kFromRight, bool kMustExist>
Value find_text(const BuiltinCall& call) {
  const TaintedText* wanted = call.text(0);
  if (wanted == nullptr) return Value();
  const Part part = part_of(call, 1);
  const size_t factor = kFromRight ? 1 + wanted->size() : 1;
  if (!call.runtime.spend_bytes(part.bytes.size() * factor)) return Value();
  const size_t place = !part.exists ? std::string_view::npos
                       : kFromRight ? part.bytes.rfind(wanted->bytes())
                                    : find_bytes(part.bytes, wanted->bytes());
  if (place != std::string_view::npos) {
    const auto before = static_cast<int64_t>(count_characters(part.bytes.substr(0, place)));
    return Value::integer(part.first + before);
  }
  return kMustExist ? call.runtime.fail("the text does not have what is looked for")
                    : Value::integer(-1);
}

Value count_text(const BuiltinCall& call) {
  const TaintedText* wanted = call.text(0);
  const Part part = part_of(call, 1);
  if (wanted == nullptr || !call.runtime.spend_bytes(part.bytes.size())) return Value();
  return Value::integer(part.exists ? count_occurrences(part.bytes, wanted->bytes()) : 0);
}

// Returns the parts before, at and after the first or last separator.
template <bool kFromRight>
Value partition_text(const BuiltinCall& call) {
  const TaintedText& text = self_of(call);
  const TaintedText* separator = call.text(0);
  if (separator == nullptr) return Value();
  if (separator->empty()) return call.runtime.fail("partition needs a separator that is not empty");
  const size_t factor = kFromRight ? 1 + separator->size() : 1;
  if (!call.runtime.spend_bytes(text.size() * factor)) return Value();
  if (!call.runtime.can_make(text.size())) return Value();
  const size_t place = kFromRight ? text.bytes().rfind(separator->bytes())
                                  : find_bytes(text.bytes(), separator->bytes());
  Runtime& runtime = call.runtime;
  const Value nothing = runtime.text("", true);
  std::vector<Value> parts = {call.self, nothing, nothing};
  if (place != std::string_view::npos) {
    const size_t end = place + separator->size();
    parts = {runtime.text(text.slice(0, place)), runtime.text(text.slice(place, end)),
             runtime.text(text.slice(end, text.size()))};
  } else if (kFromRight) {
    std::swap(parts[0], parts[2]);
  }
  return runtime.sequence(SequenceValue::Type::kTuple, std::move(parts));
}

enum class Side { kLeft, kRight, kBoth };

// Pads the text to a width; `kSide` is the side of the text.
template <Side kSide>
Value justify(const BuiltinCall& call) {
  const TaintedText fill =
      call.has(1) && call.text(1) != nullptr ? *call.text(1) : TaintedText(" ", true);
  const int64_t width = call.integer(0, 0);
  if (width > call.runtime.limits().width) {
    return call.runtime.exceed(
        str_cat("a text is padded wider than ", call.runtime.limits().width));
  }
  if (count_characters(fill.bytes()) != 1)
    return call.runtime.fail("a text is padded with one character");
  return call.runtime.text(padded(call.runtime, self_of(call), fill, width,
                                  kSide == Side::kLeft    ? Padding::kBehind
                                  : kSide == Side::kRight ? Padding::kBefore
                                                          : Padding::kAround));
}

Value zfill(const BuiltinCall& call) {
  const int64_t width = call.integer(0, 0);
  if (width > call.runtime.limits().width) {
    return call.runtime.exceed(
        str_cat("a text is padded wider than ", call.runtime.limits().width));
  }
  const TaintedText& text = self_of(call);
  const bool has_sign = text.bytes().starts_with('-') || text.bytes().starts_with('+');
  const size_t sign = has_sign ? 1 : 0;
  TaintedText result = text.slice(0, sign);
  result.append(padded(call.runtime, text.slice(sign, text.size()), TaintedText("0", true),
                       width - static_cast<int64_t>(sign), Padding::kBefore));
  return call.runtime.text(std::move(result));
}

Value expandtabs(const BuiltinCall& call) {
  const int64_t size = call.integer(0, 8);
  if (size > call.runtime.limits().width) {
    return call.runtime.exceed(str_cat("a tab is wider than ", call.runtime.limits().width));
  }
  const std::string_view bytes = self_of(call).bytes();
  const auto tabs = static_cast<size_t>(std::count(bytes.begin(), bytes.end(), '\t'));
  if (!call.runtime.can_make(bytes.size() +
                             tabs * static_cast<size_t>(std::max<int64_t>(size, 0)))) {
    return Value();
  }
  TaintedText result;
  int64_t column = 0;
  append_mapped(
      self_of(call),
      [&](const Character& from, std::string* instead) {
        if (from.code != '\t') {
          column = from.code == '\n' || from.code == '\r' ? 0 : column + 1;
          return false;
        }
        const int64_t spaces = size > 0 ? size - column % size : 0;
        instead->assign(static_cast<size_t>(spaces), ' ');
        column += spaces;
        return true;
      },
      &result);
  return call.runtime.text(std::move(result));
}

template <bool (*kTest)(std::string_view)>
Value test_method(const BuiltinCall& call) {
  if (!call.runtime.spend_bytes(4 * self_of(call).size())) return Value();
  return Value::boolean(kTest(self_of(call).bytes()));
}

Value format_method(const BuiltinCall& call) {
  return brace_format(call.runtime, self_of(call), call.raw);
}

Value format_map_method(const BuiltinCall& call) {
  const Dict* dict = call.arguments[0]->dict();
  if (dict == nullptr) return call.runtime.fail("format_map needs a dictionary");
  CallArguments arguments;
  for (const Dict::Entry& entry : dict->entries) {
    if (!call.runtime.spend(1)) return Value();
    if (entry.key.is_text()) arguments.named.emplace_back(entry.key.text()->bytes(), entry.value);
  }
  return brace_format(call.runtime, self_of(call), arguments);
}

constexpr std::string_view kMethod = "method";

constexpr Builtin kTextMethods[] = {
    {kMethod, "strip", strip_text<true, true>, {"chars"}},
    {kMethod, "lstrip", strip_text<true, false>, {"chars"}},
    {kMethod, "rstrip", strip_text<false, true>, {"chars"}},
    {kMethod, "split", split_text<false>, {"sep", "maxsplit"}},
    {kMethod, "rsplit", split_text<true>, {"sep", "maxsplit"}},
    {kMethod, "splitlines", splitlines, {"keepends"}},
    {kMethod, "partition", partition_text<false>, {"sep"}, 1},
    {kMethod, "rpartition", partition_text<true>, {"sep"}, 1},
    {kMethod, "startswith", has_affix<true>, {"prefix", "start", "end"}, 1},
    {kMethod, "endswith", has_affix<false>, {"suffix", "start", "end"}, 1},
    {kMethod, "removeprefix", remove_affix<true>, {"prefix"}, 1},
    {kMethod, "removesuffix", remove_affix<false>, {"suffix"}, 1},
    {kMethod, "upper", map_text<upper>},
    {kMethod, "lower", map_text<lower>},
    {kMethod, "title", map_text<title>},
    {kMethod, "capitalize", map_text<capitalize>},
    {kMethod, "casefold", map_text<casefold>},
    {kMethod, "swapcase", map_text<swapcase>},
    {kMethod, "replace", replace_text, {"old", "new", "count"}, 2},
    {kMethod, "join", join_text, {"iterable"}, 1},
    {kMethod, "find", find_text<false, false>, {"sub", "start", "end"}, 1},
    {kMethod, "rfind", find_text<true, false>, {"sub", "start", "end"}, 1},
    {kMethod, "index", find_text<false, true>, {"sub", "start", "end"}, 1},
    {kMethod, "rindex", find_text<true, true>, {"sub", "start", "end"}, 1},
    {kMethod, "count", count_text, {"sub", "start", "end"}, 1},
    {kMethod, "ljust", justify<Side::kLeft>, {"width", "fillchar"}, 1},
    {kMethod, "rjust", justify<Side::kRight>, {"width", "fillchar"}, 1},
    {kMethod, "center", justify<Side::kBoth>, {"width", "fillchar"}, 1},
    {kMethod, "zfill", zfill, {"width"}, 1},
    {kMethod, "expandtabs", expandtabs, {"tabsize"}},
    {kMethod, "format", format_method, {}, 0, true},
    {kMethod, "format_map", format_map_method, {"mapping"}, 1},
    {kMethod, "isupper", test_method<is_upper_text>},
    {kMethod, "islower", test_method<is_lower_text>},
    {kMethod, "istitle", test_method<is_title_text>},
    {kMethod, "isspace", test_method<is_space_text>},
    {kMethod, "isalpha", test_method<is_alphabetic_text>},
    {kMethod, "isalnum", test_method<is_alphanumeric_text>},
    {kMethod, "isdecimal", test_method<is_decimal_text>},
    {kMethod, "isdigit", test_method<is_digit_text>},
    {kMethod, "isnumeric", test_method<is_numeric_text>},
    {kMethod, "isprintable", test_method<is_printable_text>},
    {kMethod, "isascii", test_method<is_ascii_text>},
    {kMethod, "isidentifier", test_method<is_identifier>},
};

}  // namespace

const Builtin* find_text_method(std::string_view name) {
  return find_builtin(kTextMethods, name);
}

}  // namespace deltaserve
