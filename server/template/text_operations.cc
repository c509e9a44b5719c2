#include "server/template/text_operations.h"

#include <algorithm>
#include <cstring>

namespace deltaserve {
namespace {

constexpr size_t kNowhere = std::string_view::npos;

template <class Map>
TaintedText mapped(const TaintedText& text, const Map& map) {
  TaintedText result;
  append_mapped(
      text,
      [&](const Character& from, std::string* instead) {
        const char32_t to = map(from.code);
        if (to == from.code) return false;
        append_utf8(to, instead);
        return true;
      },
      &result);
  return result;
}

bool is_cased(char32_t code) {
  return to_upper(code) != code || to_lower(code) != code;
}

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
  return mapped(text, to_upper);
}

TaintedText lower(const TaintedText& text) {
  return mapped(text, to_lower);
}

TaintedText capitalize(const TaintedText& text) {
  bool first = true;
  return mapped(text, [&](char32_t code) {
    return std::exchange(first, false) ? to_upper(code) : to_lower(code);
  });
}

TaintedText title(const TaintedText& text) {
  bool inside = false;
  return mapped(text, [&](char32_t code) {
    return std::exchange(inside, is_cased(code)) ? to_lower(code) : to_upper(code);
  });
}

TaintedText title_words(const TaintedText& text) {
  bool begins = true;
  return mapped(text, [&](char32_t code) {
    return std::exchange(begins, begins_word(code)) ? to_upper(code) : to_lower(code);
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
