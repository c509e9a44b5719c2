// A CompiledGrammar is what compile_*() returns: an automaton, and the masks of its states for each
// vocabulary.
#pragma once
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "engine/grammar/grammar_memory.h"
#include "engine/grammar/pushdown.h"
#include "engine/grammar/state_mask.h"

namespace deltaserve {

class CompiledGrammar {
 public:
  // `memory` must have counted pushdown.bytes() already; it is null if bytes are not counted.
  CompiledGrammar(grammar::Pushdown pushdown, std::shared_ptr<GrammarMemory> memory)
      : pushdown_(std::move(pushdown)), memory_(std::move(memory)) {}
  ~CompiledGrammar() {
    if (memory_ != nullptr) memory_->give_back(pushdown_.bytes());
  }
  CompiledGrammar(const CompiledGrammar&) = delete;
  CompiledGrammar& operator=(const CompiledGrammar&) = delete;

  const grammar::Pushdown& pushdown() const { return pushdown_; }
  // Returns the masks for a vocabulary. They live as long as this object.
  grammar::StateMaskCache& masks(const std::shared_ptr<const TokenTable>& table) const;
  // Returns the bytes of the grammar including its masks.
  size_t bytes() const;

 private:
  const grammar::Pushdown pushdown_;
  const std::shared_ptr<GrammarMemory> memory_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<grammar::StateMaskCache>> masks_;  // guarded by mutex_
};

}  // namespace deltaserve
