#include "engine/grammar/pushdown.h"

#include <algorithm>
#include <utility>

#include "engine/grammar/limits.h"
#include "engine/grammar/needs.h"
#include "engine/grammar/rule_nfa.h"
#include "engine/grammar/token_table.h"
#include "models/base/text.h"

namespace deltaserve::grammar {

// The stages of Pushdown::compile(), in their order.
class PushdownCompiler {
 public:
  PushdownCompiler(const RuleSet& rules, RuleId root, AutomatonBudget* budget)
      : rules_(rules), root_(root), budget_(budget) {}

  absl::StatusOr<Pushdown> compile() {
    for (const auto stage :
         {&PushdownCompiler::build_automata, &PushdownCompiler::refuse_left_recursion,
          &PushdownCompiler::keep_useful_states, &PushdownCompiler::fill_tables}) {
      if (absl::Status status = (this->*stage)(); !status.ok()) return status;
    }
    find_first_bytes();
    find_follow_bytes();
    find_alphabet();
    find_memory();
    return std::move(result_);
  }

 private:
  // Returns a state by its number in the whole grammar: those of part p begin at base_[p].
  const Dfa::State& state(uint32_t id) const {
    return automata_[part_of_[id]].states[id - base_[part_of_[id]]];
  }
  uint32_t id_of(uint32_t part, uint32_t local) const { return base_[part] + local; }
  const std::string& name_of(uint32_t part) const {
    return rules_.rules()[nfa_.parts[part].rule].name;
  }

  absl::Status build_automata() {
    absl::StatusOr<RuleNfa> nfa = build_rule_nfa(rules_, root_);
    if (!nfa.ok()) return nfa.status();
    nfa_ = std::move(*nfa);
    budget_->spend(nfa_.nfa.size());
    Determinizer determinizer(nfa_.nfa, budget_);
    for (const RuleNfa::Part& part : nfa_.parts) {
      absl::StatusOr<Dfa> dfa = determinizer.run(part.start, part.final);
      if (!dfa.ok()) return dfa.status();
      base_.push_back(static_cast<uint32_t>(part_of_.size()));
      part_of_.insert(part_of_.end(), dfa->states.size(), static_cast<uint32_t>(automata_.size()));
      automata_.push_back(*std::move(dfa));
    }
    return absl::OkStatus();
  }

  // Searches depth first along the calls at the starts of rules. It also counts, callees first, the
  // ways in which each rule may be entered.
  absl::Status refuse_left_recursion() {
    enum : uint8_t { kNew, kOpen, kDone };
    std::vector<uint8_t> mark(automata_.size(), kNew);
    entries_.assign(automata_.size(), 1);
    struct Visit {
      uint32_t part;
      size_t next_call;
    };
    for (uint32_t first = 0; first < automata_.size(); ++first) {
      if (mark[first] != kNew) continue;
      std::vector<Visit> path{{first, 0}};
      mark[first] = kOpen;
      while (!path.empty()) {
        const uint32_t part = path.back().part;
        const std::vector<Dfa::CallEdge>& calls = automata_[part].states[0].calls;
        if (path.back().next_call == calls.size()) {
          for (const Dfa::CallEdge& call : calls) entries_[part] += entries_[call.rule];
          entries_[part] = std::min(entries_[part], grammar_limits::kEntries + 1);
          mark[part] = kDone;
          callees_first_.push_back(part);
          path.pop_back();
          continue;
        }
        const uint32_t callee = calls[path.back().next_call++].rule;
        if (mark[callee] == kOpen) {
          return invalid_argument(
              "rule ", quoted(name_of(callee)),
              " is left-recursive: it may call itself before it reads anything");
        }
        if (mark[callee] == kNew) {
          mark[callee] = kOpen;
          path.push_back({callee, 0});
        }
      }
    }
    return absl::OkStatus();
  }

  uint32_t entry_need(uint32_t part) const { return need_[part_of_.size() + part]; }

  // Returns true if a call can be followed.
  bool is_useful(const Dfa::CallEdge& call, uint32_t part) const {
    return entry_need(call.rule) != kUseless && need_[id_of(part, call.target)] != kUseless;
  }

