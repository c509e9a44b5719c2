#include "engine/grammar/dfa.h"

#include <algorithm>

#include "engine/grammar/limits.h"
#include "models/base/cancellation.h"
#include "models/base/text.h"

namespace deltaserve::grammar {

using Kind = Nfa::Edge::Kind;

size_t Determinizer::StateSetHash::operator()(const StateSet& set) const {
  uint64_t hash = 14695981039346656037u;
  for (const uint32_t state : set) hash = (hash ^ state) * 1099511628211u;
  return hash;
}

absl::Status AutomatonBudget::status() const {
  constexpr uint64_t kStepsBetween = 256;  // or more, from one question for the status to the next
  if (left_ > 0) return check_wanted(kStepsBetween);
  return invalid_argument("its automata take too long to build");
}

Determinizer::Determinizer(const Nfa& nfa, AutomatonBudget* budget)
    : nfa_(nfa), budget_(budget), targets_(nfa.byte_classes()), visited_(nfa.states(), 0) {}

absl::Status Determinizer::check_budget() const {
  if (states_ + dfa_.states.size() > grammar_limits::kStates) {
    return invalid_argument("its automaton needs more than ", grammar_limits::kStates, " states");
  }
  return budget_->status();
}

absl::StatusOr<Dfa> Determinizer::run(uint32_t start, uint32_t final) {
  final_ = final;
  dfa_ = Dfa();
  ids_.clear();
  start_set_ = closure({start}, true);
  sets_ = {&start_set_};  // not in ids_: the text can begin only here
  dfa_.states.emplace_back();
  for (uint32_t id = 0; id < dfa_.states.size(); ++id) {
    expand(id);
    if (absl::Status status = check_budget(); !status.ok()) return status;
  }
  dfa_ = minimize(dfa_, budget_);
  states_ += dfa_.states.size();
  return std::move(dfa_);
}

Determinizer::StateSet Determinizer::closure(const StateSet& from, bool at_text_begin) {
  ++visit_;
  StateSet pending;
  StateSet result;
  for (const uint32_t state : from) {  // may name a state twice
    if (visited_[state] != visit_) pending.push_back(state);
    visited_[state] = visit_;
  }
  while (!pending.empty()) {
    const uint32_t state = pending.back();
    pending.pop_back();
    bool keep = state == final_ || nfa_.mark(state) != 0;
    for (const Nfa::Edge& edge : nfa_.edges(state)) {
      budget_->spend(1);
      const bool free =
          edge.kind == Kind::kEpsilon || (edge.kind == Kind::kTextBegin && at_text_begin);
      keep = keep || edge.kind == Kind::kBytes || edge.kind == Kind::kCall ||
             edge.kind == Kind::kTextEnd;
      if (!free || visited_[edge.target] == visit_) continue;
      visited_[edge.target] = visit_;
      pending.push_back(edge.target);
    }
    if (keep) result.push_back(state);
  }
  std::sort(result.begin(), result.end());
  return result;
}

bool Determinizer::accepts(const StateSet& set, bool at_text_begin) {
  ++visit_;
  StateSet pending;
  for (const uint32_t state : set) {
    if (state == final_) return true;
    for (const Nfa::Edge& edge : nfa_.edges(state)) {
      if (edge.kind == Kind::kTextEnd) pending.push_back(edge.target);
    }
  }
  while (!pending.empty()) {
    const uint32_t state = pending.back();
    pending.pop_back();
    if (state == final_) return true;
    if (visited_[state] == visit_) continue;
    visited_[state] = visit_;
    for (const Nfa::Edge& edge : nfa_.edges(state)) {
      budget_->spend(1);
      const bool free = edge.kind == Kind::kEpsilon || edge.kind == Kind::kTextEnd ||
                        (edge.kind == Kind::kTextBegin && at_text_begin);
      if (free) pending.push_back(edge.target);
    }
  }
  return false;
}

uint32_t Determinizer::id_of(StateSet set) {
  const auto [position, added] =
      ids_.try_emplace(std::move(set), static_cast<uint32_t>(dfa_.states.size()));
  if (added) {
    dfa_.states.emplace_back();
    sets_.push_back(&position->first);
  }
  return position->second;
}

void Determinizer::add_call(uint32_t rule, uint32_t target) {
  for (auto& [called, targets] : calls_) {
    if (called == rule) return targets.push_back(target);
  }
  calls_.push_back({rule, {target}});
}

void Determinizer::expand(uint32_t id) {
  for (StateSet& targets : targets_) targets.clear();
  calls_.clear();
  for (const uint32_t state : *sets_[id]) {
    for (const Nfa::Edge& edge : nfa_.edges(state)) {
      if (edge.kind == Kind::kCall) add_call(edge.rule, edge.target);
      if (edge.kind != Kind::kBytes) continue;
      const int last = nfa_.class_of(edge.last);
      for (int c = nfa_.class_of(edge.first); c <= last; ++c) targets_[c].push_back(edge.target);
      budget_->spend(last - nfa_.class_of(edge.first) + 1);
    }
  }
  budget_->spend(targets_.size() + calls_.size() * calls_.size());
  dfa_.states[id].accepting = accepts(*sets_[id], id == 0);
  for (const uint32_t state : *sets_[id]) {
    dfa_.states[id].mark = std::max(dfa_.states[id].mark, nfa_.mark(state));
  }
  std::vector<Dfa::ByteEdge> bytes;
  for (int c = 0; c < nfa_.byte_classes(); ++c) {
    if (targets_[c].empty()) continue;
    if (!bytes.empty() && c > 0 && targets_[c] == targets_[c - 1]) {
      bytes.back().last = nfa_.last_byte(c);
    } else {
      bytes.push_back({nfa_.first_byte(c), nfa_.last_byte(c), id_of(closure(targets_[c], false))});
    }
  }
  std::vector<Dfa::CallEdge> calls;
  for (const auto& [rule, targets] : calls_)
    calls.push_back({rule, id_of(closure(targets, false))});
  dfa_.states[id].bytes = std::move(bytes);
  dfa_.states[id].calls = std::move(calls);
}

}  // namespace deltaserve::grammar
