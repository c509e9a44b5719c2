#include "engine/grammar/look_ahead.h"

#include <algorithm>
#include <vector>

#include "engine/grammar/rule_nfa.h"
#include "models/base/text.h"

namespace deltaserve::grammar {
namespace {

using Op = Expression::Op;

ExprId any_text(RuleSet* rules) {
  return rules->repeat(rules->code_points({{0, kLastCodePoint}}), 0, kUnlimited);
}

const Expression& expression(const RuleSet& rules, ExprId id) {
  return rules.expressions()[id];
}

std::vector<ExprId> children_of(const RuleSet& rules, ExprId id) {
  const std::span<const ExprId> children = rules.children(expression(rules, id));
  return {children.begin(), children.end()};
}

bool contains(const RuleSet& rules, ExprId root, Op op) {
  std::vector<ExprId> pending{root};
  while (!pending.empty()) {
    const ExprId id = pending.back();
    pending.pop_back();
    if (expression(rules, id).op == op) return true;
    for (const ExprId child : rules.children(expression(rules, id))) pending.push_back(child);
  }
  return false;
}

absl::StatusOr<Dfa> dfa_of(ExprId body, RuleSet* rules) {
  const RuleId rule = rules->add_rule("look-ahead");
  rules->rule(rule).body = body;
  return rule_dfa(*rules, rule, rules->budget());
}

// Returns the parts of one alternative, in turn.
std::vector<ExprId> parts_of(const RuleSet& rules, ExprId alternative) {
  if (expression(rules, alternative).op == Op::kConcat) return children_of(rules, alternative);
  return {alternative};
}

// Goes from the last look-ahead to the first. What follows one is an automaton up to the end of the
// text, and the look-ahead selects some of its texts.
absl::StatusOr<ExprId> resolve(const std::vector<ExprId>& parts, bool search, RuleSet* rules) {
  const auto is_begin = [&](ExprId part) { return expression(*rules, part).op == Op::kTextBegin; };
  std::vector<ExprId> tail;  // from its end to its begin
  if (search) tail.push_back(any_text(rules));
  const auto joined = [&] {
    return rules->concat({std::vector<ExprId>(tail.rbegin(), tail.rend())});
  };
  for (size_t i = parts.size(); i-- > 0;) {
    if (expression(*rules, parts[i]).op != Op::kLookAhead) {
      tail.push_back(parts[i]);
      continue;
    }
    const bool at_begin =
        i > 0 && std::all_of(parts.begin(), parts.begin() + static_cast<ptrdiff_t>(i), is_begin);
    const ExprId rest = joined();
    const ExprId part = children_of(*rules, parts[i])[0];
    const bool has_begin =
        contains(*rules, rest, Op::kTextBegin) || contains(*rules, part, Op::kTextBegin);
    if (has_begin && !at_begin) {
      return invalid_argument(
          "'^' in or behind a look-ahead that is not at the begin is not "
          "supported");
    }
    absl::StatusOr<Dfa> following = dfa_of(rest, rules);
    if (!following.ok()) return following.status();
    absl::StatusOr<Dfa> ahead =
        dfa_of(rules->concat(std::vector<ExprId>{part, any_text(rules)}), rules);
    if (!ahead.ok()) return ahead.status();
    absl::StatusOr<Dfa> both = expression(*rules, parts[i]).min == 1
                                   ? intersect(*following, *ahead, rules->budget())
                                   : subtract(*following, *ahead, rules->budget());
    if (!both.ok()) return both.status();
    tail.assign(1, rules->dfa(minimize(*both, rules->budget())));
  }
  if (search) tail.push_back(any_text(rules));
  return joined();
}

}  // namespace

absl::StatusOr<ExprId> without_look_aheads(ExprId body, bool search, RuleSet* rules) {
  if (!contains(*rules, body, Op::kLookAhead)) {
    if (!search) return body;
    return rules->concat(std::vector<ExprId>{any_text(rules), body, any_text(rules)});
  }
  std::vector<ExprId> alternatives{body};
  if (expression(*rules, body).op == Op::kAlternate) alternatives = children_of(*rules, body);
  for (ExprId& alternative : alternatives) {
    absl::StatusOr<ExprId> resolved = resolve(parts_of(*rules, alternative), search, rules);
    if (!resolved.ok()) return resolved.status();
    alternative = *resolved;
  }
  return rules->alternate(alternatives);
}

}  // namespace deltaserve::grammar
