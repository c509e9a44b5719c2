#include "engine/grammar/rule_nfa.h"

#include <utility>

#include "engine/grammar/limits.h"
#include "models/base/text.h"

namespace deltaserve::grammar {
namespace {

using Op = Expression::Op;
using Kind = Nfa::Edge::Kind;

class Builder {
 public:
  explicit Builder(const RuleSet& rules)
      : rules_(rules), inlined_(plan_inlining(rules)), part_of_(rules.rules().size(), kNoPart) {}

  absl::StatusOr<RuleNfa> build(RuleId root) {
    part(root);
    for (size_t i = 0; i < result_.parts.size(); ++i) {
      const RuleNfa::Part part = result_.parts[i];
      connect(rules_.rules()[part.rule].body, part.start, part.final);
      while (!pending_.empty() && !too_large_) {
        const Fragment fragment = pending_.back();
        pending_.pop_back();
        expand(fragment);
      }
      if (too_large_) return invalid_argument("its repetitions expand to too many states");
    }
    result_.nfa.index_edges();
    add_empty_calls();
    return std::move(result_);
  }

 private:
  static constexpr uint32_t kNoPart = ~uint32_t{0};

  // Work to do: `expr` is to be built between two states. It adds no edge into `from` and none out
  // of `to`, so that fragments may share their ends.
  struct Fragment {
    ExprId expr;
    uint32_t from;
    uint32_t to;
  };

  uint32_t part(RuleId rule) {
    if (part_of_[rule] == kNoPart) {
      part_of_[rule] = static_cast<uint32_t>(result_.parts.size());
      const uint32_t start = result_.nfa.add_state();
      result_.parts.push_back({rule, start, result_.nfa.add_state()});
    }
    return part_of_[rule];
  }

  // Returns false if `amount` more pieces of work would exceed the limit.
  bool spend(size_t amount) {
    spent_ += amount;
    too_large_ = too_large_ || spent_ > grammar_limits::kNfaEdges;
    return !too_large_;
  }

  void connect(ExprId expr, uint32_t from, uint32_t to) { pending_.push_back({expr, from, to}); }

  void add_edge(uint32_t from, uint32_t to, Kind kind = Kind::kEpsilon) {
    result_.nfa.add({.source = from, .target = to, .kind = kind});
  }

  void add_bytes(uint32_t from, uint32_t to, uint8_t first, uint8_t last) {
    result_.nfa.add(
        {.source = from, .target = to, .kind = Kind::kBytes, .first = first, .last = last});
  }

  uint32_t new_state() { return result_.nfa.add_state(); }

  void expand(const Fragment& f) {
    const Expression& e = rules_.expressions()[f.expr];
    if (!spend(1)) return;
    switch (e.op) {
      case Op::kLiteral: return add_literal(rules_.text(e), f);
      case Op::kCodePoints: return add_code_points(rules_.ranges(e), f);
      case Op::kConcat: return add_concat(rules_.children(e), f);
      case Op::kAlternate:
        if (!spend(e.size)) return;
        for (const ExprId child : rules_.children(e)) connect(child, f.from, f.to);
        return;
      case Op::kRepeat: return add_repeat(rules_.children(e)[0], e.min, e.max, f);
      case Op::kSeparated: return add_separated(e, f);
      case Op::kRule:
        if (inlined_[e.begin]) return connect(rules_.rules()[e.begin].body, f.from, f.to);
        return result_.nfa.add(
            {.source = f.from, .target = f.to, .rule = part(e.begin), .kind = Kind::kCall});
      case Op::kDfa: return add_dfa(rules_.dfa_of(e), f);
      case Op::kTextBegin: return add_edge(f.from, f.to, Kind::kTextBegin);
      case Op::kTextEnd: return add_edge(f.from, f.to, Kind::kTextEnd);
      case Op::kLookAhead: return;  // look_ahead.cc has replaced it
      case Op::kMark: return add_mark(e.begin, f);
    }
  }

  void add_literal(std::string_view bytes, const Fragment& f) {
    if (!spend(bytes.size())) return;
    uint32_t from = f.from;
    for (size_t i = 0; i < bytes.size(); ++i) {
      const uint32_t to = i + 1 == bytes.size() ? f.to : new_state();
      add_bytes(from, to, static_cast<uint8_t>(bytes[i]), static_cast<uint8_t>(bytes[i]));
      from = to;
    }
    if (bytes.empty()) add_edge(f.from, f.to);
  }

  void add_code_points(std::span<const CodePointRange> ranges, const Fragment& f) {
    for (const CodePointRange& range : ranges) {
      for (const Utf8Sequence& sequence : utf8_sequences(range)) {
        if (!spend(sequence.size)) return;
        uint32_t from = f.from;
        for (int i = 0; i < sequence.size; ++i) {
          const uint32_t to = i + 1 == sequence.size ? f.to : new_state();
          add_bytes(from, to, sequence.bytes[i].first, sequence.bytes[i].last);
          from = to;
        }
      }
    }
  }

  void add_concat(std::span<const ExprId> parts, const Fragment& f) {
    if (!spend(parts.size())) return;
    uint32_t from = f.from;
    for (size_t i = 0; i < parts.size(); ++i) {
      const uint32_t to = i + 1 == parts.size() ? f.to : new_state();
      connect(parts[i], from, to);
      from = to;
    }
    if (parts.empty()) add_edge(f.from, f.to);
  }

