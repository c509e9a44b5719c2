#include "engine/grammar/rule_memory.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "engine/grammar/limits.h"
#include "engine/grammar/pushdown.h"
#include "engine/grammar/stack_arena.h"

namespace deltaserve::grammar {
namespace {

constexpr uint32_t kFar = ~uint32_t{0} / 4;  // beyond every bound, and no sum of two overflows

// The ways from one state of a rule to others of it.
struct Way {
  StateId from;
  StateId to;
  bool calls_other = false;  // a call of a rule with `unique_key`
  bool calls = false;
};

}  // namespace

// Collects the states of one rule after the other.
class RuleMemory::Builder {
 public:
  Builder(const Pushdown& grammar, const std::vector<const Rule*>& rules,
          std::vector<uint32_t> marks)
      : grammar_(grammar), rules_(rules), marks_(std::move(marks)) {}

  RuleMemory build() {
    const auto remembers = [](const Rule* rule) {
      return rule->count || rule->members || rule->unique_key;
    };
    if (std::none_of(rules_.begin(), rules_.end(), remembers)) return {};
    memory_.states_.resize(grammar_.states());
    sources_.resize(grammar_.states());
    missing_.resize(grammar_.states());
    visited_.resize(grammar_.states());
    std::vector<std::vector<StateId>> states(rules_.size());
    for (size_t s = 0; s < grammar_.states(); ++s) {
      const auto state = static_cast<StateId>(s);
      states[grammar_.rule_of(state)].push_back(state);
    }
    for (size_t rule = 0; rule < rules_.size(); ++rule) {
      if (!remembers(rules_[rule]) || states[rule].empty()) continue;
      find_ways(states[rule]);
      for (const StateId state : states[rule]) memory_.states_[state].mark = marks_[state];
      if (rules_[rule]->count) add_count(*rules_[rule], states[rule]);
      if (rules_[rule]->members) add_members(*rules_[rule], states[rule]);
      if (rules_[rule]->unique_key) add_finite_keys(states[rule]);
    }
    return std::move(memory_);
  }

 private:
  void find_ways(const std::vector<StateId>& states) {
    ways_.clear();
    for (const StateId state : states) {
      StateId last = kNoState;
      for (int byte = 0; byte < 256; ++byte) {
        const StateId next = grammar_.next(state, static_cast<uint8_t>(byte));
        if (next != kNoState && next != last) ways_.push_back({state, next});
        last = next;
      }
      for (const Pushdown::Call& call : grammar_.calls(state)) {
        ways_.push_back({state, call.resume, grammar_.in_unique_key(call.entry), true});
      }
    }
    for (const StateId state : states) sources_[state].clear();
    for (const Way& way : ways_) sources_[way.to].push_back(way.from);
  }

  // Visits states backwards along the ways, in the order of how many marks are still to be passed.
  void add_count(const Rule& rule, const std::vector<StateId>& states) {
    std::deque<std::pair<StateId, uint32_t>> pending;
    for (const StateId state : states) {
      memory_.states_[state].distance = kFar;
      if (grammar_.accepting(state)) pending.emplace_back(state, 0);
    }
    CountRule counting{*rule.count};
    while (!pending.empty()) {
      const auto [state, distance] = pending.front();
      pending.pop_front();
      uint32_t& known = memory_.states_[state].distance;
      if (distance >= known) continue;
      known = distance;
      counting.farthest = std::max(counting.farthest, distance);
      for (const StateId source : sources_[state]) {
        if (marks_[state] != 0) {
          pending.emplace_back(source, distance + 1);
        } else {
          pending.emplace_front(source, distance);
        }
      }
    }
    std::vector<StateId> repeating;
    const auto repeat = [&](StateId state) {
      if (std::exchange(memory_.states_[state].may_repeat, true)) return;
      repeating.push_back(state);
    };
    for (const Way& way : ways_) {
      if (marks_[way.to] != 0) repeat(way.from);
    }
    while (!repeating.empty()) {
      const StateId state = repeating.back();
      repeating.pop_back();
      for (const StateId source : sources_[state]) repeat(source);
    }
    for (const StateId state : states) {
      memory_.states_[state].kind = Kind::kCount;
      memory_.states_[state].rule = static_cast<uint16_t>(memory_.counts_.size());
    }
    memory_.counts_.push_back(counting);
  }

  // Counts the keys from the last states to the first. States on a cycle, and those that lead to
  // one, have infinitely many keys.
  void add_finite_keys(const std::vector<StateId>& states) {
    std::vector<StateId> ready;
    for (const StateId state : states) {
      memory_.states_[state].distance = kFar;
      missing_[state] = 0;
    }
    for (const Way& way : ways_) ++missing_[way.from];
    for (const StateId state : states) {
      if (missing_[state] == 0) ready.push_back(state);
    }
    while (!ready.empty()) {
      const StateId state = ready.back();
      ready.pop_back();
      uint32_t keys = grammar_.accepting(state) ? 1 : 0;
      for (int byte = 0; byte < 256; ++byte) {
        const StateId next = grammar_.next(state, static_cast<uint8_t>(byte));
        if (next != kNoState) keys = std::min(keys + memory_.states_[next].distance, kFar - 1);
      }
      memory_.states_[state].distance = keys;
      memory_.states_[state].kind = Kind::kFiniteKey;
      for (const StateId source : sources_[state]) {
        if (--missing_[source] == 0) ready.push_back(source);
      }
    }
  }

