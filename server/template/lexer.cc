#include "server/template/lexer.h"

#include <algorithm>
#include <optional>

#include "models/base/text.h"
#include "server/template/number_parsing.h"
#include "server/template/unicode.h"

namespace deltaserve {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_name_character(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

std::optional<unsigned> hex_digit(char c) {
  if (is_digit(c)) return static_cast<unsigned>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<unsigned>(c - 'A' + 10);
  return std::nullopt;
}

// Returns the source with "\n" for all line ends and without one at the end.
std::string with_plain_line_ends(std::string_view source) {
  std::string plain;
  plain.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    plain.push_back(source[i] == '\r' ? '\n' : source[i]);
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (plain.ends_with('\n')) plain.pop_back();
  return plain;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  absl::StatusOr<std::vector<TemplateToken>> run() {
    while (status_.ok() && at_ < source_.size()) outside();
    add(TokenType::kEnd);
    if (!status_.ok()) return status_;
    return std::move(tokens_);
  }

 private:
  bool fail(std::string_view message) {
    if (status_.ok()) status_ = invalid_argument("chat template line ", line_, ": ", message);
    return false;
  }

  TemplateToken& add(TokenType type, std::string_view text = {}) {
    TemplateToken& token = tokens_.emplace_back();
    token.type = type;
    token.line = line_;
    token.text = text;
    return token;
  }

  std::string_view rest() const { return source_.substr(at_); }

  void advance_to(size_t place) {
    line_ +=
        static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                    source_.begin() + static_cast<std::ptrdiff_t>(place), '\n'));
    at_ = place;
  }

  size_t after_spaces(size_t place) const {
    return place + trimmed(source_.substr(place), true, false).begin;
  }

  // ---- Outside of tags

  size_t find_tag() const {
    for (size_t i = source_.find('{', at_); i != source_.npos; i = source_.find('{', i + 1)) {
      if (i + 1 < source_.size() && std::string_view("{%#").find(source_[i + 1]) != source_.npos)
        return i;
    }
    return source_.size();
  }

  char sign_at(size_t place) const {
    const char c = place < source_.size() ? source_[place] : '\0';
    return c == '-' || c == '+' ? c : '\0';
  }

  // Adds the data before a tag. '-' removes all white space before the tag; otherwise blocks and
  // comments that come first on their line remove the indentation.
  void add_data(size_t end, char sign, bool is_output) {
    std::string_view data = source_.substr(at_, end - at_);
    if (sign == '-') {
      data = data.substr(0, trimmed(data, false, true).end);
    } else if (sign != '+' && !is_output) {
      const size_t line = data.rfind('\n') + 1;  // 0 if there is no line end
      const bool blank = trimmed(data.substr(line), true, false).begin == data.size() - line;
      if ((line > 0 || line_begins_) && blank) data = data.substr(0, line);
    }
    if (!data.empty()) add(TokenType::kData, data);
    advance_to(end);
  }

  // Skips white space after the end of a tag: all of it with '-'; one line end after a block or
  // comment without a sign.
  void after_tag(size_t end, char sign, bool is_output) {
    if (sign == '-') {
      end = after_spaces(end);
    } else if (sign != '+' && !is_output && end < source_.size() && source_[end] == '\n') {
      ++end;
    }
    advance_to(end);
    line_begins_ = source_[end - 1] == '\n';
  }

  void outside() {
    const size_t tag = find_tag();
    if (tag == source_.size()) {
      add_data(tag, '+', true);
      return;
    }
    const char kind = source_[tag + 1];
    const char sign = sign_at(tag + 2);
    add_data(tag, sign, kind == '{');
    const size_t inside = tag + 2 + (sign == '\0' ? 0 : 1);
    if (kind == '#') {
      comment(inside);
    } else if (const size_t end = kind == '%' ? raw_begin_end(inside) : 0; end != 0) {
      raw(end);
    } else {
      add(kind == '{' ? TokenType::kOutputBegin : TokenType::kBlockBegin);
      advance_to(inside);
      tag_contents(kind == '{');
    }
  }

  void comment(size_t inside) {
    const size_t end = source_.find("#}", inside);
    if (end == source_.npos) {
      fail("a comment does not end");
      return;
    }
    after_tag(end + 2, end > inside ? sign_at(end - 1) : '\0', false);
  }

  // ---- {% raw %}

