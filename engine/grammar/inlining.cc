// Decides which rules are worth expanding in place: those that do not call themselves and whose
// copies at all their uses stay small. The masks of states without open rules do not depend on the
// stack.
#include <algorithm>
#include <cstdint>

#include "engine/grammar/limits.h"
#include "engine/grammar/rule_nfa.h"

namespace deltaserve::grammar {
namespace {

using Op = Expression::Op;

constexpr uint64_t kHuge = uint64_t{1} << 40;  // larger sums and products become this

uint64_t capped(uint64_t value) {
  return std::min(value, kHuge);
}

uint64_t copies(const Expression& e) {
  if (e.op != Op::kRepeat) return 1;
  return e.max == kUnlimited ? uint64_t{e.min} + 1 : std::max(e.max, 1u);
}

class Planner {
 public:
  explicit Planner(const RuleSet& rules)
      : rules_(rules), count_(rules.rules().size()), callees_(count_), callers_(count_) {
    find_calls();
  }

  std::vector<bool> plan() {
    const std::vector<RuleId> order = callees_first();
    std::vector<uint64_t> size(count_, 1);
    for (const RuleId rule : order) size[rule] = body_size(rule, size);
    std::vector<bool> inlined(count_, false);
    std::vector<uint64_t> uses(count_, 0);
    // Callers come after their callees in `order`. Going backwards, all uses of a rule are known
    // when it is reached.
    for (const RuleId rule : cyclic_) add_uses(rule, 1, &uses);
    for (size_t i = order.size(); i-- > 0;) {
      const RuleId rule = order[i];
      const bool small =
          capped(size[rule] * std::max<uint64_t>(uses[rule], 1)) <= grammar_limits::kInlineStates;
      inlined[rule] = small && !rules_.rules()[rule].separate;
      add_uses(rule, inlined[rule] ? uses[rule] : 1, &uses);
    }
    return inlined;
  }

 private:
  struct Call {
    RuleId callee;
    uint64_t times;  // number of copies of the call in the caller's automaton
  };

  // Visits the expressions under a rule's body, parents first, with their number of copies.
  template <class Visit>
  void walk(RuleId rule, const Visit& visit) const {
    std::vector<std::pair<ExprId, uint64_t>> pending{{rules_.rules()[rule].body, 1}};
    while (!pending.empty()) {
      const auto [id, times] = pending.back();
      pending.pop_back();
      const Expression& e = rules_.expressions()[id];
      visit(e, times);
      for (const ExprId child : rules_.children(e)) {
        pending.emplace_back(child, capped(times * copies(e)));
      }
    }
  }

  void find_calls() {
    for (RuleId rule = 0; rule < count_; ++rule) {
      walk(rule, [&](const Expression& e, uint64_t times) {
        if (e.op != Op::kRule) return;
        callees_[rule].push_back({e.begin, times});
        callers_[e.begin].push_back(rule);
      });
    }
  }

  // Returns the rules in an order in which callees precede callers. Rules on cycles, and those
  // between two cycles, go to cyclic_ instead.
  std::vector<RuleId> callees_first() {
    std::vector<bool> above =
        peel([&](RuleId r) { return callers_[r]; }, [&](RuleId r) { return callee_ids(r); });
    std::vector<size_t> missing(count_, 0);
    std::vector<RuleId> ready;
    for (RuleId rule = 0; rule < count_; ++rule) missing[rule] = callees_[rule].size();
    std::vector<bool> below =
        peel([&](RuleId r) { return callee_ids(r); }, [&](RuleId r) { return callers_[r]; });
    std::vector<RuleId> order;
    const auto settle = [&](RuleId rule) {
      for (const RuleId caller : callers_[rule]) {
        if (--missing[caller] == 0) ready.push_back(caller);
      }
    };
    for (RuleId rule = 0; rule < count_; ++rule) {
      if (!above[rule] && !below[rule]) cyclic_.push_back(rule);
      if (missing[rule] == 0) ready.push_back(rule);
    }
    for (const RuleId rule : cyclic_) settle(rule);
    while (!ready.empty()) {
      const RuleId rule = ready.back();
      ready.pop_back();
      if (!above[rule] && !below[rule]) continue;
      order.push_back(rule);
      settle(rule);
    }
    return order;
  }

  // Removes rules whose `needed` rules are all removed, until there are none.
  template <class Needed, class Freed>
  std::vector<bool> peel(const Needed& needed, const Freed& freed) const {
    std::vector<bool> removed(count_, false);
    std::vector<size_t> missing(count_);
    std::vector<RuleId> ready;
    for (RuleId rule = 0; rule < count_; ++rule) {
      missing[rule] = needed(rule).size();
      if (missing[rule] == 0) ready.push_back(rule);
    }
    while (!ready.empty()) {
      const RuleId rule = ready.back();
      ready.pop_back();
      removed[rule] = true;
      for (const RuleId other : freed(rule)) {
        if (--missing[other] == 0) ready.push_back(other);
      }
    }
    return removed;
  }

  std::vector<RuleId> callee_ids(RuleId rule) const {
    std::vector<RuleId> ids;
    for (const Call& call : callees_[rule]) ids.push_back(call.callee);
    return ids;
  }

  uint64_t body_size(RuleId rule, const std::vector<uint64_t>& size) const {
    uint64_t total = 0;
    walk(rule, [&](const Expression& e, uint64_t times) {
      uint64_t own = 1;
      if (e.op == Op::kLiteral) own = e.size;
      if (e.op == Op::kCodePoints) own = uint64_t{e.size} * 4;
      if (e.op == Op::kDfa) own = rules_.dfa_of(e).states.size();
      if (e.op == Op::kRule && !rules_.rules()[e.begin].separate) own = size[e.begin];
      total = capped(total + capped(times * own));
    });
    return total;
  }

  void add_uses(RuleId rule, uint64_t times, std::vector<uint64_t>* uses) const {
    for (const Call& call : callees_[rule]) {
      (*uses)[call.callee] = capped((*uses)[call.callee] + capped(times * call.times));
    }
  }

  const RuleSet& rules_;
  const size_t count_;
  std::vector<std::vector<Call>> callees_;
  std::vector<std::vector<RuleId>> callers_;
  std::vector<RuleId> cyclic_;
};

}  // namespace

std::vector<bool> plan_inlining(const RuleSet& rules) {
  return Planner(rules).plan();
}

}  // namespace deltaserve::grammar