  void add_members(const Rule& rule, const std::vector<StateId>& states) {
    MemberRule collecting{rule.members->count, {}, {}, kFar};
    const std::vector<bool>& required = rule.members->required;
    collecting.needs.assign(required.size() + 1, kFar);
    for (uint32_t member = 0; member < required.size(); ++member) {
      if (required[member]) collecting.required.push_back(member + 1);
    }
    for (const StateId state : states) {
      if (marks_[state] == 0) continue;
      uint32_t& need = collecting.needs[marks_[state]];
      need = std::min<uint32_t>(need, grammar_.need(state));
    }
    for (const StateId state : states) {
      for (const Pushdown::Call& call : grammar_.calls(state)) {
        const uint32_t need = std::max<uint32_t>(call.entry_need + 1, grammar_.need(call.resume));
        if (grammar_.in_unique_key(call.entry)) {
          collecting.other_need = std::min(collecting.other_need, need);
          collecting.other_entry = call.entry;
        } else if (marks_[call.resume] != 0) {
          uint32_t& known = collecting.needs[marks_[call.resume]];
          known = std::max(known, need);
        }
      }
    }
    for (const StateId state : states) look_ahead_from(state);
    for (const StateId state : states) {
      memory_.states_[state].kind = Kind::kMembers;
      memory_.states_[state].rule = static_cast<uint16_t>(memory_.members_.size());
    }
    memory_.members_.push_back(std::move(collecting));
  }

  // Looks ahead at the end of the bytes that must follow; the states of these bytes see the same.
  void look_ahead_from(StateId start) {
    std::vector<StateId> path{start};
    ++visit_;
    while (true) {
      const StateId state = path.back();
      visited_[state] = visit_;
      const auto [first, past] = ways_from(state);
      const bool one_way = past - first == 1 && !first->calls && marks_[first->to] == 0 &&
                           !grammar_.accepting(state);
      if (!one_way || visited_[first->to] == visit_ || has_looked(state)) break;
      path.push_back(first->to);
    }
    State& last = memory_.states_[path.back()];
    if (!has_looked(path.back())) look_ahead(path.back(), &last);
    for (const StateId state : path) {
      State& entry = memory_.states_[state];
      entry.always = last.always;
      entry.closes = last.closes;
      entry.others = last.others;
      entry.first = last.first;
      entry.past = last.past;
    }
  }

  bool has_looked(StateId state) const {
    const State& entry = memory_.states_[state];
    return entry.always || entry.closes || entry.others || entry.past > entry.first;
  }

  // Finds what may come next at a state, by bytes alone.
  void look_ahead(StateId start, State* entry) {
    entry->first = static_cast<uint32_t>(memory_.reachable_.size());
    std::vector<StateId> pending{start};
    ++visit_;
    visited_[start] = visit_;
    while (!pending.empty()) {
      const StateId state = pending.back();
      pending.pop_back();
      entry->closes = entry->closes || grammar_.accepting(state);
      const auto [first, past] = ways_from(state);
      for (const Way& way : std::span(first, past)) {
        if (marks_[way.to] != 0) {
          memory_.reachable_.push_back(marks_[way.to]);
        } else if (way.calls_other) {
          entry->others = true;
        } else if (way.calls) {
          entry->always = true;
        } else if (std::exchange(visited_[way.to], visit_) != visit_) {
          pending.push_back(way.to);
        }
      }
    }
    entry->past = static_cast<uint32_t>(memory_.reachable_.size());
  }

  std::pair<const Way*, const Way*> ways_from(StateId state) const {
    const auto [first, past] =
        std::equal_range(ways_.begin(), ways_.end(), Way{state, 0},
                         [](const Way& a, const Way& b) { return a.from < b.from; });
    return {ways_.data() + (first - ways_.begin()), ways_.data() + (past - ways_.begin())};
  }

