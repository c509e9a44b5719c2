#include "models/tokenizer/json/expression_translator.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_format.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/tokenizer/json/expression_class.h"
#include "models/tokenizer/json/unicode.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve::tokenizer_json {
namespace {

constexpr int kGroupDepth = 64;
constexpr int kMaxRepeat = 65535;  // of PCRE2

struct Options {
  bool without_case = false;  // i
  bool dot_is_all = false;    // m
  bool extended = false;      // x
};

// Counts of a quantifier; `most` is -1 for no bound.
struct Interval {
  int least = 0;
  int most = 0;
};

std::string literal_text(char32_t code) {
  const bool plain = (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z') ||
                     (code >= '0' && code <= '9') || code == ' ';
  if (plain) return std::string(1, static_cast<char>(code));
  return absl::StrFormat("\\x{%x}", static_cast<uint32_t>(code));
}

bool is_quantifier(char32_t code) {
  return code == '*' || code == '+' || code == '?' || code == '{';
}

bool is_plain(char32_t code) {
  return code != 0 && std::u32string_view(U"\\[](){}.^$|*+?").find(code) == std::u32string::npos;
}

char32_t lower(char32_t code) {
  std::string text;
  append_lowercase(code, &text);
  return character_at(text, 0).code;
}

std::string any_case(char32_t code) {
  return class_text(with_all_cases(CodePointSet(code, code)));
}

class Translator {
 public:
  explicit Translator(std::u32string text) : in_{std::move(text)} {}

  absl::StatusOr<std::string> translate() {
    absl::Status status = read_alternatives({}, 0);
    if (status.ok() && !in_.done()) status = invalid_argument("a ) has no (");
    if (!status.ok()) return status;
    return std::move(out_);
  }

 private:
  // Reads up to the end of the group, whose bracket is not taken.
  absl::Status read_alternatives(Options options, int depth) {
    if (depth > kGroupDepth) return invalid_argument("groups are nested too deeply");
    while (!in_.done() && in_.peek() != ')') {
      if (out_.size() > limits::kExpressionBytes) return invalid_argument("it is too long");
      if (in_.take(U"|")) {
        out_ += '|';
        continue;
      }
      if (options.extended && skip_blank()) continue;
      std::string atom;
      absl::Status status = read_atom(&options, depth, &atom);
      if (status.ok()) status = read_quantifiers(&atom);
      if (!status.ok()) return status;
      out_ += atom;
    }
    return absl::OkStatus();
  }

  // Skips white space and comments under the option x.
  bool skip_blank() {
    if (is_space(in_.peek())) {
      ++in_.at;
      return true;
    }
    if (in_.peek() != '#') return false;
    while (!in_.done() && in_.peek() != '\n') ++in_.at;
    return true;
  }

  absl::Status read_atom(Options* options, int depth, std::string* atom) {
    const char32_t code = in_.text[in_.at++];
    switch (code) {
      case '(': return read_group(options, depth, atom);
      case '[': {
        auto set = read_class(&in_, options->without_case, 0);
        if (!set.ok()) return set.status();
        *atom = class_text(*set);
        return absl::OkStatus();
      }
      case '.': *atom = options->dot_is_all ? "(?s:.)" : "[^\\n]"; return absl::OkStatus();
      case '^': *atom = "^"; return absl::OkStatus();
      case '$': *atom = "$"; return absl::OkStatus();
      case '\\': return read_atom_escape(*options, atom);
      case '*':
      case '+':
      case '?': return invalid_argument("a quantifier has nothing to repeat");
      default: read_literal(code, *options, atom); return absl::OkStatus();
    }
  }

  absl::Status read_atom_escape(const Options& options, std::string* atom) {
    if (in_.take(U"A")) {
      *atom = "\\A";
    } else if (in_.take(U"z")) {
      *atom = "\\z";
    } else if (in_.take(U"Z")) {
      *atom = "\\Z";
    } else if (in_.take(U"R")) {
      *atom = "(?>\\r\\n|[\\n-\\r\\x{85}\\x{2028}\\x{2029}])";
    } else if (in_.take(U"b")) {
      const std::string word = class_text(word_set());
      *atom = str_cat("(?:(?<=", word, ")(?!", word, ")|(?<!", word, ")(?=", word, "))");
    } else if (in_.take(U"B")) {
      const std::string word = class_text(word_set());
      *atom = str_cat("(?:(?<=", word, ")(?=", word, ")|(?<!", word, ")(?!", word, "))");
    } else {
      auto escape = read_escape(&in_, /*in_class=*/false);
      if (!escape.ok()) return escape.status();
      if (escape->set) {
        *atom = class_text(*escape->set);
      } else {
        *atom = options.without_case ? any_case(escape->code) : literal_text(escape->code);
      }
    }
    return absl::OkStatus();
  }

  void read_literal(char32_t code, const Options& options, std::string* atom) {
    if (!options.without_case) {
      *atom = literal_text(code);
      return;
    }
    for (size_t size = 3; size >= 2; --size) {
      if (read_sequence(code, size, atom)) return;
    }
    *atom = any_case(code);
    const std::u32string_view sequence = case_sequence(code);
    if (sequence.empty()) return;
    std::string parts;
    for (const char32_t part : sequence) parts += any_case(part);
    *atom = str_cat("(?:", *atom, "|", parts, ")");
  }

  // Takes `size` characters, the first of which is `code`, if another character equals them under
  // (?i): (?i)ss matches U+00DF.
  bool read_sequence(char32_t code, size_t size, std::string* atom) {
    std::u32string sequence(1, lower(code));
    std::string parts = any_case(code);
    for (size_t i = 0; i + 1 < size; ++i) {
      const char32_t next = in_.peek(i);
      if (!is_plain(next)) return false;
      sequence.push_back(lower(next));
      parts += any_case(next);
    }
    if (is_quantifier(in_.peek(size - 1))) return false;
    const std::u32string others = characters_for_sequence(sequence);
    if (others.empty()) return false;
    in_.at += size - 1;
    CodePointSet set;
    for (const char32_t other : others) set.add({other, other});
    *atom = str_cat("(?:", parts, "|", class_text(with_all_cases(set)), ")");
    return true;
  }

  absl::Status read_group(Options* options, int depth, std::string* atom) {
    if (in_.peek() == '*') return invalid_argument("a group (* is not supported");
    if (!in_.take(U"?")) return read_group_body("(?:", *options, depth, atom);
    if (in_.take(U"#")) {
      const size_t end = in_.text.find(U')', in_.at);
      if (end == std::u32string::npos) return invalid_argument("a ( has no )");
      in_.at = end + 1;
      return absl::OkStatus();
    }
    for (const char32_t* kind : {U":", U"=", U"!", U">", U"<=", U"<!"}) {
      if (!in_.take(kind)) continue;
      std::string open = "(?";
      for (const char32_t* c = kind; *c != 0; ++c) open += static_cast<char>(*c);
      return read_group_body(open, *options, depth, atom);
    }
    if (in_.take(U"<")) {
      const size_t end = in_.text.find(U'>', in_.at);
      if (end == std::u32string::npos) return invalid_argument("the name of a group has no end");
      in_.at = end + 1;
      return read_group_body("(?:", *options, depth, atom);
    }
    return read_options(options, depth, atom);
  }

  // Reads the rest of a group and its end.
  absl::Status read_group_body(std::string_view open, Options options, int depth,
                               std::string* atom) {
    std::string before = std::move(out_);
    out_ = open;
    absl::Status status = read_alternatives(options, depth + 1);
    if (!status.ok()) return status;
    if (!in_.take(U")")) return invalid_argument("a ( has no )");
    *atom = std::move(out_) + ")";
    out_ = std::move(before);
    return absl::OkStatus();
  }

  // Reads (?i-m:...) or (?i-m), which holds for the rest of its group, later alternatives too.
  absl::Status read_options(Options* options, int depth, std::string* atom) {
    Options changed = *options;
    bool on = true;
    while (!in_.done() && in_.peek() != ')' && in_.peek() != ':') {
      const char32_t code = in_.text[in_.at++];
      if (code == '-') {
        on = false;
      } else if (code == 'i') {
        changed.without_case = on;
      } else if (code == 'm') {
        changed.dot_is_all = on;
      } else if (code == 'x') {
        changed.extended = on;
      } else {
        std::string name;
        append_character(code, &name);
        return invalid_argument("a group (?", name, " is not supported");
      }
    }
    if (in_.take(U":")) return read_group_body("(?:", changed, depth, atom);
    if (!in_.take(U")")) return invalid_argument("a ( has no )");
    std::string before = std::move(out_);
    out_ = "(?:";
    absl::Status status = read_alternatives(changed, depth + 1);
    if (!status.ok()) return status;
    *atom = std::move(out_) + ")";
    out_ = std::move(before);
    return absl::OkStatus();
  }

  // Applies the quantifiers after an atom to it. Several are nested: a{2}+ is (?:a{2})+.
  absl::Status read_quantifiers(std::string* atom) {
    for (bool first = true;; first = false) {
      std::string quantifier;
      bool fixed = false;
      if (in_.take(U"*")) {
        quantifier = "*";
      } else if (in_.take(U"+")) {
        quantifier = "+";
      } else if (in_.take(U"?")) {
        quantifier = "?";
      } else {
        const std::optional<Interval> interval = read_interval();
        if (!interval) return absl::OkStatus();
        if (interval->least > kMaxRepeat || interval->most > kMaxRepeat) {
          return invalid_argument("it repeats something more than ", kMaxRepeat, " times");
        }
        if (interval->most >= 0 && interval->most < interval->least) {
          return invalid_argument("the bounds of a quantifier have no order");
        }
        fixed = interval->least == interval->most;
        quantifier = interval->most < 0 ? str_cat("{", interval->least, ",}")
                                        : str_cat("{", interval->least, ",", interval->most, "}");
      }
      if (atom->empty()) return invalid_argument("a quantifier has nothing to repeat");
      const bool is_interval = quantifier[0] == '{';
      if (is_interval && fixed && in_.take(U"?")) {
        quantifier += ")?";
        *atom = "(?:" + *atom;
      } else if (in_.take(U"?")) {
        quantifier += "?";
      } else if (!is_interval && in_.take(U"+")) {
        quantifier += "+";
      }
      if (!first) *atom = str_cat("(?:", *atom, ")");
      *atom += quantifier;
    }
  }

  // Reads {n}, {n,}, {,m} or {n,m}; a brace that begins none of these is a character.
  std::optional<Interval> read_interval() {
    const size_t begin = in_.at;
    if (!in_.take(U"{")) return std::nullopt;
    const int least = read_number();
    const int most = in_.take(U",") ? read_number() : least;
    if (in_.take(U"}") && (least >= 0 || most >= 0)) return Interval{std::max(least, 0), most};
    in_.at = begin;
    return std::nullopt;
  }

  // Returns -1 if no digit follows.
  int read_number() {
    int value = -1;
    while (in_.peek() >= '0' && in_.peek() <= '9') {
      value = std::min(std::max(value, 0) * 10 + static_cast<int>(in_.peek() - '0'), 1 << 20);
      ++in_.at;
    }
    return value;
  }

  ExpressionText in_;
  std::string out_;
};

}  // namespace

absl::StatusOr<std::string> translate_expression(std::string_view ruby) {
  if (ruby.size() > limits::kExpressionSourceBytes) {
    return invalid_argument("it has more than ", limits::kExpressionSourceBytes, " bytes");
  }
  return Translator(characters_of(ruby)).translate();
}

}  // namespace deltaserve::tokenizer_json
