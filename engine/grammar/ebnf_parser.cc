#include "engine/grammar/ebnf_parser.h"

#include <map>
#include <optional>
#include <string>

#include "engine/grammar/cursor.h"
#include "engine/grammar/limits.h"

namespace deltaserve::grammar {
namespace {

bool begins_name(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) || c == '_';
}
bool continues_name(char c) {
  return begins_name(c) || std::isdigit(static_cast<unsigned char>(c)) || c == '-';
}

void skip_name(Cursor* cursor) {
  while (continues_name(cursor->peek())) cursor->take_code_point();
}

// Skips spaces, ends of lines and comments.
void skip_space(Cursor* cursor) {
  while (!cursor->at_end()) {
    const char c = cursor->peek();
    if (c == '#') {
      while (!cursor->at_end() && cursor->peek() != '\n') cursor->take_code_point();
    } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      cursor->take_code_point();
    } else {
      return;
    }
  }
}

class EbnfParser {
 public:
  EbnfParser(std::string_view source, RuleSet* rules)
      : source_(source), cursor_(source), rules_(rules) {}

  absl::StatusOr<RuleId> parse() {
    skip_space();
    while (!cursor_.at_end()) {
      if (absl::Status status = parse_rule(); !status.ok()) return status;
    }
    for (const auto& [name, entry] : names_) {
      if (!entry.defined) return invalid_argument("rule ", quoted(name), " is not defined");
    }
    const auto root = names_.find("root");
    if (root == names_.end()) return invalid_argument("there is no rule 'root'");
    return root->second.rule;
  }

 private:
  struct Entry {
    RuleId rule;
    bool defined = false;
  };

  std::string_view take_name() {
    const size_t begin = cursor_.position();
    skip_name(&cursor_);
    return source_.substr(begin, cursor_.position() - begin);
  }

  void skip_space() { grammar::skip_space(&cursor_); }

  bool at_next_rule() const {
    if (!begins_name(cursor_.peek())) return false;
    Cursor ahead = cursor_;
    skip_name(&ahead);
    grammar::skip_space(&ahead);
    return ahead.starts_with("::=");
  }

  Entry& entry(std::string_view name) {
    const auto [position, added] = names_.try_emplace(std::string(name));
    if (added) position->second.rule = rules_->add_rule(std::string(name));
    return position->second;
  }

  absl::Status parse_rule() {
    if (!begins_name(cursor_.peek())) return cursor_.error("a rule must begin with its name");
    const Cursor begin = cursor_;
    const std::string name(take_name());
    skip_space();
    if (!cursor_.take("::=")) return cursor_.error("'::=' expected after ", quoted(name));
    Entry& defined = entry(name);
    if (defined.defined) return begin.error("rule ", quoted(name), " is defined twice");
    defined.defined = true;
    const RuleId rule = defined.rule;
    if (rules_->rules().size() > grammar_limits::kRules) return rules_->status();

    GroupStack groups(rules_);
    repeatable_ = false;
    for (skip_space(); !cursor_.at_end() && !at_next_rule(); skip_space()) {
      if (absl::Status status = parse_next(&groups); !status.ok()) return status;
    }
    if (groups.depth() > 0) return cursor_.error("a '(' is not closed");
    rules_->rule(rule).body = groups.finish();
    return absl::OkStatus();
  }

  absl::Status parse_next(GroupStack* groups) {
    const char next = cursor_.peek();
    if (begins_name(next)) {
      groups->append(rules_->call(entry(take_name()).rule));
      repeatable_ = true;
      return absl::OkStatus();
    }
    switch (next) {
      case '"': return parse_literal(groups);
      case '[': return parse_class(groups);
      case '.': groups->append(rules_->code_points({{0, kLastCodePoint}})); return advance(true);
      case '(':
        if (groups->depth() >= grammar_limits::kNesting) {
          return cursor_.error("groups are nested deeper than ", grammar_limits::kNesting);
        }
        groups->open();
        return advance(false);
      case ')':
        if (!groups->close()) return cursor_.error("')' without '('");
        return advance(true);
      case '|': groups->next_alternative(); return advance(false);
      case '*': return quantify(groups, 0, kUnlimited);
      case '+': return quantify(groups, 1, kUnlimited);
      case '?': return quantify(groups, 0, 1);
      case '{': return parse_counts(groups);
      default: return cursor_.error("unexpected ", quoted(source_.substr(cursor_.position(), 1)));
    }
  }

