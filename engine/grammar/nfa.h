// The nondeterministic (Thompson) automaton of rules, an intermediate step from expressions to
// deterministic automata.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace deltaserve::grammar {

class Nfa {
 public:
  struct Edge {
    enum class Kind : uint8_t { kEpsilon, kBytes, kCall, kTextBegin, kTextEnd };
    uint32_t source;
    uint32_t target;
    uint32_t rule = 0;  // with kCall
    Kind kind = Kind::kEpsilon;
    uint8_t first = 0;  // with kBytes, inclusive
    uint8_t last = 0;
  };

  // A mark is a number that the rule of the state gives a meaning (expression.h); 0 is none.
  uint32_t add_state(uint32_t mark = 0) {
    marks_.push_back(mark);
    return states_++;
  }
  uint32_t mark(uint32_t state) const { return marks_[state]; }
  void add(const Edge& edge) { edges_.push_back(edge); }
  size_t size() const { return edges_.size(); }
  uint32_t states() const { return states_; }

  // Prepares edges() and the classes; they may be used until the next add().
  void index_edges();
  std::span<const Edge> edges(uint32_t state) const {
    return {edges_.data() + first_[state], first_[state + 1] - first_[state]};
  }
  // Returns the number of byte classes: bytes that no edge tells apart are in one class; the
  // classes ascend with their bytes.
  int byte_classes() const { return classes_; }
  int class_of(uint8_t byte) const { return class_of_[byte]; }
  uint8_t first_byte(int byte_class) const { return first_byte_[byte_class]; }
  uint8_t last_byte(int byte_class) const {
    return byte_class + 1 == classes_ ? 255 : static_cast<uint8_t>(first_byte_[byte_class + 1] - 1);
  }

 private:
  uint32_t states_ = 0;
  std::vector<uint32_t> marks_;  // by state
  std::vector<Edge> edges_;
  std::vector<uint32_t> first_;  // by state, one more at the end
  std::array<uint8_t, 256> class_of_{};
  std::array<uint8_t, 256> first_byte_{};
  int classes_ = 1;
};

}  // namespace deltaserve::grammar