  absl::Status keep_useful_states() {
    need_ = find_needs(rules_, nfa_, automata_);
    if (need_[0] == kUseless) return invalid_argument("no text matches it");
    new_id_.assign(part_of_.size(), kNoState);
    const auto keep = [&](uint32_t id) {
      if (need_[id] == kUseless || new_id_[id] != kNoState) return;
      new_id_[id] = static_cast<StateId>(kept_.size());
      kept_.push_back(id);
    };
    keep(0);
    for (size_t i = 0; i < kept_.size(); ++i) {
      const uint32_t part = part_of_[kept_[i]];
      for (const Dfa::ByteEdge& edge : state(kept_[i]).bytes) keep(id_of(part, edge.target));
      for (const Dfa::CallEdge& call : state(kept_[i]).calls) {
        if (!is_useful(call, part)) continue;
        keep(base_[call.rule]);
        keep(id_of(part, call.target));
      }
    }
    return absl::OkStatus();
  }

  absl::Status fill_tables() {
    Pushdown& p = result_;
    p.classes_ = static_cast<size_t>(nfa_.nfa.byte_classes());
    if (kept_.size() * p.classes_ > grammar_limits::kTransitionCells) {
      return invalid_argument("its tables need more than ", grammar_limits::kTransitionCells,
                              " entries");
    }
    for (int byte = 0; byte < 256; ++byte) {
      p.class_of_[byte] = static_cast<uint8_t>(nfa_.nfa.class_of(static_cast<uint8_t>(byte)));
    }
    p.transitions_.assign(kept_.size() * p.classes_, kNoState);
    for (const RuleNfa::Part& part : nfa_.parts) {
      p.unique_key_.push_back(rules_.rules()[part.rule].unique_key);
    }
    p.first_call_.push_back(0);
    for (const uint32_t old : kept_) {
      if (absl::Status status = fill_state(old); !status.ok()) return status;
    }
    for (Pushdown::Call& call : p.calls_) {
      call.is_tail = p.accepting_[call.resume] && !p.goes_on_[call.resume];
    }
    return absl::OkStatus();
  }

  absl::Status fill_state(uint32_t old) {
    Pushdown& p = result_;
    const uint32_t part = part_of_[old];
    const size_t row = new_id_[old] * p.classes_;
    bool goes_on = false;
    for (const Dfa::ByteEdge& edge : state(old).bytes) {
      const StateId target = new_id_[id_of(part, edge.target)];
      if (target == kNoState) continue;
      goes_on = true;
      for (uint32_t byte = edge.first; byte <= edge.last; ++byte) {
        p.transitions_[row + p.class_of_[byte]] = target;
      }
    }
    size_t entries = 1;
    for (const Dfa::CallEdge& call : state(old).calls) {
      if (!is_useful(call, part)) continue;
      goes_on = true;
      p.calls_.push_back({.entry = new_id_[base_[call.rule]],
                          .resume = new_id_[id_of(part, call.target)],
                          .rule = static_cast<uint16_t>(call.rule),
                          .entry_need = static_cast<uint16_t>(entry_need(call.rule))});
      entries += entries_[call.rule];
    }
    if (entries > grammar_limits::kEntries) {
      return invalid_argument("rule ", quoted(name_of(part)), " is too ambiguous: at one place ",
                              "there are more than ", grammar_limits::kEntries,
                              " ways to enter others");
    }
    p.first_call_.push_back(static_cast<uint32_t>(p.calls_.size()));
    p.accepting_.push_back(state(old).accepting);
    p.goes_on_.push_back(goes_on);
    p.need_.push_back(static_cast<uint16_t>(need_[old]));
    p.rule_of_.push_back(static_cast<uint16_t>(part));
    return absl::OkStatus();
  }

  // Returns the bytes that `state` reads itself.
  ByteSet own_bytes(StateId s) const {
    ByteSet bytes;
    for (int byte = 0; byte < 256; ++byte) {
      if (result_.next(s, static_cast<uint8_t>(byte)) != kNoState) bytes.set(byte);
    }
    return bytes;
  }

  void find_first_bytes() {
    result_.first_.assign(automata_.size(), {});
    for (const uint32_t part : callees_first_) {
      const StateId entry = new_id_[base_[part]];
      if (entry != kNoState) result_.first_[part] = first_bytes(entry);
    }
  }