  // Returns the end of a tag that contains only `name` and whose inside begins at `inside`; 0 if it
  // is another tag. `*sign` receives the sign before its end.
  size_t plain_tag_end(size_t inside, std::string_view name, char* sign) const {
    size_t place = after_spaces(inside);
    if (!source_.substr(place).starts_with(name)) return 0;
    place = after_spaces(place + name.size());
    *sign = sign_at(place);
    if (*sign != '\0') ++place;
    return source_.substr(place).starts_with("%}") ? place + 2 : 0;
  }

  size_t raw_begin_end(size_t inside) const {
    char sign = '\0';
    const size_t end = plain_tag_end(inside, "raw", &sign);
    if (end == 0 || sign == '+') return 0;
    return sign == '-' ? after_spaces(end) : end;
  }

  void raw(size_t begin) {
    advance_to(begin);
    line_begins_ = source_[begin - 1] == '\n';
    for (size_t tag = source_.find("{%", begin); tag != source_.npos;
         tag = source_.find("{%", tag + 1)) {
      const char sign = sign_at(tag + 2);
      char end_sign = '\0';
      const size_t end = plain_tag_end(tag + 2 + (sign == '\0' ? 0 : 1), "endraw", &end_sign);
      if (end == 0) continue;
      add_data(tag, sign, false);
      after_tag(end, end_sign, false);
      return;
    }
    fail("a raw block does not end");
  }

  // ---- Inside of {{ }} and {% %}

  void tag_contents(bool is_output) {
    const std::string_view end_mark = is_output ? "}}" : "%}";
    brackets_.clear();
    while (status_.ok()) {
      advance_to(after_spaces(at_));
      if (at_ == source_.size()) {
        fail("a tag does not end");
        return;
      }
      if (brackets_.empty()) {
        const char sign = sign_at(at_);
        const bool signed_end = sign == '-' || (sign == '+' && !is_output);
        if (source_.substr(at_ + (signed_end ? 1 : 0)).starts_with(end_mark)) {
          add(is_output ? TokenType::kOutputEnd : TokenType::kBlockEnd);
          after_tag(at_ + 2 + (signed_end ? 1 : 0), signed_end ? sign : '\0', is_output);
          return;
        }
      }
      token();
    }
  }

  void token() {
    const char c = source_[at_];
    if (is_digit(c)) {
      number();
    } else if (const size_t end = name_end(); end > at_) {
      add(TokenType::kName, source_.substr(at_, end - at_));
      advance_to(end);
    } else if (c == '"' || c == '\'') {
      string(c);
    } else {
      operator_token();
    }
  }

  // Returns the end of a name that begins here; `at_` if there is none. Letters are Python's.
  size_t name_end() const {
    size_t end = at_;
    while (end < source_.size()) {
      const Character character = character_at(source_, end);
      const bool fits =
          character.code < 0x80 ? is_name_character(source_[end]) : is_alphabetic(character.code);
      if (!fits) break;
      end += character.bytes;
    }
    return end;
  }

  // Matches [0-9](_?[0-9])* and returns its end, or `place` if there is no digit.
  size_t after_digits(size_t place) const {
    size_t end = place;
    while (end < source_.size() &&
           (is_digit(source_[end]) || (source_[end] == '_' && end > place &&
                                       end + 1 < source_.size() && is_digit(source_[end + 1])))) {
      ++end;
    }
    return end;
  }

  // Returns the end of a float that begins here; 0 if it is not one. After a dot ("x.0.1") there
  // are only integers.
  size_t float_end() const {
    if (at_ > 0 && source_[at_ - 1] == '.') return 0;
    const size_t whole = after_digits(at_);
    size_t end = whole;
    if (end + 1 < source_.size() && source_[end] == '.' && is_digit(source_[end + 1])) {
      end = after_digits(end + 1);
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      const size_t digits = end + 1 + (sign_at(end + 1) == '\0' ? 0 : 1);
      if (after_digits(digits) > digits) end = after_digits(digits);
    }
    return end == whole ? 0 : end;
  }

