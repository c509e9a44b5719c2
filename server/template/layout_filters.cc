// Filters for the layout of text, which chat templates hardly use.
#include <cmath>

#include "absl/strings/str_format.h"
#include "server/template/builtin.h"
#include "server/template/text_operations.h"
#include "server/template/value_format.h"
#include "server/template/value_operations.h"

namespace deltaserve {
namespace {

// Checks a width in columns against the limit.
bool fits(const BuiltinCall& call, int64_t width) {
  if (width <= call.runtime.limits().width) return !call.runtime.failed();
  call.runtime.exceed(str_cat("a text is laid out wider than ", call.runtime.limits().width));
  return false;
}

Value center_filter(const BuiltinCall& call) {
  const int64_t width = call.integer(0, 80);
  if (!fits(call, width)) return Value();
  return call.runtime.text(
      padded(call.runtime, call.self_text(), TaintedText(" ", true), width, Padding::kAround));
}

bool is_word_character(char32_t code) {
  return code == '_' || is_alphabetic(code) || is_numeric(code) || is_decimal(code);
}

Value wordcount_filter(const BuiltinCall& call) {
  const TaintedText text = call.self_text();
  if (!call.runtime.spend_bytes(4 * text.size())) return Value();
  int64_t words = 0;
  bool inside = false;
  for (size_t i = 0; i < text.size();) {
    const Character character = character_at(text.bytes(), i);
    const bool is_word = is_word_character(character.code);
    if (is_word && !inside) ++words;
    inside = is_word;
    i += character.bytes;
  }
  return Value::integer(words);
}

// Returns the offset after `count` characters.
size_t offset_of(std::string_view text, int64_t count) {
  size_t at = 0;
  for (int64_t i = 0; i < count && at < text.size(); ++i) at += character_at(text, at).bytes;
  return at;
}

// The parameters are length, killwords, end and leeway.
Value truncate_filter(const BuiltinCall& call) {
  const TaintedText text = call.self_text();
  const int64_t length = call.integer(0, 255);
  const TaintedText end =
      call.has(2) ? str(call.runtime, *call.arguments[2]) : TaintedText("...", true);
  const int64_t leeway = call.integer(3, 5);
  if (!call.runtime.can_make(text.size() + end.size())) return Value();
  const auto size = static_cast<int64_t>(count_characters(text.bytes()));
  const auto end_size = static_cast<int64_t>(count_characters(end.bytes()));
  if (length < end_size)
    return call.runtime.fail("truncate needs a length of at least that of its end");
  if (size <= length || size - length <= leeway) return call.runtime.text(text);
  size_t cut = offset_of(text.bytes(), length - end_size);
  if (!call.flag(1, false)) {
    const size_t space = text.bytes().substr(0, cut).rfind(' ');
    if (space != std::string::npos) cut = space;
  }
  TaintedText result = text.slice(0, cut);
  result.append(end);
  return call.runtime.text(std::move(result));
}

// Breaks a line into lines of at most `width` characters and calls add(begin, end) for each, as
// Python's textwrap does without breaks at hyphens.
template <class Add>
void wrap_line(std::string_view text, const Span& line, int64_t width, bool break_words,
               const Add& add) {
  size_t begin = line.begin;  // of the line that is being filled
  size_t end = begin;         // after its last word
  int64_t used = 0;
  bool first = true;
  for (size_t at = line.begin; at < line.end;) {
    size_t word = at;
    while (word < line.end && is_space(character_at(text, word).code)) {
      word += character_at(text, word).bytes;
    }
    size_t next = word;
    while (next < line.end && !is_space(character_at(text, next).code)) {
      next += character_at(text, next).bytes;
    }
    if (word == next) break;  // white space at the end is dropped
    const auto gap = static_cast<int64_t>(count_characters(text.substr(at, word - at)));
    const auto size = static_cast<int64_t>(count_characters(text.substr(word, next - word)));
    const bool keeps_gap = used > 0 || first;
    if (used + (keeps_gap ? gap : 0) + size <= width) {
      if (used == 0 && !first) begin = word;
      used += (keeps_gap ? gap : 0) + size;
    } else if (size <= width || !break_words) {
      if (used > 0) add(begin, end);
      begin = word;
      used = size;
    } else {
      const int64_t room = width - used - (keeps_gap ? gap : 0);
      if (room < 1) {
        add(begin, end);
        begin = word;
        next = word + offset_of(text.substr(word), width);
      } else {
        if (used == 0 && !first) begin = word;
        next = word + offset_of(text.substr(word), room);
      }
      add(begin, next);
      begin = next;
      used = 0;
    }
    first = false;
    end = at = next;
  }
  if (used > 0) add(begin, end);
}

// The parameters are width, break_long_words, wrapstring and break_on_hyphens.
Value wordwrap_filter(const BuiltinCall& call) {
  const TaintedText text = call.self_text();
  const int64_t width = call.integer(0, 79);
  if (!fits(call, width) || !call.runtime.can_make(2 * text.size())) return Value();
  if (width < 1) return call.runtime.fail("wordwrap needs a width of at least 1");
  if (call.flag(3, true) && text.bytes().find('-') != std::string::npos) {
    return call.runtime.fail("wordwrap does not break at hyphens here: use break_on_hyphens=false");
  }
  const TaintedText wrap =
      call.has(2) ? str(call.runtime, *call.arguments[2]) : TaintedText("\n", true);
  TaintedText result;
  bool first_line = true;
  const auto add_line = [&](size_t begin, size_t end) {
    if (!std::exchange(first_line, false)) result.append(wrap);
    result.append(text, begin, end);
    call.runtime.can_make(result.heap_bytes());
  };
  for (const Span& line : split_lines(call.runtime, text.bytes())) {
    if (call.runtime.failed()) return Value();
    wrap_line(text.bytes(), line, width, call.flag(1, true), add_line);
  }
  return call.runtime.text(std::move(result));
}

Value urlencode_filter(const BuiltinCall& call) {
  const auto encode = [&](const TaintedText& from, bool in_query) {
    TaintedText result;
    from.for_each_run([&](std::string_view bytes, bool trusted) {
      for (const char c : bytes) {
        const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 ||
                           std::string_view("_.-~").find(c) != std::string_view::npos ||
                           (c == '/' && !in_query);
        if (plain) {
          result.append({&c, 1}, trusted);
        } else if (in_query && c == ' ') {
          result.append("+", trusted);
        } else {
          result.append(absl::StrFormat("%%%02X", static_cast<unsigned char>(c)), trusted);
        }
      }
    });
    return result;
  };
  if (!call.runtime.can_make(8 * call.self_text().size())) return Value();
  if (call.self.is_text()) return call.runtime.text(encode(*call.self.text(), false));
  if (call.self.dict() == nullptr && call.self.sequence() == nullptr) {
    return call.runtime.text(encode(call.self_text(), false));
  }
  Value pairs = call.self;
  if (call.self.dict() != nullptr) {
    pairs =
        call_builtin(call.runtime, *find_method(call.runtime, call.self, "items"), call.self, {});
  }
  const auto items = items_of(call.runtime, pairs);
  TaintedText result;
  for (size_t i = 0; items != nullptr && i < items->items.size(); ++i) {
    const auto pair = items_of(call.runtime, items->items[i]);
    if (pair == nullptr) return Value();
    if (pair->items.size() != 2) return call.runtime.fail("urlencode needs pairs");
    if (i > 0) result.append("&", true);
    result.append(encode(str(call.runtime, pair->items[0]), true));
    result.append("=", true);
    result.append(encode(str(call.runtime, pair->items[1]), true));
  }
  return call.runtime.text(std::move(result));
}

Value filesizeformat_filter(const BuiltinCall& call) {
  const Value number = call_builtin(call.runtime, *find_filter("float"), call.self, {});
  if (call.runtime.failed() || number.as<double>() == nullptr) return Value();
  const double bytes = *number.as<double>();
  const bool binary = call.flag(0, false);
  const double base = binary ? 1024 : 1000;
  constexpr const char* kUnits[] = {"k", "M", "G", "T", "P", "E", "Z", "Y"};
  if (bytes == 1) return call.runtime.text("1 Byte", number.trusted());
  if (bytes < base) {
    return call.runtime.text(absl::StrFormat("%.0f Bytes", std::trunc(bytes)), number.trusted());
  }
  double unit = base;
  const char* name = kUnits[0];
  for (const char* candidate : kUnits) {
    name = candidate;
    unit *= base;
    if (bytes < unit) break;
  }
  const std::string letter = binary && *name == 'k' ? "K" : name;
  return call.runtime.text(
      absl::StrFormat("%.1f %s%s", base * bytes / unit, letter, binary ? "iB" : "B"),
      number.trusted());
}

Value xmlattr_filter(const BuiltinCall& call) {
  const Dict* dict = call.self.dict();
  if (dict == nullptr) return call.runtime.fail("xmlattr needs a dictionary");
  TaintedText result;
  for (const Dict::Entry& entry : dict->entries) {
    if (!call.runtime.spend(1)) return Value();
    if (entry.value.is_none() || entry.value.is_undefined()) continue;
    const TaintedText key = str(call.runtime, entry.key);
    if (key.bytes().find_first_of(" \t\n\f\r/>=") != std::string::npos) {
      return call.runtime.fail("xmlattr has a bad name ", quoted(key.bytes()));
    }
    const TaintedText value = str(call.runtime, entry.value);
    if (!call.runtime.can_make(6 * (key.size() + value.size()))) return Value();
    if (call.flag(0, true) || !result.empty()) result.append(" ", true);
    result.append(escape_html(key));
    result.append("=\"", true);
    result.append(escape_html(value));
    result.append("\"", true);
  }
  return call.runtime.text(std::move(result));
}

// Removes tags and comments, and joins what is left by single spaces.
Value striptags_filter(const BuiltinCall& call) {
  const TaintedText text = call.self_text();
  if (!call.runtime.can_make(2 * text.size())) return Value();
  const std::string_view bytes = text.bytes();
  TaintedText plain;
  for (size_t i = 0; i < bytes.size();) {
    const bool comment = bytes.substr(i).starts_with("<!--");
    const std::string_view mark = comment ? "-->" : ">";
    const size_t end = bytes[i] == '<' ? find_bytes(bytes, mark, i) : std::string_view::npos;
    if (end != std::string_view::npos) {
      i = end + mark.size();
    } else {
      plain.append(text, i, i + 1);
      ++i;
    }
  }
  if (plain.bytes().find('&') != std::string::npos) {
    return call.runtime.fail("striptags does not read entities here");
  }
  TaintedText result;
  for (const Span& word : split(call.runtime, plain.bytes(), std::nullopt, -1)) {
    if (!result.empty()) result.append(" ", true);
    result.append(plain, word.begin, word.end);
  }
  return call.runtime.text(std::move(result));
}

Value forceescape_filter(const BuiltinCall& call) {
  const TaintedText text = call.self_text();
  if (!call.runtime.can_make(5 * text.size())) return Value();
  return call.runtime.markup(escape_html(text));
}

// A prompt that depended on chance would be another one for the same request, and no kept state
// would fit it.
Value random_filter(const BuiltinCall& call) {
  return call.runtime.fail(
      "filter 'random' is not supported: the same messages must give the same "
      "prompt each time");
}

constexpr Builtin kLayoutFilters[] = {
    {kFilter, "center", center_filter, {"width"}},
    {kFilter, "wordcount", wordcount_filter},
    {kFilter, "truncate", truncate_filter, {"length", "killwords", "end", "leeway"}},
    {kFilter,
     "wordwrap",
     wordwrap_filter,
     {"width", "break_long_words", "wrapstring", "break_on_hyphens"}},
    {kFilter, "urlencode", urlencode_filter},
    {kFilter, "filesizeformat", filesizeformat_filter, {"binary"}},
    {kFilter, "xmlattr", xmlattr_filter, {"autospace"}},
    {kFilter, "striptags", striptags_filter},
    {kFilter, "forceescape", forceescape_filter},
    {kFilter, "random", random_filter, {}, 0, true},
    {kFilter,
     "urlize",
     urlize_filter,
     {"trim_url_limit", "nofollow", "target", "rel", "extra_schemes"}},
    {kFilter, "pprint", pprint_filter},
};

}  // namespace

const Builtin* find_layout_filter(std::string_view name) {
  return find_builtin(kLayoutFilters, name);
}

}  // namespace deltaserve