  absl::Status advance(bool repeatable) {
    cursor_.take_code_point();
    repeatable_ = repeatable;
    return absl::OkStatus();
  }

  absl::Status quantify(GroupStack* groups, uint32_t min, uint32_t max) {
    if (!repeatable_) return cursor_.error("nothing to repeat");
    groups->repeat_last(min, max);
    return advance(false);
  }

  // {m} {m,} {m,n} {,n}
  absl::Status parse_counts(GroupStack* groups) {
    const Cursor begin = cursor_;
    cursor_.take("{");
    skip_space();
    const std::optional<uint32_t> min = cursor_.take_number();
    std::optional<uint32_t> max = min;
    skip_space();
    if (cursor_.take(",")) {
      skip_space();
      max = cursor_.take_number();
      skip_space();
    } else if (!min) {
      return begin.error("{m}, {m,} or {m,n} expected");
    }
    if (cursor_.peek() != '}') return begin.error("{m}, {m,} or {m,n} expected");
    if (!min && !max) return begin.error("{m}, {m,} or {m,n} expected");
    if (max && *max < min.value_or(0)) return begin.error("{m,n} with m > n");
    if (std::max(min.value_or(0), max.value_or(0)) > grammar_limits::kRepetitions) {
      return begin.error("more than ", grammar_limits::kRepetitions, " repetitions");
    }
    return quantify(groups, min.value_or(0), max.value_or(kUnlimited));
  }

  absl::Status parse_literal(GroupStack* groups) {
    const Cursor begin = cursor_;
    cursor_.take("\"");
    std::string text;
    while (!cursor_.take("\"")) {
      if (cursor_.at_end()) return begin.error("the '\"' is not closed");
      absl::StatusOr<uint32_t> code_point = parse_character();
      if (!code_point.ok()) return code_point.status();
      append_utf8(*code_point, &text);
    }
    groups->append(rules_->literal(text));
    repeatable_ = true;
    return absl::OkStatus();
  }

  absl::Status parse_class(GroupStack* groups) {
    const Cursor begin = cursor_;
    cursor_.take("[");
    const bool negated = cursor_.take("^");
    CodePointSet set;
    while (!cursor_.take("]")) {
      if (cursor_.at_end()) return begin.error("the '[' is not closed");
      absl::StatusOr<uint32_t> first = parse_character();
      if (!first.ok()) return first.status();
      absl::StatusOr<uint32_t> last = first;
      if (cursor_.peek() == '-' && cursor_.peek(1) != ']' && cursor_.peek(1) != '\0') {
        cursor_.take("-");
        last = parse_character();
        if (!last.ok()) return last.status();
      }
      if (*first > *last) return cursor_.error("a range is out of order");
      set.add(*first, *last);
    }
    groups->append(rules_->code_points(negated ? set.negated() : set));
    repeatable_ = true;
    return absl::OkStatus();
  }

  absl::StatusOr<uint32_t> parse_character() {
    if (cursor_.peek() != '\\') return cursor_.take_code_point();
    const Cursor begin = cursor_;
    cursor_.take("\\");
    if (cursor_.at_end()) return begin.error("a '\\' at the end");
    const uint32_t letter = cursor_.take_code_point();
    switch (letter) {
      case 'n': return '\n';
      case 'r': return '\r';
      case 't': return '\t';
      case 'x': return hex_escape(begin, 2);
      case 'u': return hex_escape(begin, 4);
      case 'U': return hex_escape(begin, 8);
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^': return letter;
      default: return begin.error("unknown escape");
    }
  }

  absl::StatusOr<uint32_t> hex_escape(const Cursor& begin, int digits) {
    const std::optional<uint32_t> code_point = cursor_.take_hex(digits);
    if (!code_point) return begin.error("needs ", digits, " hexadecimal digits");
    if (is_surrogate(*code_point) || *code_point > kLastCodePoint) {
      return begin.error("this is no character");
    }
    return *code_point;
  }

  std::string_view source_;
  Cursor cursor_;
  RuleSet* rules_;
  std::map<std::string, Entry, std::less<>> names_;
  bool repeatable_ = false;  // whether a quantifier may follow
};

}  // namespace

absl::StatusOr<RuleId> parse_ebnf(std::string_view source, RuleSet* rules) {
  if (source.size() > grammar_limits::kSourceBytes) {
    return invalid_argument("longer than ", grammar_limits::kSourceBytes, " bytes");
  }
  if (!is_utf8(source)) return invalid_argument("not UTF-8");
  return EbnfParser(source, rules).parse();
}

}  // namespace deltaserve::grammar