  const Pushdown& grammar_;
  const std::vector<const Rule*>& rules_;
  const std::vector<uint32_t> marks_;
  std::vector<Way> ways_;                      // of the current rule, in the order of `from`
  std::vector<std::vector<StateId>> sources_;  // of the ways to each of its states
  std::vector<uint32_t> missing_;              // by state: ways whose ends are not known yet
  std::vector<uint32_t> visited_;              // by state: the last visit
  uint32_t visit_ = 0;
  RuleMemory memory_;
};

RuleMemory RuleMemory::build(const Pushdown& grammar, const std::vector<const Rule*>& rules,
                             std::vector<uint32_t> marks) {
  return Builder(grammar, rules, std::move(marks)).build();
}

bool RuleMemory::arrive_counting(StateId state, uint64_t note, uint64_t* arrived) const {
  const State& entry = states_[state];
  const MarkCount& bounds = counts_[entry.rule].bounds;
  *arrived = note + (entry.mark != 0 ? 1 : 0);
  if (!entry.may_repeat && *arrived < bounds.min) return false;
  return bounds.max == kUnlimited || *arrived + entry.distance <= bounds.max;
}

uint64_t RuleMemory::representative(StateId state, uint64_t note, size_t longest) const {
  if (kind(state) != Kind::kCount) return 0;
  const State& entry = states_[state];
  const CountRule& rule = counts_[entry.rule];
  const bool far_from_max =
      rule.bounds.max == kUnlimited || note + rule.farthest + longest <= rule.bounds.max;
  if (!far_from_max) return note;
  if (note >= rule.bounds.min) return rule.bounds.min;
  return note + longest < rule.bounds.min ? 0 : note;
}

size_t RuleMemory::missing(const MemberRule& rule, uint32_t list, uint32_t mark,
                           StackArena* arena) {
  return static_cast<size_t>(
      std::count_if(rule.required.begin(), rule.required.end(), [&](uint32_t required) {
        return required != mark && !arena->has_key(list, entry_of(required));
      }));
}

bool RuleMemory::admits_mark(const MemberRule& rule, uint32_t mark, uint32_t list, uint32_t depth,
                             StackArena* arena) const {
  if (depth + rule.needs[mark] > grammar_limits::kStackDepth) return false;
  if (arena->has_key(list, entry_of(mark))) return false;
  if (rule.bounds.max == kUnlimited) return true;
  return arena->key_count(list) + 1 + missing(rule, list, mark, arena) <= rule.bounds.max;
}

bool RuleMemory::admits(StateId state, uint32_t list, uint32_t depth, StackArena* arena) const {
  return admits_mark(members_[states_[state].rule], states_[state].mark, list, depth, arena);
}

bool RuleMemory::limits_others(StateId state) const {
  const MemberRule& rule = members_[states_[state].rule];
  return rule.bounds.max != kUnlimited || is_finite(rule.other_entry);
}

bool RuleMemory::is_finite(StateId state) const {
  return state != kNoState && kind(state) == Kind::kFiniteKey;
}

bool RuleMemory::has_key_left(const Pushdown& grammar, StateId state, uint64_t hash, uint32_t list,
                              StackArena* arena) const {
  if (!is_finite(state) || states_[state].distance > arena->key_count(list)) return true;
  // There are no more keys than the list has, so all of them can be tried.
  std::vector<std::pair<StateId, uint64_t>> pending{{state, hash}};
  while (!pending.empty()) {
    const auto [at, so_far] = pending.back();
    pending.pop_back();
    if (grammar.accepting(at) && !arena->has_key(list, so_far)) return true;
    for (int byte = 0; byte < 256; ++byte) {
      const StateId next = grammar.next(at, static_cast<uint8_t>(byte));
      if (next == kNoState) continue;
      pending.emplace_back(next, key_hash(so_far, static_cast<uint8_t>(byte)));
    }
  }
  return false;
}

bool RuleMemory::admits_other(const Pushdown& grammar, StateId state, uint32_t list,
                              StackArena* arena) const {
  const MemberRule& rule = members_[states_[state].rule];
  if (!has_key_left(grammar, rule.other_entry, 0, list, arena)) return false;
  if (rule.bounds.max == kUnlimited) return true;
  return arena->key_count(list) + 1 + missing(rule, list, 0, arena) <= rule.bounds.max;
}

bool RuleMemory::goes_on(const Pushdown& grammar, StateId state, uint32_t list, uint32_t depth,
                         StackArena* arena) const {
  const State& entry = states_[state];
  if (entry.always) return true;
  const MemberRule& rule = members_[entry.rule];
  if (entry.closes && arena->key_count(list) >= rule.bounds.min &&
      missing(rule, list, 0, arena) == 0) {
    return true;
  }
  if (entry.others && depth + rule.other_need <= grammar_limits::kStackDepth &&
      admits_other(grammar, state, list, arena)) {
    return true;
  }
  for (uint32_t i = entry.first; i < entry.past; ++i) {
    if (admits_mark(rule, reachable_[i], list, depth, arena)) return true;
  }
  return false;
}

size_t RuleMemory::bytes() const {
  size_t bytes = states_.size() * sizeof(State) + counts_.size() * sizeof(CountRule) +
                 reachable_.size() * sizeof reachable_[0];
  for (const MemberRule& rule : members_) {
    bytes += sizeof rule + (rule.required.size() + rule.needs.size()) * sizeof(uint32_t);
  }
  return bytes;
}

}  // namespace deltaserve::grammar
