#include "engine/grammar/regex_parser.h"

#include <optional>
#include <utility>

#include "engine/grammar/cursor.h"
#include "engine/grammar/limits.h"
#include "engine/grammar/look_ahead.h"
#include "engine/grammar/rule_nfa.h"
#include "kernels/base/check.h"

namespace deltaserve::grammar {
namespace {

const CodePointSet& digits() {
  static const CodePointSet set{{'0', '9'}};
  return set;
}

const CodePointSet& word() {
  static const CodePointSet set{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
  return set;
}

const CodePointSet& space() {  // ECMAScript's WhiteSpace and LineTerminator
  static const CodePointSet set{
      {0x09, 0x0D},     {0x20, 0x20},     {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
      {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
  return set;
}

const CodePointSet& line_ends() {
  static const CodePointSet set{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};
  return set;
}

CodePointSet one(uint32_t code_point) {
  return {{code_point, code_point}};
}

// A character or a class such as \d.
struct Atom {
  CodePointSet set;
  std::optional<uint32_t> character;
};

class RegexParser {
 public:
  RegexParser(std::string_view source, RuleSet* rules)
      : cursor_(source), rules_(rules), groups_(rules) {}

  absl::StatusOr<ExprId> parse() {
    while (!cursor_.at_end()) {
      if (absl::Status status = parse_next(); !status.ok()) return status;
    }
    if (groups_.depth() > 0) return cursor_.error("a '(' is not closed");
    return groups_.finish();
  }

 private:
  absl::Status parse_next() {
    const char next = cursor_.peek();
    if (next == '(') return open_group();
    if (next == ')') {
      if (!groups_.close()) return cursor_.error("')' without '('");
      const bool ends_look_ahead = look_ahead_ && groups_.depth() == 0;
      if (ends_look_ahead) groups_.look_ahead_to_last(*std::exchange(look_ahead_, std::nullopt));
      return advance(1, !ends_look_ahead);
    }
    if (next == '|') {
      groups_.next_alternative();
      return advance(1, false);
    }
    if (next == '^' || next == '$') {
      groups_.append(next == '^' ? rules_->text_begin() : rules_->text_end());
      return advance(1, false);
    }
    if (next == '*' || next == '+' || next == '?') return quantify(next);
    if (next == '{' && is_counted()) return quantify(next);
    return parse_atom();
  }

  absl::Status advance(size_t bytes, bool repeatable) {
    cursor_.go_to(cursor_.position() + bytes);
    repeatable_ = repeatable;
    return absl::OkStatus();
  }

  absl::Status open_group() {
    if (groups_.depth() >= grammar_limits::kNesting) {
      return cursor_.error("groups are nested deeper than ", grammar_limits::kNesting);
    }
    if (cursor_.starts_with("(?=") || cursor_.starts_with("(?!")) return open_look_ahead();
    if (cursor_.starts_with("(?<=") || cursor_.starts_with("(?<!")) {
      return cursor_.error("look-behind is not supported");
    }
    if (cursor_.starts_with("(?P=")) return cursor_.error("back-references are not supported");
    groups_.open();
    repeatable_ = false;
    if (cursor_.take("(?:")) return absl::OkStatus();
    if (cursor_.take("(?P<") || cursor_.take("(?<")) return skip_group_name();
    if (cursor_.starts_with("(?")) {
      return cursor_.error(
          "this kind of group is not supported: only (...), (?:...), (?<name>...)");
    }
    cursor_.take("(");
    return absl::OkStatus();
  }

  absl::Status open_look_ahead() {
    if (groups_.depth() > 0) return cursor_.error("look-ahead in a group is not supported");
    look_ahead_ = cursor_.starts_with("(?=");
    groups_.open();
    return advance(3, false);
  }

  absl::Status skip_group_name() {
    size_t size = 0;
    for (; std::isalnum(static_cast<unsigned char>(cursor_.peek())) || cursor_.peek() == '_';
         ++size) {
      cursor_.take_code_point();
    }
    if (size == 0 || !cursor_.take(">")) return cursor_.error("a group name must be [A-Za-z0-9_]+");
    return absl::OkStatus();
  }

  // Returns true if '{' begins a quantifier; otherwise it is a character.
  bool is_counted() {
    Cursor ahead = cursor_;
    ahead.take("{");
    if (ahead.take(",")) return ahead.take_number().has_value() && ahead.take("}");
    if (!ahead.take_number()) return false;
    if (ahead.take(",")) ahead.take_number();
    return ahead.take("}");
  }

  absl::Status quantify(char kind) {
    if (!repeatable_) return cursor_.error("nothing to repeat");
    uint32_t min = kind == '+' ? 1 : 0;
    uint32_t max = kind == '?' ? 1 : kUnlimited;
    if (kind == '{') {
      if (absl::Status status = parse_counts(&min, &max); !status.ok()) return status;
    } else {
      cursor_.take_code_point();
    }
    if (cursor_.peek() == '+') return cursor_.error("possessive quantifiers are not supported");
    cursor_.take("?");  // lazy: the language is the same
    groups_.repeat_last(min, max);
    repeatable_ = false;
    return absl::OkStatus();
  }

  absl::Status parse_counts(uint32_t* min, uint32_t* max) {
    const Cursor begin = cursor_;
    cursor_.take("{");
    if (cursor_.peek() == ',') {
      return begin.error("{,n} means different things in different dialects: write {0,n}");
    }
    *min = cursor_.take_number().value_or(0);
    *max = *min;
    if (cursor_.take(",")) *max = cursor_.take_number().value_or(kUnlimited);
    cursor_.take("}");
    if (*max < *min) return begin.error("{m,n} with m > n");
    const bool large = *min > grammar_limits::kRepetitions ||
                       (*max > grammar_limits::kRepetitions && *max != kUnlimited);
    if (large) return begin.error("more than ", grammar_limits::kRepetitions, " repetitions");
    return absl::OkStatus();
  }

  absl::Status parse_atom() {
    absl::StatusOr<CodePointSet> set = CodePointSet();
    if (cursor_.take("[")) {
      set = parse_class();
    } else if (cursor_.take(".")) {
      set = line_ends().negated();
    } else {
      absl::StatusOr<Atom> atom = parse_character(false);
      if (!atom.ok()) return atom.status();
      set = std::move(atom->set);
    }
    if (!set.ok()) return set.status();
    groups_.append(rules_->code_points(*set));
    repeatable_ = true;
    return absl::OkStatus();
  }

  // Parses a class; the '[' has been read.
  absl::StatusOr<CodePointSet> parse_class() {
    const bool negated = cursor_.take("^");
    if (cursor_.peek() == ']') return cursor_.error("an empty class: write \\] for a ']' in it");
    CodePointSet set;
    while (!cursor_.take("]")) {
      if (cursor_.at_end()) return cursor_.error("a '[' is not closed");
      absl::StatusOr<Atom> atom = parse_character(true);
      if (!atom.ok()) return atom.status();
      const bool is_range = cursor_.peek() == '-' && cursor_.peek(1) != ']';
      if (!is_range) {
        set.add(atom->set);
        continue;
      }
      cursor_.take("-");
      if (cursor_.at_end()) return cursor_.error("a '[' is not closed");
      absl::StatusOr<Atom> last = parse_character(true);
      if (!last.ok()) return last.status();
      if (!atom->character || !last->character) {
        return cursor_.error("a range must be between two characters");
      }
      if (*atom->character > *last->character) return cursor_.error("a range is out of order");
      set.add(*atom->character, *last->character);
    }
    return negated ? set.negated() : set;
  }

  absl::StatusOr<Atom> parse_character(bool in_class) {
    if (cursor_.peek() == '\\') return parse_escape(in_class);
    const uint32_t code_point = cursor_.take_code_point();
    return Atom{one(code_point), code_point};
  }

  absl::StatusOr<Atom> parse_escape(bool in_class) {
    const Cursor begin = cursor_;
    cursor_.take("\\");
    if (cursor_.at_end()) return begin.error("a '\\' at the end");
    const uint32_t letter = cursor_.take_code_point();
    switch (letter) {
      case 'd': return Atom{digits(), {}};
      case 'D': return Atom{digits().negated(), {}};
      case 'w': return Atom{word(), {}};
      case 'W': return Atom{word().negated(), {}};
      case 's': return Atom{space(), {}};
      case 'S': return Atom{space().negated(), {}};
      case 't': return Atom{one('\t'), '\t'};
      case 'n': return Atom{one('\n'), '\n'};
      case 'r': return Atom{one('\r'), '\r'};
      case 'f': return Atom{one('\f'), '\f'};
      case 'v': return Atom{one('\v'), '\v'};
      case 'x': return hex_escape(begin, 2);
      case 'u': return hex_escape(begin, 4);
      case 'p':
      case 'P': return begin.error("\\p is not supported");
      case 'b':
        if (in_class) return Atom{one('\b'), '\b'};
        return begin.error("\\b is not supported");
      default: break;
    }
    const bool digit_follows = std::isdigit(static_cast<unsigned char>(cursor_.peek()));
    if (letter == '0' && !digit_follows) return Atom{one(0), 0};
    if (letter >= '0' && letter <= '9') return begin.error("back-references are not supported");
    if ((letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z')) {
      return begin.error("\\", std::string(1, static_cast<char>(letter)), " is not supported");
    }
    return Atom{one(letter), letter};
  }

  absl::StatusOr<Atom> hex_escape(const Cursor& begin, int digits) {
    const std::optional<uint32_t> code_point = cursor_.take_hex(digits);
    if (!code_point) return begin.error("needs ", digits, " hexadecimal digits");
    if (is_surrogate(*code_point)) return begin.error("a surrogate is no character");
    return Atom{one(*code_point), *code_point};
  }

  Cursor cursor_;
  RuleSet* rules_;
  GroupStack groups_;
  bool repeatable_ = false;         // whether a quantifier may follow
  std::optional<bool> look_ahead_;  // while one is open: whether its text must follow
};

}  // namespace

absl::StatusOr<ExprId> parse_regex(std::string_view source, RuleSet* rules, bool search) {
  if (source.size() > grammar_limits::kSourceBytes) {
    return invalid_argument("longer than ", grammar_limits::kSourceBytes, " bytes");
  }
  if (!is_utf8(source)) return invalid_argument("not UTF-8");
  absl::StatusOr<ExprId> body = RegexParser(source, rules).parse();
  if (!body.ok()) return body.status();
  return without_look_aheads(*body, search, rules);
}

absl::StatusOr<Dfa> regex_dfa(std::string_view source, AutomatonBudget* budget, bool search) {
  RuleSet rules;
  absl::StatusOr<ExprId> body = parse_regex(source, &rules, search);
  if (!body.ok()) return body.status();
  const RuleId rule = rules.add_rule("regex");
  rules.rule(rule).body = *body;
  return rule_dfa(rules, rule, budget);
}

ExprId builtin_regex(std::string_view source, RuleSet* rules) {
  absl::StatusOr<ExprId> expr = parse_regex(source, rules);
  DS_CHECK(expr.ok());
  return *expr;
}

}  // namespace deltaserve::grammar
