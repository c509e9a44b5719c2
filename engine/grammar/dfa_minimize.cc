// Minimization by partition refinement of states and of transitions at once; Valmari and Lehtinen,
// "Efficient minimization of DFAs with partial transition functions", STACS 2008. O(m log n).
#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "engine/grammar/dfa.h"

namespace deltaserve::grammar {
namespace {

// Limits the transitions of an automaton that is minimized; each takes about 40 bytes.
constexpr size_t kMinimizedTransitions = 1 << 20;

// The numbers 0 .. count - 1 in disjoint sets, each a range of `elements`. Sets are split by
// marking members.
class Partition {
 public:
  explicit Partition(uint32_t count)
      : elements_(count), place_(count), set_of_(count, 0), first_{0}, past_{count}, marked_{0} {
    std::iota(elements_.begin(), elements_.end(), 0u);
    std::iota(place_.begin(), place_.end(), 0u);
  }

  // Begins with one set per key.
  template <class Key>
  Partition(uint32_t count, const Key& key) : Partition(count) {
    std::stable_sort(elements_.begin(), elements_.end(),
                     [&](uint32_t a, uint32_t b) { return key(a) < key(b); });
    first_.clear();
    past_.clear();
    for (uint32_t i = 0; i < count; ++i) {
      if (i == 0 || key(elements_[i]) != key(elements_[i - 1])) {
        first_.push_back(i);
        past_.push_back(i);
      }
      past_.back() = i + 1;
      place_[elements_[i]] = i;
      set_of_[elements_[i]] = static_cast<uint32_t>(first_.size() - 1);
    }
    marked_.assign(first_.size(), 0);
  }

  uint32_t sets() const { return static_cast<uint32_t>(first_.size()); }
  uint32_t set_of(uint32_t element) const { return set_of_[element]; }
  std::vector<uint32_t> members(uint32_t set) const {
    return {elements_.begin() + first_[set], elements_.begin() + past_[set]};
  }

  void mark(uint32_t element) {
    const uint32_t set = set_of_[element];
    const uint32_t front = first_[set] + marked_[set];
    const uint32_t at = place_[element];
    if (at < front) return;
    elements_[at] = elements_[front];
    place_[elements_[at]] = at;
    elements_[front] = element;
    place_[element] = front;
    if (marked_[set]++ == 0) touched_.push_back(set);
  }

  // Splits every set with marked members; the smaller half becomes a new set.
  void split() {
    for (const uint32_t set : touched_) {
      const uint32_t middle = first_[set] + marked_[set];
      marked_[set] = 0;
      if (middle == past_[set]) continue;
      const uint32_t added = sets();
      if (middle - first_[set] <= past_[set] - middle) {
        first_.push_back(first_[set]);
        past_.push_back(middle);
        first_[set] = middle;
      } else {
        first_.push_back(middle);
        past_.push_back(past_[set]);
        past_[set] = middle;
      }
      marked_.push_back(0);
      for (uint32_t i = first_[added]; i < past_[added]; ++i) set_of_[elements_[i]] = added;
    }
    touched_.clear();
  }

