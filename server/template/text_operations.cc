#include "server/template/text_operations.h"

#include <algorithm>
#include <cstring>

namespace deltaserve {
namespace {

constexpr size_t kNowhere = std::string_view::npos;

// Replaces each character by what append(code, std::string*) writes for it.
template <class Append>
TaintedText mapped(const TaintedText& text, const Append& append) {
  constexpr char32_t kReplacement = 0xfffd;
  TaintedText result;
  append_mapped(
      text,
      [&](const Character& from, std::string* instead) {
        append(from.code, instead);
        const bool same =
            instead->size() == from.bytes && character_at(*instead, 0).code == from.code;
        return !same && from.code != kReplacement;
      },
      &result);
  return result;
}

bool is_cased(char32_t code) {
  return is_upper_letter(code) || is_lower_letter(code) || is_title_letter(code);
}

// Returns true for characters that do not end a word: accents, apostrophes, soft hyphens.
bool is_ignored_between_letters(char32_t code) {
  constexpr std::u32string_view kIgnored = U"'.:^`\u00a8\u00ad\u00af\u00b4\u00b7\u00b8\u2018\u2019";
  return kIgnored.find(code) != kIgnored.npos || (code >= 0x2b0 && code <= 0x36f) ||
         (code >= 0x200b && code <= 0x200f);
}

// Returns true if a capital sigma at `at` ends a word, because its lower case is then another
// letter.
bool ends_word(std::string_view text, size_t at, size_t bytes) {
  size_t before = at;
  bool letter_before = false;
  while (before > 0 && !letter_before) {
    before -= character_bytes_before(text, before);
    const char32_t code = character_at(text, before).code;
    letter_before = is_cased(code);
    if (!letter_before && !is_ignored_between_letters(code)) return false;
  }
  if (!letter_before) return false;
  for (size_t after = at + bytes; after < text.size();) {
    const Character next = character_at(text, after);
    if (is_cased(next.code)) return false;
    if (!is_ignored_between_letters(next.code)) return true;
    after += next.bytes;
  }
  return true;
}

// Implements str.lower for the characters of `text` in order. The state is the place in it.
class Lowering {
 public:
  explicit Lowering(std::string_view text) : text_(text) {}
  void operator()(char32_t code, std::string* out) {
    constexpr char32_t kCapitalSigma = 0x3a3;
    constexpr char32_t kFinalSigma = 0x3c2;
    const size_t bytes = character_at(text_, at_).bytes;
    if (code == kCapitalSigma && ends_word(text_, at_, bytes)) {
      append_utf8(kFinalSigma, out);
    } else {
      append_lower(code, out);
    }
    at_ += bytes;
  }
  void skip() { at_ += character_at(text_, at_).bytes; }

 private:
  const std::string_view text_;
  size_t at_ = 0;
};

bool begins_word(char32_t before) {
  return is_space(before) || before == '-' || before == '(' || before == '{' || before == '[' ||
         before == '<';
}

bool is_line_end(char32_t code) {
  return (code >= 10 && code <= 13) || (code >= 0x1c && code <= 0x1e) || code == 0x85 ||
         code == 0x2028 || code == 0x2029;
}

// Returns true if the character at `offset` of `text` is one of `characters`, or white space.
bool is_one_of(std::optional<std::string_view> characters, std::string_view text, size_t offset) {
  const Character character = character_at(text, offset);
  if (!characters.has_value()) return is_space(character.code);
  const std::string_view bytes = text.substr(offset, character.bytes);
  for (size_t i = 0; i < characters->size(); i += character_at(*characters, i).bytes) {
    if (characters->substr(i, character_at(*characters, i).bytes) == bytes) return true;
  }
  return false;
}

// The parts of a split. Each becomes a value, and there may be as many as bytes.
class Parts {
 public:
  explicit Parts(Runtime& runtime) : runtime_(runtime) {}
  bool add(size_t begin, size_t end) {
    constexpr size_t kPartBytes = sizeof(Span) + sizeof(Value) + sizeof(TextNode);
    if (!runtime_.has_room((spans_.size() + 1) * kPartBytes)) return false;
    spans_.push_back({begin, end});
    return true;
  }
  int64_t count() const { return static_cast<int64_t>(spans_.size()); }
  std::vector<Span> take() { return std::move(spans_); }
  std::vector<Span> take_reversed() {
    std::reverse(spans_.begin(), spans_.end());
    return std::move(spans_);
  }