  void number() {
    if (const size_t end = float_end(); end != 0) {
      add(TokenType::kFloat).real = parse_float(source_.substr(at_, end - at_)).value_or(0);
      advance_to(end);
      return;
    }
    int base = 10;
    if (source_[at_] == '0' && at_ + 1 < source_.size()) {
      const char letter = static_cast<char>(source_[at_ + 1] | 0x20);
      base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
    }
    size_t end = after_digits(at_);
    if (base != 10) {
      end = at_ + 2;
      while (end < source_.size() && (is_name_character(source_[end]))) ++end;
    }
    const std::string_view text = source_.substr(at_, end - at_);
    const bool leading_zero =
        base == 10 && text[0] == '0' && text.find_first_not_of("0_") != text.npos;
    WholeNumber value;
    if (leading_zero || parse_integer(text, base, &value) != NumberError::kNone) {
      fail(str_cat("the integer ", quoted(text), " is not valid"));
      return;
    }
    add(TokenType::kInteger).integer = constant_integer(value).data();
    advance_to(end);
  }

  void operator_token() {
    constexpr std::string_view kDouble[] = {"//", "**", "==", "!=", ">=", "<="};
    constexpr std::string_view kSingle = "+-*/%~[](){}<>=.:|,";
    std::string_view text = rest().substr(0, 2);
    if (std::find(std::begin(kDouble), std::end(kDouble), text) == std::end(kDouble)) {
      text = rest().substr(0, 1);
      if (kSingle.find(text[0]) == kSingle.npos) {
        fail(str_cat("unexpected character ",
                     quoted(rest().substr(0, character_at(rest(), 0).bytes))));
        return;
      }
    }
    if (text == "(" || text == "[" || text == "{") {
      brackets_.push_back(text == "(" ? ')' : text == "[" ? ']' : '}');
    } else if (text == ")" || text == "]" || text == "}") {
      if (brackets_.empty() || brackets_.back() != text[0]) {
        fail(str_cat("unexpected ", quoted(text)));
        return;
      }
      brackets_.pop_back();
    }
    add(TokenType::kOperator, text);
    advance_to(at_ + text.size());
  }

  // ---- Strings

  void string(char quote) {
    std::string text;
    size_t i = at_ + 1;
    while (i < source_.size() && source_[i] != quote) {
      if (source_[i] != '\\') {
        text.push_back(source_[i++]);
      } else if (!escape(&i, &text)) {
        return;
      }
    }
    if (i == source_.size()) {
      fail("a string does not end");
      return;
    }
    add(TokenType::kString, text);
    advance_to(i + 1);
  }

  // Reads the escape at `*place` as Python does: an unknown escape stays as it is.
  bool escape(size_t* place, std::string* text) {
    const size_t i = *place + 1;
    if (i == source_.size()) return fail("a string does not end");
    constexpr std::string_view kLetters = "nrtabfv\\'\"";
    constexpr std::string_view kMeanings = "\n\r\t\a\b\f\v\\'\"";
    const char c = source_[i];
    *place = i + 1;
    if (const size_t known = kLetters.find(c); known != kLetters.npos) {
      text->push_back(kMeanings[known]);
      return true;
    }
    switch (c) {
      case '\n': return true;
      case 'x': return code_escape(place, 2, text);
      case 'u': return code_escape(place, 4, text);
      case 'U': return code_escape(place, 8, text);
      case 'N': return fail("named characters in strings are not supported");
      default: break;
    }
    if (c >= '0' && c <= '7') {
      char32_t code = 0;
      size_t end = i;
      for (; end < source_.size() && end < i + 3 && source_[end] >= '0' && source_[end] <= '7';
           ++end) {
        code = code * 8 + static_cast<char32_t>(source_[end] - '0');
      }
      append_utf8(code, text);
      *place = end;
      return true;
    }
    text->push_back('\\');
    *place = i;
    return true;
  }

  bool code_escape(size_t* place, size_t digits, std::string* text) {
    uint64_t code = 0;
    for (size_t i = 0; i < digits; ++i, ++*place) {
      const auto digit = *place < source_.size() ? hex_digit(source_[*place]) : std::nullopt;
      if (!digit.has_value()) return fail("a character code in a string is cut short");
      code = code * 16 + *digit;
    }
    if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
      return fail("a character code in a string is no character");
    }
    append_utf8(static_cast<char32_t>(code), text);
    return true;
  }

  const std::string_view source_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_begins_ = true;  // the next data begins a line
  std::string brackets_;     // the closing brackets that are still to come
  std::vector<TemplateToken> tokens_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<std::vector<TemplateToken>> tokenize(std::string_view source) {
  const std::string plain = with_plain_line_ends(source);
  return Lexer(plain).run();
}

}  // namespace deltaserve