  ByteSet first_bytes(StateId s) const {
    ByteSet bytes = own_bytes(s);
    for (const Pushdown::Call& call : result_.calls(s)) bytes |= result_.first_[call.rule];
    return bytes;
  }

  void find_alphabet() {
    const size_t states = kept_.size();
    std::vector<ByteSet> own(states);
    std::vector<bool> in_name(states, false);  // of a control token
    std::vector<StateId> level;
    for (size_t s = 0; s < states; ++s) {
      own[s] = own_bytes(static_cast<StateId>(s));
      if (!own[s].all() && own[s][TokenTable::kControlByte]) {
        level.push_back(result_.next(static_cast<StateId>(s), TokenTable::kControlByte));
      }
    }
    for (size_t at = 1; at < control_name(0).size(); ++at) {
      std::vector<StateId> next;
      for (const StateId state : level) {
        if (in_name[state]) continue;
        in_name[state] = true;
        for (int byte = 0; byte < 256; ++byte) {
          if (own[state][byte]) next.push_back(result_.next(state, static_cast<uint8_t>(byte)));
        }
      }
      level = std::move(next);
    }
    for (size_t s = 0; s < states; ++s) {
      if (!own[s].all() && !in_name[s]) result_.alphabet_ |= own[s];
    }
    result_.alphabet_.reset(TokenTable::kControlByte);
  }

  void find_memory() {
    std::vector<const Rule*> rules;
    for (const RuleNfa::Part& part : nfa_.parts) rules.push_back(&rules_.rules()[part.rule]);
    std::vector<uint32_t> marks;
    for (const uint32_t old : kept_) marks.push_back(state(old).mark);
    result_.memory_ = RuleMemory::build(result_, rules, std::move(marks));
  }

  void find_follow_bytes() {
    std::vector<ByteSet>& follow = result_.follow_;
    follow.assign(automata_.size(), {});
    std::vector<std::vector<uint16_t>> inherits(automata_.size());  // by caller: callees at its end
    for (size_t s = 0; s < kept_.size(); ++s) {
      for (const Pushdown::Call& call : result_.calls(static_cast<StateId>(s))) {
        follow[call.rule] |= first_bytes(call.resume);
        if (result_.accepting(call.resume)) inherits[result_.rule_of_[s]].push_back(call.rule);
      }
    }
    std::vector<uint16_t> changed;
    for (size_t part = 0; part < automata_.size(); ++part) {
      changed.push_back(static_cast<uint16_t>(part));
    }
    while (!changed.empty()) {
      const uint16_t caller = changed.back();
      changed.pop_back();
      for (const uint16_t callee : inherits[caller]) {
        const ByteSet all = follow[callee] | follow[caller];
        if (all == follow[callee]) continue;
        follow[callee] = all;
        changed.push_back(callee);
      }
    }
  }

  const RuleSet& rules_;
  const RuleId root_;
  AutomatonBudget* budget_;
  RuleNfa nfa_;
  std::vector<Dfa> automata_;            // by part
  std::vector<uint32_t> base_;           // by part: the number of its start
  std::vector<uint32_t> part_of_;        // by state
  std::vector<size_t> entries_;          // by part: ways to enter it, itself included
  std::vector<uint32_t> callees_first_;  // parts, by the calls at their starts
  std::vector<uint32_t> need_;           // by state, then by part for its entry
  std::vector<StateId> new_id_;          // by state; kNoState where it is left out
  std::vector<uint32_t> kept_;           // states by their new id
  Pushdown result_;
};

absl::StatusOr<Pushdown> Pushdown::compile(const RuleSet& rules, RuleId root,
                                           AutomatonBudget* budget) {
  return PushdownCompiler(rules, root, budget).compile();
}

size_t Pushdown::bytes() const {
  const size_t state_bytes = sizeof first_call_[0] + sizeof need_[0] + sizeof rule_of_[0] +
                             sizeof(void*) + 1;  // and flags
  return sizeof *this + memory_.bytes() + transitions_.size() * sizeof transitions_[0] +
         calls_.size() * sizeof calls_[0] + states() * state_bytes +
         (first_.size() + follow_.size()) * sizeof(ByteSet);
}

}  // namespace deltaserve::grammar
