#include "models/tokenizer/json/expression_class.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "models/base/text.h"
#include "models/tokenizer/json/unicode.h"
#include "models/tokenizer/json/unicode_tables.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve::tokenizer_json {
namespace {

constexpr int kClassDepth = 16;

std::string utf8_of(std::u32string_view codes) {
  std::string text;
  for (const char32_t code : codes) append_character(code, &text);
  return text;
}

int hex_value(char32_t c) {
  if (c >= '0' && c <= '9') return static_cast<int>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<int>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<int>(c - 'A' + 10);
  return -1;
}

// Reads between `least` and `most` hexadecimal digits.
absl::StatusOr<char32_t> read_hex(ExpressionText* in, int least, int most) {
  char32_t code = 0;
  int digits = 0;
  for (; digits < most && hex_value(in->peek()) >= 0; ++digits, ++in->at) {
    code = code * 16 + static_cast<char32_t>(hex_value(in->peek()));
  }
  if (digits < least) return invalid_argument("an escape lacks hexadecimal digits");
  if (code > kLastCodePoint || (code >= 0xD800 && code < 0xE000)) {
    return invalid_argument("an escape is no character");
  }
  return code;
}

absl::StatusOr<char32_t> read_braced_hex(ExpressionText* in) {
  auto code = read_hex(in, 1, 6);
  if (code.ok() && !in->take(U"}")) return invalid_argument("\\x{ has no }");
  return code;
}

// Reads the name of \p{name} or \p{^name}.
absl::StatusOr<Escape> read_property(ExpressionText* in, bool negated, bool in_class) {
  if (!in->take(U"{")) return invalid_argument("\\p has no {");
  if (in->take(U"^")) negated = !negated;
  const size_t end = in->text.find(U'}', in->at);
  if (end == std::u32string::npos) return invalid_argument("\\p{ has no }");
  const std::string name = utf8_of(std::u32string_view(in->text).substr(in->at, end - in->at));
  in->at = end + 1;
  std::optional<CodePointSet> set = property_set(name);
  if (set && !in_class && property_is_word(name)) set = word_set();
  if (!set) return invalid_argument("the property ", quoted(name), " is not known");
  if (negated) set->complement();
  return Escape{std::move(set)};
}

Escape set_escape(CodePointSet set, bool negated) {
  if (negated) set.complement();
  return Escape{std::move(set)};
}

absl::StatusOr<Escape> character_escape(absl::StatusOr<char32_t> code) {
  if (!code.ok()) return code.status();
  return Escape{std::nullopt, *code};
}

// Reads [:name:] or [:^name:], whose "[:" was taken. Returns nullopt if it is not such a class.
absl::StatusOr<std::optional<CodePointSet>> read_posix_class(ExpressionText* in) {
  const std::u32string_view rest = std::u32string_view(in->text).substr(in->at);
  const bool negated = rest.starts_with(U"^");
  const size_t begin = negated ? 1 : 0;
  size_t end = begin;
  while (end < rest.size() && rest[end] >= 'a' && rest[end] <= 'z') ++end;
  if (end == begin || !rest.substr(end).starts_with(U":]")) return std::optional<CodePointSet>();
  const std::string name = utf8_of(rest.substr(begin, end - begin));
  std::optional<CodePointSet> set = property_set(name);
  if (!set) return invalid_argument("the class [:", name, ":] is not known");
  if (negated) set->complement();
  in->at += end + 2;
  return set;
}

class ClassReader {
 public:
  ClassReader(ExpressionText* in, bool without_case, int depth)
      : in_(*in), without_case_(without_case), depth_(depth) {}

  absl::StatusOr<CodePointSet> read() {
    if (depth_ > kClassDepth) return invalid_argument("classes are nested too deeply");
    const bool negated = in_.take(U"^");
    bool first = true;
    while (true) {
      if (in_.done()) return invalid_argument("[ has no ]");
      if (in_.peek() == ']' && !first) break;
      const absl::Status status = read_item();
      if (!status.ok()) return status;
      first = false;
    }
    ++in_.at;
    end_operand();
    if (negated) all_.complement();
    return all_;
  }

 private:
  absl::Status read_item() {
    if (in_.take(U"&&")) {
      end_operand();
      return absl::OkStatus();
    }
    if (in_.take(U"[:")) {
      auto posix = read_posix_class(&in_);
      if (!posix.ok()) return posix.status();
      if (*posix) {
        now_.add(**posix);
        return absl::OkStatus();
      }
      --in_.at;
      return read_nested();
    }
    if (in_.take(U"[")) return read_nested();
    return read_range();
  }

  absl::Status read_nested() {
    auto inner = ClassReader(&in_, false, depth_ + 1).read();
    if (!inner.ok()) return inner.status();
    now_.add(*inner);
    return absl::OkStatus();
  }

