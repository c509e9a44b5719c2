#include "engine/grammar/expression.h"

#include <utility>

#include "engine/grammar/limits.h"
#include "models/base/text.h"

namespace deltaserve::grammar {

using Op = Expression::Op;

ExprId RuleSet::add(Expression e) {
  if (expressions_.size() >= grammar_limits::kExpressions) {
    too_many_expressions_ = true;
    return 0;
  }
  expressions_.push_back(e);
  return static_cast<ExprId>(expressions_.size() - 1);
}

ExprId RuleSet::add_with_children(Op op, std::span<const ExprId> children) {
  const auto begin = static_cast<uint32_t>(children_.size());
  children_.insert(children_.end(), children.begin(), children.end());
  return add({.op = op, .begin = begin, .size = static_cast<uint32_t>(children.size())});
}

ExprId RuleSet::literal(std::string_view bytes) {
  const auto begin = static_cast<uint32_t>(text_.size());
  text_ += bytes;
  return add({.op = Op::kLiteral, .begin = begin, .size = static_cast<uint32_t>(bytes.size())});
}

ExprId RuleSet::code_points(const CodePointSet& set) {
  const std::vector<CodePointRange> ranges = set.ranges();
  const auto begin = static_cast<uint32_t>(ranges_.size());
  ranges_.insert(ranges_.end(), ranges.begin(), ranges.end());
  return add({.op = Op::kCodePoints, .begin = begin, .size = static_cast<uint32_t>(ranges.size())});
}

ExprId RuleSet::concat(std::span<const ExprId> parts) {
  return parts.size() == 1 ? parts[0] : add_with_children(Op::kConcat, parts);
}

ExprId RuleSet::alternate(std::span<const ExprId> choices) {
  return choices.size() == 1 ? choices[0] : add_with_children(Op::kAlternate, choices);
}

ExprId RuleSet::repeat(ExprId part, uint32_t min, uint32_t max) {
  const auto begin = static_cast<uint32_t>(children_.size());
  children_.push_back(part);
  return add({.op = Op::kRepeat, .begin = begin, .size = 1, .min = min, .max = max});
}

ExprId RuleSet::separated(std::span<const ExprId> parts, const std::vector<bool>& optional,
                          ExprId separator) {
  const auto flags = static_cast<uint32_t>(optional_.size());
  optional_.insert(optional_.end(), optional.begin(), optional.end());
  const auto begin = static_cast<uint32_t>(children_.size());
  children_.insert(children_.end(), parts.begin(), parts.end());
  children_.push_back(separator);
  return add({.op = Op::kSeparated,
              .begin = begin,
              .size = static_cast<uint32_t>(parts.size() + 1),
              .min = flags});
}

ExprId RuleSet::call(RuleId rule) {
  return add({.op = Op::kRule, .begin = rule});
}

ExprId RuleSet::dfa(Dfa dfa) {
  dfas_.push_back(std::move(dfa));
  return add({.op = Op::kDfa, .begin = static_cast<uint32_t>(dfas_.size() - 1)});
}

ExprId RuleSet::text_begin() {
  return add({.op = Op::kTextBegin});
}
ExprId RuleSet::text_end() {
  return add({.op = Op::kTextEnd});
}
ExprId RuleSet::mark(uint32_t number) {
  return add({.op = Op::kMark, .begin = number});
}

ExprId RuleSet::look_ahead(ExprId part, bool follows) {
  const auto begin = static_cast<uint32_t>(children_.size());
  children_.push_back(part);
  return add({.op = Op::kLookAhead, .begin = begin, .size = 1, .min = follows ? 1u : 0u});
}

RuleId RuleSet::add_rule(std::string name) {
  rules_.push_back({.name = std::move(name)});
  return static_cast<RuleId>(rules_.size() - 1);
}

std::span<const ExprId> RuleSet::children(const Expression& e) const {
  switch (e.op) {
    case Op::kConcat:
    case Op::kAlternate:
    case Op::kRepeat:
    case Op::kLookAhead:
    case Op::kSeparated: return {children_.data() + e.begin, e.size};
    default: return {};
  }
}

std::span<const CodePointRange> RuleSet::ranges(const Expression& e) const {
  return {ranges_.data() + e.begin, e.size};
}

std::string_view RuleSet::text(const Expression& e) const {
  return std::string_view(text_).substr(e.begin, e.size);
}

absl::Status RuleSet::status() const {
  if (too_many_expressions_) {
    return invalid_argument("it has more than ", grammar_limits::kExpressions, " parts");
  }
  if (rules_.size() > grammar_limits::kRules) {
    return invalid_argument("it has more than ", grammar_limits::kRules, " rules");
  }
  return absl::OkStatus();
}

bool GroupStack::close() {
  if (groups_.size() == 1) return false;
  const ExprId group = end_group();
  groups_.pop_back();
  append(group);
  return true;
}

ExprId GroupStack::finish() {
  return end_group();
}

void GroupStack::next_alternative() {
  Group& group = groups_.back();
  group.alternatives.push_back(rules_->concat(group.sequence));
  group.sequence.clear();
}

void GroupStack::repeat_last(uint32_t min, uint32_t max) {
  ExprId& last = groups_.back().sequence.back();
  last = rules_->repeat(last, min, max);
}

void GroupStack::look_ahead_to_last(bool follows) {
  ExprId& last = groups_.back().sequence.back();
  last = rules_->look_ahead(last, follows);
}

ExprId GroupStack::end_group() {
  next_alternative();
  return rules_->alternate(groups_.back().alternatives);
}

}  // namespace deltaserve::grammar