  void add_repeat(ExprId part, uint32_t min, uint32_t max, const Fragment& f) {
    const uint32_t copies = max == kUnlimited ? min : max;
    if (!spend(copies + 1)) return;
    uint32_t from = f.from;
    for (uint32_t i = 0; i < copies; ++i) {
      if (i >= min) add_edge(from, f.to);
      const uint32_t to = i + 1 == copies && max != kUnlimited ? f.to : new_state();
      connect(part, from, to);
      from = to;
    }
    if (max == kUnlimited) {
      const uint32_t loop = new_state();
      add_edge(from, loop);
      connect(part, loop, loop);
      add_edge(loop, f.to);
    } else if (copies == 0) {
      add_edge(f.from, f.to);
    }
  }

  // Builds two tracks: in `none` no part has been read yet, in `some` the next needs a separator.
  void add_separated(const Expression& e, const Fragment& f) {
    constexpr uint32_t kNone = ~uint32_t{0};
    const std::span<const ExprId> children = rules_.children(e);
    const size_t parts = children.size() - 1;
    if (!spend(3 * parts)) return;
    uint32_t none = f.from;
    uint32_t some = kNone;
    for (size_t i = 0; i < parts; ++i) {
      const uint32_t before = new_state();
      const uint32_t after = new_state();
      if (none != kNone) add_edge(none, before);
      if (some != kNone) connect(children[parts], some, before);
      connect(children[i], before, after);
      if (!rules_.is_optional(e, i)) {
        none = kNone;
      } else if (some != kNone) {
        add_edge(some, after);
      }
      some = after;
    }
    if (none != kNone) add_edge(none, f.to);
    if (some != kNone) add_edge(some, f.to);
  }

  void add_mark(uint32_t mark, const Fragment& f) {
    const uint32_t place = result_.nfa.add_state(mark);
    add_edge(f.from, place);
    add_edge(place, f.to);
  }

  void add_dfa(const Dfa& dfa, const Fragment& f) {
    const uint32_t first = result_.nfa.states();
    for (const Dfa::State& state : dfa.states) result_.nfa.add_state(state.mark);
    add_edge(f.from, first);
    for (uint32_t s = 0; s < dfa.states.size(); ++s) {
      const Dfa::State& state = dfa.states[s];
      if (!spend(1 + state.bytes.size())) return;
      for (const Dfa::ByteEdge& edge : state.bytes) {
        add_bytes(first + s, first + edge.target, edge.first, edge.last);
      }
      if (state.accepting) add_edge(first + s, f.to);
    }
  }

  // Finds the rules that match the empty text, and allows their calls to be skipped. Such a call
  // then reads at least one byte.
  void add_empty_calls() {
    Nfa& nfa = result_.nfa;
    std::vector<bool> reached(nfa.states(), false);  // from the start of its rule, without a byte
    std::vector<uint32_t> rule_of_final(nfa.states(), kNoPart);
    std::vector<std::vector<uint32_t>> waiting(result_.parts.size());  // targets of reached calls
    std::vector<uint32_t> pending;
    const auto reach = [&](uint32_t state) {
      if (reached[state]) return;
      reached[state] = true;
      pending.push_back(state);
    };
    for (uint32_t i = 0; i < result_.parts.size(); ++i) {
      rule_of_final[result_.parts[i].final] = i;
      reach(result_.parts[i].start);
    }
    while (!pending.empty()) {
      const uint32_t state = pending.back();
      pending.pop_back();
      if (const uint32_t rule = rule_of_final[state]; rule != kNoPart) {
        result_.parts[rule].nullable = true;
        for (const uint32_t target : waiting[rule]) reach(target);
      }
      for (const Nfa::Edge& edge : nfa.edges(state)) {
        if (edge.kind == Kind::kEpsilon) reach(edge.target);
        if (edge.kind != Kind::kCall) continue;
        waiting[edge.rule].push_back(edge.target);
        if (result_.parts[edge.rule].nullable) reach(edge.target);
      }
    }
    std::vector<Nfa::Edge> passes;
    for (uint32_t state = 0; state < nfa.states(); ++state) {
      for (const Nfa::Edge& edge : nfa.edges(state)) {
        const bool empty = edge.kind == Kind::kCall && result_.parts[edge.rule].nullable;
        if (empty) passes.push_back({.source = edge.source, .target = edge.target});
      }
    }
    for (const Nfa::Edge& edge : passes) nfa.add(edge);
    nfa.index_edges();
  }

  const RuleSet& rules_;
  const std::vector<bool> inlined_;
  std::vector<uint32_t> part_of_;  // by rule
  std::vector<Fragment> pending_;
  RuleNfa result_;
  size_t spent_ = 0;
  bool too_large_ = false;
};

}  // namespace

absl::StatusOr<RuleNfa> build_rule_nfa(const RuleSet& rules, RuleId root) {
  if (absl::Status status = rules.status(); !status.ok()) return status;
  return Builder(rules).build(root);
}

absl::StatusOr<Dfa> rule_dfa(const RuleSet& rules, RuleId rule, AutomatonBudget* budget) {
  absl::StatusOr<RuleNfa> nfa = build_rule_nfa(rules, rule);
  if (!nfa.ok()) return nfa.status();
  budget->spend(nfa->nfa.size());
  return Determinizer(nfa->nfa, budget).run(nfa->parts[0].start, nfa->parts[0].final);
}

}  // namespace deltaserve::grammar
