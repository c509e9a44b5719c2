#include <algorithm>
#include <array>
#include <optional>
#include <unordered_map>

#include "engine/grammar/dfa.h"
#include "engine/grammar/limits.h"
#include "models/base/text.h"

namespace deltaserve::grammar {
namespace {

constexpr uint32_t kDead = ~uint32_t{0};

using Row = std::array<uint32_t, 256>;  // targets by byte

Row row_of(const Dfa& dfa, uint32_t state) {
  Row row;
  row.fill(kDead);
  if (state == kDead) return row;
  for (const Dfa::ByteEdge& edge : dfa.states[state].bytes) {
    for (uint32_t byte = edge.first; byte <= edge.last; ++byte) row[byte] = edge.target;
  }
  return row;
}

// Adds a byte that is larger than all bytes of `edges`.
void append_byte(uint32_t byte, uint32_t target, std::vector<Dfa::ByteEdge>* edges) {
  if (!edges->empty() && edges->back().last + 1u == byte && edges->back().target == target) {
    edges->back().last = static_cast<uint8_t>(byte);
  } else {
    edges->push_back({static_cast<uint8_t>(byte), static_cast<uint8_t>(byte), target});
  }
}

bool accepting(const Dfa& dfa, uint32_t state) {
  return state != kDead && dfa.states[state].accepting;
}

// Returns the product automaton, which reads a text with both. With `minus` it accepts texts that a
// accepts and b does not.
absl::StatusOr<Dfa> product(const Dfa& a, const Dfa& b, bool minus, AutomatonBudget* budget) {
  struct Pair {
    uint32_t a;
    uint32_t b;
  };
  Dfa result;
  std::vector<Pair> pairs;
  std::unordered_map<uint64_t, uint32_t> ids;
  const auto id_of = [&](Pair pair) {
    const auto [position, added] =
        ids.try_emplace(uint64_t{pair.a} << 32 | pair.b, static_cast<uint32_t>(pairs.size()));
    if (added) pairs.push_back(pair);
    return position->second;
  };
  id_of({0, 0});
  for (uint32_t id = 0; id < pairs.size(); ++id) {
    if (pairs.size() > grammar_limits::kProductStates) {
      return invalid_argument("its conditions together need more than ",
                              grammar_limits::kProductStates, " states");
    }
    budget->spend(256);
    if (absl::Status status = budget->status(); !status.ok()) return status;
    const Pair pair = pairs[id];
    const Row row_a = row_of(a, pair.a);
    const Row row_b = row_of(b, pair.b);
    Dfa::State state;
    state.accepting = accepting(a, pair.a) && accepting(b, pair.b) != minus;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      if (row_a[byte] == kDead || (row_b[byte] == kDead && !minus)) continue;
      append_byte(byte, id_of({row_a[byte], row_b[byte]}), &state.bytes);
    }
    result.states.push_back(std::move(state));
  }
  return result;
}

// Adds the states that read JSON's escapes after the '\' of one state.
class Escaper {
 public:
  Escaper(Dfa* dfa, const Row& row) : dfa_(dfa), row_(row) {}

  // Returns the state after '\', or kDead if the row has no character that needs one.
  uint32_t build() {
    for (const uint8_t plain : {uint8_t{'"'}, uint8_t{'\\'}}) escape(plain, plain);
    escape('b', '\b');
    escape('f', '\f');
    escape('n', '\n');
    escape('r', '\r');
    escape('t', '\t');
    for (uint8_t control = 0; control < 0x20; ++control) escape_hex(control);
    return backslash_;
  }

 private:
  uint32_t backslash() {
    if (backslash_ == kDead) backslash_ = add_state();
    return backslash_;
  }

  uint32_t add_state() {
    dfa_->states.emplace_back();
    return static_cast<uint32_t>(dfa_->states.size() - 1);
  }

  void link(uint32_t from, char byte, uint32_t to) {
    dfa_->states[from].bytes.push_back(
        {static_cast<uint8_t>(byte), static_cast<uint8_t>(byte), to});
  }

  void escape(char letter, char character) {
    const uint32_t target = row_[static_cast<uint8_t>(character)];
    if (target != kDead) link(backslash(), letter, target);
  }

