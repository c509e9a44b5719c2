// The tokens that may come at one state of a pushdown automaton, as far as this does not depend on
// the stack under it. They are computed once per state and shared by all requests. The idea is
// XGrammar's (Dong et al., 2024).
#pragma once
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/grammar/grammar_memory.h"
#include "engine/grammar/pushdown.h"
#include "engine/grammar/stack_arena.h"
#include "engine/grammar/token_table.h"

namespace deltaserve::grammar {

struct StateMask {
  // Tokens allowed with any stack: a bitset over the vocabulary, or a list if that is shorter.
  std::vector<uint32_t> words;
  std::vector<int32_t> tokens;
  // Tokens allowed if the rule's callers can read `suffix` after the rule has ended.
  struct Suffix {
    std::string_view bytes;  // lives in the TokenTable
    uint32_t first;          // in suffix_tokens
    uint32_t past;
  };
  std::vector<Suffix> suffixes;
  std::vector<int32_t> suffix_tokens;
  // Tokens that must be read byte by byte: a key that may not occur twice ends in them.
  std::vector<int32_t> unsure;
  // The deepest stack that was tried; the rule of the state is at depth 1.
  uint32_t reach = 0;

  size_t bytes() const;
};

// Computes the mask of `state` when `bottom_depth` rules are open under its rule. `count` is the
// note of a stack whose rule counts, and 0 for others.
StateMask compute_state_mask(const Pushdown& grammar, const TokenTable& table, StateId state,
                             uint64_t count, uint32_t bottom_depth);

// Thread safety: any thread at any time.
class StateMaskCache {
 public:
  // `grammar` must outlive this object. With a null `memory` there is no limit.
  StateMaskCache(const Pushdown& grammar, std::shared_ptr<const TokenTable> table,
                 std::shared_ptr<GrammarMemory> memory);
  ~StateMaskCache();
  StateMaskCache(const StateMaskCache&) = delete;
  StateMaskCache& operator=(const StateMaskCache&) = delete;

  const TokenTable& table() const { return *table_; }
  // Returns the mask of a stack's state. If there is no room to keep it, it is stored in *own.
  const StateMask& mask(const Stack& stack, uint32_t bottom_depth, std::unique_ptr<StateMask>* own);
  // Returns the bytes of the masks that are kept.
  size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  const StateMask* find(StateId state, uint64_t count);
  // Keeps a mask that find() did not find, or returns null.
  const StateMask* keep(StateId state, uint64_t count, std::unique_ptr<StateMask>* mask);
  bool take(size_t bytes);
  void give_back(size_t bytes);

  const Pushdown& grammar_;
  const std::shared_ptr<const TokenTable> table_;
  const std::shared_ptr<GrammarMemory> memory_;
  std::vector<std::atomic<const StateMask*>> masks_;  // by state; null until asked for
  std::mutex mutex_;
  // The masks of counts other than 0, by state and count; guarded by mutex_.
  std::map<std::pair<StateId, uint64_t>, std::unique_ptr<const StateMask>> counted_;
  std::atomic<size_t> bytes_ = 0;
};

}  // namespace deltaserve::grammar