 private:
  Runtime& runtime_;
  std::vector<Span> spans_;
};

std::vector<Span> split_at_spaces(Runtime& runtime, std::string_view text, int64_t most) {
  Parts parts(runtime);
  size_t i = 0;
  while (true) {
    i += trimmed(text.substr(i), true, false).begin;
    if (i == text.size()) break;
    if (most >= 0 && parts.count() == most) {
      parts.add(i, text.size());
      break;
    }
    const size_t begin = i;
    while (i < text.size() && !is_space(character_at(text, i).code)) {
      i += character_at(text, i).bytes;
    }
    if (!parts.add(begin, i)) break;
  }
  return parts.take();
}

std::vector<Span> split_at_spaces_from_right(Runtime& runtime, std::string_view text,
                                             int64_t most) {
  Parts parts(runtime);
  size_t end = text.size();
  while (true) {
    end = trimmed(text.substr(0, end), false, true).end;
    if (end == 0) break;
    if (most >= 0 && parts.count() == most) {
      parts.add(0, end);
      break;
    }
    size_t begin = end;
    while (begin > 0) {
      const size_t bytes = character_bytes_before(text, begin);
      if (is_space(character_at(text, begin - bytes).code)) break;
      begin -= bytes;
    }
    if (!parts.add(begin, end)) break;
    end = begin;
  }
  return parts.take_reversed();
}

}  // namespace

TaintedText upper(const TaintedText& text) {
  return mapped(text, append_upper);
}

TaintedText lower(const TaintedText& text) {
  Lowering lowering(text.bytes());
  return mapped(text, [&](char32_t code, std::string* out) { lowering(code, out); });
}

TaintedText casefold(const TaintedText& text) {
  return mapped(text, append_folded);
}

TaintedText swapcase(const TaintedText& text) {
  Lowering lowering(text.bytes());
  return mapped(text, [&](char32_t code, std::string* out) {
    if (is_upper_letter(code)) return lowering(code, out);
    lowering.skip();
    is_lower_letter(code) ? append_upper(code, out) : append_utf8(code, out);
  });
}

TaintedText capitalize(const TaintedText& text) {
  bool first = true;
  Lowering lowering(text.bytes());
  return mapped(text, [&](char32_t code, std::string* out) {
    if (!std::exchange(first, false)) return lowering(code, out);
    lowering.skip();
    append_title(code, out);
  });
}

TaintedText title(const TaintedText& text) {
  bool inside = false;
  Lowering lowering(text.bytes());
  return mapped(text, [&](char32_t code, std::string* out) {
    if (std::exchange(inside, is_cased(code))) return lowering(code, out);
    lowering.skip();
    append_title(code, out);
  });
}

TaintedText title_words(const TaintedText& text) {
  bool begins = true;
  Lowering lowering(text.bytes());
  return mapped(text, [&](char32_t code, std::string* out) {
    if (!std::exchange(begins, begins_word(code))) return lowering(code, out);
    lowering.skip();
    append_upper(code, out);
  });
}

TaintedText escape_html(const TaintedText& text) {
  TaintedText result;
  append_mapped(
      text,
      [](const Character& from, std::string* instead) {
        switch (from.code) {
          case '&': *instead = "&amp;"; return true;
          case '<': *instead = "&lt;"; return true;
          case '>': *instead = "&gt;"; return true;
          case '"': *instead = "&#34;"; return true;
          case '\'': *instead = "&#39;"; return true;
          default: return false;
        }
      },
      &result);
  return result;
}

TaintedText reversed(const TaintedText& text) {
  TaintedText result;
  for (size_t end = text.size(); end > 0;) {
    const size_t bytes = character_bytes_before(text.bytes(), end);
    result.append(text, end - bytes, end);
    end -= bytes;
  }
  return result;
}

size_t find_bytes(std::string_view text, std::string_view wanted, size_t from) {
  if (from > text.size()) return kNowhere;
  const void* place = memmem(text.data() + from, text.size() - from, wanted.data(), wanted.size());
  return place == nullptr ? kNowhere
                          : static_cast<size_t>(static_cast<const char*>(place) - text.data());
}

int64_t count_occurrences(std::string_view text, std::string_view wanted) {
  if (wanted.empty()) return static_cast<int64_t>(count_characters(text)) + 1;
  int64_t count = 0;
  for (size_t i = find_bytes(text, wanted); i != kNowhere;
       i = find_bytes(text, wanted, i + wanted.size())) {
    ++count;
  }
  return count;
}

TaintedText padded(Runtime& runtime, const TaintedText& text, const TaintedText& fill,
                   int64_t width, Padding padding) {
  const auto size = static_cast<int64_t>(count_characters(text.bytes()));
  const int64_t missing = std::max<int64_t>(width - size, 0);
  if (!runtime.can_make(text.size() + static_cast<size_t>(missing) * fill.size())) return {};
  int64_t before = 0;
  if (padding == Padding::kBefore) before = missing;
  if (padding == Padding::kAround) before = missing / 2 + (missing & width & 1);
  TaintedText result;
  for (int64_t i = 0; i < before; ++i) result.append(fill);
  result.append(text);
  for (int64_t i = before; i < missing; ++i) result.append(fill);
  return result;
}

TaintedText strip(Runtime& runtime, const TaintedText& text,
                  std::optional<std::string_view> characters, bool left, bool right) {
  const std::string_view bytes = text.bytes();
  if (!runtime.spend_bytes(bytes.size() * (1 + characters.value_or("").size()))) return {};
  size_t begin = 0;
  while (left && begin < bytes.size() && is_one_of(characters, bytes, begin)) {
    begin += character_at(bytes, begin).bytes;
  }
  size_t end = bytes.size();
  while (right && end > begin) {
    const size_t size = character_bytes_before(bytes, end);
    if (!is_one_of(characters, bytes, end - size)) break;
    end -= size;
  }
  return text.slice(begin, end);
}

TaintedText replace(Runtime& runtime, const TaintedText& text, std::string_view wanted,
                    const TaintedText& replacement, int64_t count) {
  const std::string_view bytes = text.bytes();
  const auto places = static_cast<size_t>(count_occurrences(bytes, wanted));
  const size_t most = count < 0 ? places : std::min(places, static_cast<size_t>(count));
  if (!runtime.can_make(bytes.size() + most * (1 + replacement.size()))) return {};
  TaintedText result;
  size_t copied = 0;
  size_t i = 0;
  for (size_t done = 0; done < most; ++done) {
    i = find_bytes(bytes, wanted, i);
    result.append(text, copied, i);
    result.append(replacement);
    copied = i + wanted.size();
    // The empty text is found once before every character.
    i = wanted.empty() && i < bytes.size() ? i + character_at(bytes, i).bytes : copied;
  }
  result.append(text, copied, bytes.size());
  return result;
}

std::vector<Span> split(Runtime& runtime, std::string_view text,
                        std::optional<std::string_view> separator, int64_t most) {
  if (!separator.has_value()) return split_at_spaces(runtime, text, most);
  Parts parts(runtime);
  size_t begin = 0;
  while (most < 0 || parts.count() < most) {
    const size_t end = find_bytes(text, *separator, begin);
    if (end == kNowhere || !parts.add(begin, end)) break;
    begin = end + separator->size();
  }
  parts.add(begin, text.size());
  return parts.take();
}

std::vector<Span> split_from_right(Runtime& runtime, std::string_view text,
                                   std::optional<std::string_view> separator, int64_t most) {
  if (!separator.has_value()) return split_at_spaces_from_right(runtime, text, most);
  Parts parts(runtime);
  size_t end = text.size();
  while (most < 0 || parts.count() < most) {
    const size_t begin = text.substr(0, end).rfind(*separator);
    if (begin == kNowhere || !parts.add(begin + separator->size(), end)) break;
    end = begin;
  }
  parts.add(0, end);
  return parts.take_reversed();
}

std::vector<Span> split_lines(Runtime& runtime, std::string_view text) {
  Parts lines(runtime);
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    const Character character = character_at(text, i);
    const size_t end = i;
    i += character.bytes;
    if (!is_line_end(character.code)) continue;
    if (character.code == '\r' && i < text.size() && text[i] == '\n') ++i;
    if (!lines.add(begin, end)) break;
    begin = i;
  }
  if (begin < text.size()) lines.add(begin, text.size());
  return lines.take();
}

}  // namespace deltaserve