 private:
  std::vector<uint32_t> elements_;
  std::vector<uint32_t> place_;
  std::vector<uint32_t> set_of_;
  std::vector<uint32_t> first_;   // by set
  std::vector<uint32_t> past_;    // by set
  std::vector<uint32_t> marked_;  // by set: how many of its first members
  std::vector<uint32_t> touched_;
};

struct Transition {
  uint32_t source;
  uint32_t label;  // a class of bytes, or 256 + rule
  uint32_t target;
};

// Returns the class of each byte. Bytes that no edge tells apart share a class.
std::array<uint8_t, 256> byte_classes(const Dfa& dfa) {
  std::array<bool, 257> begins{};
  for (const Dfa::State& state : dfa.states) {
    for (const Dfa::ByteEdge& edge : state.bytes) {
      begins[edge.first] = true;
      begins[edge.last + 1] = true;
    }
  }
  std::array<uint8_t, 256> classes{};
  for (int byte = 1; byte < 256; ++byte) {
    classes[byte] = static_cast<uint8_t>(classes[byte - 1] + begins[byte]);
  }
  return classes;
}

std::vector<Transition> transitions_of(const Dfa& dfa) {
  const std::array<uint8_t, 256> classes = byte_classes(dfa);
  std::vector<Transition> transitions;
  for (uint32_t s = 0; s < dfa.states.size(); ++s) {
    for (const Dfa::ByteEdge& edge : dfa.states[s].bytes) {
      for (uint32_t c = classes[edge.first]; c <= classes[edge.last]; ++c) {
        transitions.push_back({s, c, edge.target});
      }
    }
    for (const Dfa::CallEdge& edge : dfa.states[s].calls) {
      transitions.push_back({s, 256 + edge.rule, edge.target});
    }
  }
  return transitions;
}

// Builds an automaton with one state per block; the block of the old start comes first.
Dfa merge_blocks(const Dfa& dfa, const Partition& blocks) {
  const uint32_t start = blocks.set_of(0);
  const auto id = [&](uint32_t state) {
    const uint32_t block = blocks.set_of(state);
    return block == start ? 0 : block == 0 ? start : block;
  };
  Dfa result;
  result.states.resize(blocks.sets());
  for (uint32_t s = 0; s < dfa.states.size(); ++s) {
    Dfa::State& merged = result.states[id(s)];
    if (!merged.bytes.empty() || !merged.calls.empty()) continue;  // already filled
    merged.accepting = dfa.states[s].accepting;
    merged.mark = dfa.states[s].mark;
    for (const Dfa::ByteEdge& edge : dfa.states[s].bytes) {
      const uint32_t target = id(edge.target);
      const bool joins = !merged.bytes.empty() && merged.bytes.back().target == target &&
                         merged.bytes.back().last + 1 == edge.first;
      if (joins) {
        merged.bytes.back().last = edge.last;
      } else {
        merged.bytes.push_back({edge.first, edge.last, target});
      }
    }
    for (const Dfa::CallEdge& edge : dfa.states[s].calls) {
      merged.calls.push_back({edge.rule, id(edge.target)});
    }
  }
  return result;
}

}  // namespace

Dfa minimize(const Dfa& dfa, AutomatonBudget* budget) {
  const std::vector<Transition> transitions = transitions_of(dfa);
  if (transitions.empty() || transitions.size() > kMinimizedTransitions) return dfa;
  budget->spend(4 * transitions.size());
  const auto states = static_cast<uint32_t>(dfa.states.size());
  const auto count = static_cast<uint32_t>(transitions.size());
  std::vector<uint32_t> incoming(states + 1, 0);  // transitions by target
  std::vector<uint32_t> by_target(count);
  for (const Transition& t : transitions) ++incoming[t.target + 1];
  std::partial_sum(incoming.begin(), incoming.end(), incoming.begin());
  std::vector<uint32_t> next(incoming.begin(), incoming.end() - 1);
  for (uint32_t i = 0; i < count; ++i) by_target[next[transitions[i].target]++] = i;

  Partition blocks(
      states, [&](uint32_t s) { return std::pair(dfa.states[s].accepting, dfa.states[s].mark); });
  Partition cords(count, [&](uint32_t t) { return transitions[t].label; });
  uint32_t block = 1;
  for (uint32_t cord = 0; cord < cords.sets(); ++cord) {
    for (const uint32_t t : cords.members(cord)) blocks.mark(transitions[t].source);
    blocks.split();
    for (; block < blocks.sets(); ++block) {
      for (const uint32_t state : blocks.members(block)) {
        for (uint32_t i = incoming[state]; i < incoming[state + 1]; ++i) cords.mark(by_target[i]);
      }
      cords.split();
    }
  }
  return merge_blocks(dfa, blocks);
}

}  // namespace deltaserve::grammar