  void escape_hex(uint8_t control) {
    const bool has_letter = (control >= 8 && control <= 10) || control == 12 || control == 13;
    if (row_[control] == kDead || has_letter) return;
    if (zeros_ == kDead) {
      const uint32_t u = add_state();
      const uint32_t zero = add_state();
      zeros_ = add_state();
      link(backslash(), 'u', u);
      link(u, '0', zero);
      link(zero, '0', zeros_);
    }
    uint32_t& high = high_[control >> 4];
    if (high == kDead) {
      high = add_state();
      link(zeros_, static_cast<char>('0' + (control >> 4)), high);
    }
    link(high, "0123456789abcdef"[control & 15], row_[control]);
  }

  Dfa* dfa_;
  const Row& row_;
  uint32_t backslash_ = kDead;
  uint32_t zeros_ = kDead;  // after "\u00"
  std::array<uint32_t, 2> high_{kDead, kDead};
};

}  // namespace

absl::StatusOr<Dfa> intersect(const Dfa& a, const Dfa& b, AutomatonBudget* budget) {
  return product(a, b, false, budget);
}
absl::StatusOr<Dfa> subtract(const Dfa& a, const Dfa& b, AutomatonBudget* budget) {
  return product(a, b, true, budget);
}

Dfa json_escaped(const Dfa& content) {
  Dfa result;
  result.states.resize(content.states.size());
  for (uint32_t s = 0; s < content.states.size(); ++s) {
    const Row row = row_of(content, s);
    result.states[s].accepting = content.states[s].accepting;
    result.states[s].mark = content.states[s].mark;
    const uint32_t backslash = Escaper(&result, row).build();
    for (uint32_t byte = 0x20; byte < 256; ++byte) {
      const uint32_t target = byte == '\\' ? backslash : byte == '"' ? kDead : row[byte];
      if (target != kDead) append_byte(byte, target, &result.states[s].bytes);
    }
  }
  return result;
}

void mark_characters(uint32_t mark, Dfa* dfa) {
  // A state of a minimal automaton cannot be both between two characters and inside one, because
  // the bytes that may follow differ.
  for (Dfa::State& state : dfa->states) {
    const bool in_character =
        !state.bytes.empty() && std::all_of(state.bytes.begin(), state.bytes.end(), [](auto edge) {
          return edge.first >= 0x80 && edge.last < 0xC0;
        });
    state.mark = in_character ? 0 : mark;
  }
}

std::optional<size_t> longest_text(const Dfa& dfa) {
  // Removes states that no edge leads to, until there are none; states on a cycle stay.
  std::vector<size_t> incoming(dfa.states.size(), 0);
  std::vector<size_t> longest(dfa.states.size(), 0);
  for (const Dfa::State& state : dfa.states) {
    for (const Dfa::ByteEdge& edge : state.bytes) ++incoming[edge.target];
  }
  if (incoming[0] > 0) return std::nullopt;
  std::vector<uint32_t> ready{0};
  size_t removed = 0;
  for (; !ready.empty(); ++removed) {
    const uint32_t state = ready.back();
    ready.pop_back();
    for (const Dfa::ByteEdge& edge : dfa.states[state].bytes) {
      const bool begins_character = edge.first < 0x80 || edge.first >= 0xC0;
      longest[edge.target] =
          std::max(longest[edge.target], longest[state] + (begins_character ? 1 : 0));
      if (--incoming[edge.target] == 0) ready.push_back(edge.target);
    }
  }
  if (removed < dfa.states.size()) return std::nullopt;
  return *std::max_element(longest.begin(), longest.end());
}

