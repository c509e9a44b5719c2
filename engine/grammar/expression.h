// The common form of all kinds of grammar: rules whose bodies are expressions. Expressions are in
// one array, children before parents, so that no pass over them recurses.
#pragma once
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "engine/grammar/code_points.h"
#include "engine/grammar/dfa.h"

namespace deltaserve::grammar {

using ExprId = uint32_t;
using RuleId = uint32_t;

inline constexpr uint32_t kUnlimited = std::numeric_limits<uint32_t>::max();

struct Expression {
  enum class Op : uint8_t {
    kLiteral,     // text[begin, begin + size)
    kCodePoints,  // one character of the ranges [begin, begin + size)
    kConcat,      // all children [begin, begin + size) in turn
    kAlternate,   // one of the children; without any, no text matches
    kRepeat,      // children[begin], min to max times; max may be kUnlimited
    kSeparated,   // children except the last, in turn, some optional; the last separates them
    kRule,        // a call of rule `begin`
    kDfa,         // any text of dfas()[begin]
    kTextBegin,   // the empty text, at the beginning of the text only
    kTextEnd,
    kMark,  // the empty text; its place has the mark `begin`, see Rule
    // The empty text, where a text of the child follows (min 1) or does not (min 0). It exists only
    // while a regular expression is read.
    kLookAhead,
  };
  Op op;
  uint32_t begin = 0;
  uint32_t size = 0;
  uint32_t min = 0;
  uint32_t max = 0;
};

// Bounds on how often a text of a rule passes its marks.
struct MarkCount {
  uint32_t min = 0;
  uint32_t max = kUnlimited;
};

// The rule's mark i + 1 is passed when member i has been read, a property of an object for
// instance. No member may occur twice, and `required` ones must occur. The members may come in any
// order.
struct Members {
  std::vector<bool> required = {};  // by member
  MarkCount count = {};             // of all members, keys of a rule with `unique_key` included
};

struct Rule {
  std::string name;
  ExprId body = 0;
  // Is true if the rule must not be expanded in place: it has many callers, or it owns the keys
  // read.
  bool separate = false;
  // Is true if the text is a key of the calling rule's object: it may not occur twice in one call
  // of that rule, which must be `separate`. If that rule has `members`, the number of possible keys
  // may be finite; otherwise a key that has begun must be able to go on without end.
  bool unique_key = false;
  // A rule with `count` or `members` must be `separate`. The text after its last mark must not be
  // empty, because minimums are checked there. With `count` all marks are 1, and between two of
  // them there is only one way to go on.
  std::optional<MarkCount> count = std::nullopt;
  std::optional<Members> members = std::nullopt;
};

// The rules of a grammar while it is built. Expressions beyond the limit are dropped, and status()
// returns an error.
class RuleSet {
 public:
  ExprId literal(std::string_view bytes);
  ExprId code_points(const CodePointSet& set);
  ExprId concat(std::span<const ExprId> parts);
  ExprId alternate(std::span<const ExprId> choices);
  ExprId repeat(ExprId part, uint32_t min, uint32_t max);
  ExprId optional(ExprId part) { return repeat(part, 0, 1); }
  // Adds `parts` in turn with `separator` between two; optional[i] ones may be left out.
  ExprId separated(std::span<const ExprId> parts, const std::vector<bool>& optional,
                   ExprId separator);
  ExprId call(RuleId rule);
  ExprId dfa(Dfa dfa);
  ExprId text_begin();
  ExprId text_end();
  ExprId mark(uint32_t number);
  ExprId look_ahead(ExprId part, bool follows);

  RuleId add_rule(std::string name);
  Rule& rule(RuleId id) { return rules_[id]; }
  const std::vector<Rule>& rules() const { return rules_; }

  const std::vector<Expression>& expressions() const { return expressions_; }
  std::span<const ExprId> children(const Expression& e) const;
  std::span<const CodePointRange> ranges(const Expression& e) const;
  std::string_view text(const Expression& e) const;
  const Dfa& dfa_of(const Expression& e) const { return dfas_[e.begin]; }
  // Returns true if child i of a kSeparated may be left out.
  bool is_optional(const Expression& e, size_t child) const { return optional_[e.min + child]; }

  // Returns INVALID_ARGUMENT if a limit was passed.
  absl::Status status() const;
  // The budget of all automata that are built while these rules are compiled.
  AutomatonBudget* budget() { return &budget_; }

 private:
  ExprId add(Expression e);
  ExprId add_with_children(Expression::Op op, std::span<const ExprId> children);

  std::vector<Expression> expressions_;
  std::vector<ExprId> children_;
  std::vector<CodePointRange> ranges_;
  std::vector<Dfa> dfas_;
  std::vector<bool> optional_;
  std::string text_;
  std::vector<Rule> rules_;
  bool too_many_expressions_ = false;
  AutomatonBudget budget_;
};

// The groups that a parser has open: sequences and alternatives of regexes and of grammars.
class GroupStack {
 public:
  explicit GroupStack(RuleSet* rules) : rules_(rules) { open(); }

  void open() { groups_.emplace_back(); }
  // Ends the innermost group and appends it to the one around it; false when none is open.
  bool close();
  // Ends the outermost group.
  ExprId finish();
  void append(ExprId e) { groups_.back().sequence.push_back(e); }
  void next_alternative();
  void repeat_last(uint32_t min, uint32_t max);
  void look_ahead_to_last(bool follows);
  size_t depth() const { return groups_.size() - 1; }

 private:
  struct Group {
    std::vector<ExprId> alternatives;
    std::vector<ExprId> sequence;
  };
  ExprId end_group();

  RuleSet* rules_;
  std::vector<Group> groups_;
};

}  // namespace deltaserve::grammar