  // Reads a character, a range, or an escape that means a set.
  absl::Status read_range() {
    absl::StatusOr<Escape> low = read_member();
    if (!low.ok()) return low.status();
    if (low->set) {
      now_.add(*low->set);
      return absl::OkStatus();
    }
    char32_t last = low->code;
    const char32_t after = in_.peek(1);
    if (in_.peek() == '-' && after != ']' && after != 0 && after != '[') {
      ++in_.at;
      absl::StatusOr<Escape> high = read_member();
      if (!high.ok()) return high.status();
      if (high->set || high->code < last) {
        return invalid_argument("a range of a class has no order");
      }
      last = high->code;
    }
    now_.add({low->code, last});
    return absl::OkStatus();
  }

  absl::StatusOr<Escape> read_member() {
    if (in_.done()) return invalid_argument("[ has no ]");
    const char32_t code = in_.text[in_.at++];
    if (code != '\\') return Escape{std::nullopt, code};
    if (in_.take(U"b")) return Escape{std::nullopt, '\b'};
    return read_escape(&in_, /*in_class=*/true);
  }

  // Ends an operand of &&, or the class.
  void end_operand() {
    if (without_case_) now_ = with_all_cases(now_);
    if (has_operand_) {
      all_.intersect(now_);
    } else {
      all_ = now_;
    }
    has_operand_ = true;
    now_ = CodePointSet();
  }

  ExpressionText& in_;
  bool without_case_;
  int depth_;
  bool has_operand_ = false;
  CodePointSet all_;
  CodePointSet now_;
};

}  // namespace

absl::StatusOr<Escape> read_escape(ExpressionText* in, bool in_class) {
  if (in->done()) return invalid_argument("it ends with a backslash");
  const char32_t code = in->text[in->at++];
  switch (code) {
    case 'p': return read_property(in, false, in_class);
    case 'P': return read_property(in, true, in_class);
    case 's': return set_escape(space_set(), false);
    case 'S': return set_escape(space_set(), true);
    case 'w': return set_escape(in_class ? class_word_set() : word_set(), false);
    case 'W': return set_escape(in_class ? class_word_set() : word_set(), true);
    case 'd': return set_escape(digit_set(), false);
    case 'D': return set_escape(digit_set(), true);
    case 'h': return set_escape(*property_set("xdigit"), false);
    case 'H': return set_escape(*property_set("xdigit"), true);
    case 't': return Escape{std::nullopt, '\t'};
    case 'n': return Escape{std::nullopt, '\n'};
    case 'r': return Escape{std::nullopt, '\r'};
    case 'f': return Escape{std::nullopt, '\f'};
    case 'v': return Escape{std::nullopt, '\v'};
    case 'a': return Escape{std::nullopt, '\a'};
    case 'e': return Escape{std::nullopt, 0x1B};
    case 'u': return character_escape(read_hex(in, 4, 4));
    case 'x': return character_escape(in->take(U"{") ? read_braced_hex(in) : read_hex(in, 1, 2));
    default: break;
  }
  const bool letter = (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z');
  if (letter || (code >= '0' && code <= '9')) {
    return invalid_argument("the escape \\", utf8_of({&code, 1}), " is not supported");
  }
  return Escape{std::nullopt, code};
}

absl::StatusOr<CodePointSet> read_class(ExpressionText* in, bool without_case, int depth) {
  return ClassReader(in, without_case, depth).read();
}

CodePointSet with_all_cases(const CodePointSet& set) {
  std::vector<char32_t> more;
  for (const tables::CaseClass& entry : tables::kCaseClasses) {
    const bool has = std::any_of(std::begin(entry.codes), std::end(entry.codes),
                                 [&](char32_t c) { return c != 0 && set.contains(c); });
    if (has) more.insert(more.end(), std::begin(entry.codes), std::end(entry.codes));
  }
  more.erase(std::remove(more.begin(), more.end(), 0), more.end());
  CodePointSet all = set;
  all.add(CodePointSet::from_codes(std::move(more)));
  return all;
}

std::string class_text(const CodePointSet& set) {
  std::string text;
  for (CodePointSet::Range range : set.ranges()) {
    // PCRE2 accepts no surrogates, and texts have none.
    if (range.first >= 0xD800 && range.first < 0xE000) range.first = 0xE000;
    if (range.last >= 0xD800 && range.last < 0xE000) range.last = 0xD7FF;
    if (range.first > range.last) continue;
    absl::StrAppendFormat(&text, "\\x{%x}", static_cast<uint32_t>(range.first));
    if (range.last > range.first) {
      absl::StrAppendFormat(&text, "-\\x{%x}", static_cast<uint32_t>(range.last));
    }
  }
  return text.empty() ? "(?!)" : str_cat("[", text, "]");
}

}  // namespace deltaserve::tokenizer_json
