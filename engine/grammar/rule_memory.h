// RuleMemory has the tables for what a rule remembers of the text that it has read, besides the
// state: how often it has passed its mark, which members it has read, or its key (expression.h,
// Rule). A stack keeps that in its note. Large counts and members in any order would need far too
// many states.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/grammar/expression.h"

namespace deltaserve::grammar {

// Returns the hash of a key by one more byte (FNV-1a). 0 is that of a key of which nothing was
// read.
inline uint64_t key_hash(uint64_t hash, uint8_t byte) {
  hash = ((hash == 0 ? 14695981039346656037u : hash) ^ byte) * 1099511628211u;
  return hash == 0 ? 1 : hash;
}

class Pushdown;
class StackArena;

using StateId = uint16_t;
inline constexpr StateId kNoState = 0xFFFF;

// Thread safety: constant after build().
class RuleMemory {
 public:
  enum class Kind : uint8_t {
    kNone,
    kCount,
    kMembers,
    kFiniteKey,  // `unique_key`, and at some state only so many keys are left
  };

  // Reads the tables of `grammar`. `rules` are by its numbers of rules, `marks` by its states.
  static RuleMemory build(const Pushdown& grammar, const std::vector<const Rule*>& rules,
                          std::vector<uint32_t> marks);

  // Returns the kind of the state's rule.
  Kind kind(StateId state) const { return states_.empty() ? Kind::kNone : states_[state].kind; }
  uint32_t mark(StateId state) const { return states_.empty() ? 0 : states_[state].mark; }

  // ---- Rules that count; the note is the count.

  // Sets *arrived to the note of a stack with `note` after it has come to `state`. Returns false if
  // the text of the rule could then not end within the bounds.
  bool arrive_counting(StateId state, uint64_t note, uint64_t* arrived) const;
  // Returns a note with which `state` reads the same tokens of at most `longest` bytes as with
  // `note`: far from the bounds one note represents all.
  uint64_t representative(StateId state, uint64_t note, size_t longest) const;

  // ---- Rules with members; the note is the list of what has been read (stack_arena.h), and
  // `depth` the number of open rules, the state's own included.

  // Returns true if something may come at `state` with every list.
  bool always_goes_on(StateId state) const { return states_[state].always; }
  // Returns true if something may still come at `state`.
  bool goes_on(const Pushdown& grammar, StateId state, uint32_t list, uint32_t depth,
               StackArena* arena) const;
  // Returns true if the member of the state's mark may be added to the list.
  bool admits(StateId state, uint32_t list, uint32_t depth, StackArena* arena) const;
  // Returns true if a key that is none of the members may be added to the list.
  bool admits_other(const Pushdown& grammar, StateId state, uint32_t list, StackArena* arena) const;
  // Returns true if the answer of admits_other() may depend on the list.
  bool limits_others(StateId state) const;
  // Returns the entry that represents the member of a mark in a list.
  static uint64_t entry_of(uint32_t mark) { return mark; }

  // ---- Finite keys; the note is the hash of the key so far.

  // Returns true if the list lacks some key that goes on from `state`.
  bool has_key_left(const Pushdown& grammar, StateId state, uint64_t hash, uint32_t list,
                    StackArena* arena) const;
  bool is_finite(StateId state) const;

  size_t bytes() const;

 private:
  struct State {
    Kind kind = Kind::kNone;
    bool always = false;      // with kMembers
    bool closes = false;      // the end of the rule can be reached without another member
    bool others = false;      // a key that is no member may come next
    bool may_repeat = false;  // with kCount: a mark can still be passed
    uint16_t rule = 0;        // in counts_ or members_
    uint32_t mark = 0;
    // With kCount, the marks that must still be passed; with kFiniteKey, the keys that go on here.
    uint32_t distance = 0;
    uint32_t first = 0;  // with kMembers: reachable_[first, past) may come next
    uint32_t past = 0;
  };
  struct CountRule {
    MarkCount bounds;
    uint32_t farthest = 0;  // the largest distance of a state
  };
  struct MemberRule {
    MarkCount bounds;
    std::vector<uint32_t> required;  // marks
    std::vector<uint32_t> needs;     // by mark: rules beyond this one that must be opened for it
    uint32_t other_need = 0;
    StateId other_entry = kNoState;  // of the rule of other keys
  };
  class Builder;

  // Returns how many members of the rule must still come after `mark` was passed.
  static size_t missing(const MemberRule& rule, uint32_t list, uint32_t mark, StackArena* arena);
  bool admits_mark(const MemberRule& rule, uint32_t mark, uint32_t list, uint32_t depth,
                   StackArena* arena) const;

  std::vector<State> states_;  // empty if no rule remembers anything
  std::vector<CountRule> counts_;
  std::vector<MemberRule> members_;
  std::vector<uint32_t> reachable_;  // marks
};

}  // namespace deltaserve::grammar