namespace {

// Returns which states a text that is accepted may pass.
std::vector<bool> useful_states(const Dfa& dfa) {
  std::vector<std::vector<uint32_t>> sources(dfa.states.size());
  std::vector<bool> reached(dfa.states.size(), false), useful(dfa.states.size(), false);
  std::vector<uint32_t> pending{0};
  reached[0] = true;
  while (!pending.empty()) {
    const uint32_t state = pending.back();
    pending.pop_back();
    for (const Dfa::ByteEdge& edge : dfa.states[state].bytes) {
      sources[edge.target].push_back(state);
      if (!reached[edge.target]) pending.push_back(edge.target);
      reached[edge.target] = true;
    }
  }
  for (uint32_t state = 0; state < dfa.states.size(); ++state) {
    if (reached[state] && dfa.states[state].accepting) pending.push_back(state);
  }
  while (!pending.empty()) {
    const uint32_t state = pending.back();
    pending.pop_back();
    if (useful[state]) continue;
    useful[state] = true;
    pending.insert(pending.end(), sources[state].begin(), sources[state].end());
  }
  return useful;
}

}  // namespace

size_t num_texts(const Dfa& dfa, size_t most) {
  const std::vector<bool> useful = useful_states(dfa);
  if (!useful[0]) return 0;
  // Each text is a path. A state is ready once all states with an edge to it are done.
  std::vector<size_t> incoming(dfa.states.size(), 0), paths(dfa.states.size(), 0);
  for (uint32_t state = 0; state < dfa.states.size(); ++state) {
    if (!useful[state]) continue;
    for (const Dfa::ByteEdge& edge : dfa.states[state].bytes) ++incoming[edge.target];
  }
  if (incoming[0] > 0) return most;
  paths[0] = 1;
  std::vector<uint32_t> ready{0};
  size_t texts = 0, done = 0;
  for (; !ready.empty(); ++done) {
    const uint32_t state = ready.back();
    ready.pop_back();
    if (dfa.states[state].accepting) texts = std::min(most, texts + paths[state]);
    for (const Dfa::ByteEdge& edge : dfa.states[state].bytes) {
      if (!useful[edge.target]) continue;
      const size_t bytes = size_t{1} + edge.last - edge.first;
      paths[edge.target] = std::min(most, paths[edge.target] + paths[state] * bytes);
      if (--incoming[edge.target] == 0) ready.push_back(edge.target);
    }
  }
  // States on a cycle are never ready.
  const auto all = static_cast<size_t>(std::count(useful.begin(), useful.end(), true));
  return done < all ? most : texts;
}

// The states are the prefixes of the markers (Aho and Corasick): each is the longest one with which
// the bytes so far end.
Dfa bytes_without(const std::vector<std::string>& markers) {
  struct Prefix {
    std::array<uint32_t, 256> next;
    uint32_t fallback = 0;
    bool is_marker = false;
  };
  Prefix unlinked;
  unlinked.next.fill(kDead);
  std::vector<Prefix> prefixes{unlinked};
  for (const std::string& marker : markers) {
    uint32_t at = 0;
    for (const char c : marker) {
      const auto byte = static_cast<uint8_t>(c);
      if (prefixes[at].next[byte] == kDead) {
        prefixes[at].next[byte] = static_cast<uint32_t>(prefixes.size());
        prefixes.push_back(unlinked);
      }
      at = prefixes[at].next[byte];
    }
    prefixes[at].is_marker = true;
  }
  std::vector<uint32_t> shorter_first{0};
  for (size_t i = 0; i < shorter_first.size(); ++i) {
    const uint32_t at = shorter_first[i];
    for (uint32_t byte = 0; byte < 256; ++byte) {
      uint32_t& next = prefixes[at].next[byte];
      const uint32_t shorter = at == 0 ? 0 : prefixes[prefixes[at].fallback].next[byte];
      if (next == kDead) {
        next = shorter;
        continue;
      }
      prefixes[next].fallback = shorter;
      prefixes[next].is_marker = prefixes[next].is_marker || prefixes[shorter].is_marker;
      shorter_first.push_back(next);
    }
  }
  Dfa result;
  result.states.resize(prefixes.size());
  for (uint32_t s = 0; s < prefixes.size(); ++s) {
    result.states[s].accepting = !prefixes[s].is_marker;
    if (prefixes[s].is_marker) continue;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const uint32_t next = prefixes[s].next[byte];
      if (!prefixes[next].is_marker) append_byte(byte, next, &result.states[s].bytes);
    }
  }
  return result;
}

}  // namespace deltaserve::grammar
