// What compile_*() gives out: an automaton and the masks of its states, for each vocabulary.
#pragma once
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "engine/grammar/pushdown.h"
#include "engine/grammar/state_mask.h"

namespace deltaserve {

class CompiledGrammar {
 public:
  explicit CompiledGrammar(grammar::Pushdown pushdown) : pushdown_(std::move(pushdown)) {}

  const grammar::Pushdown& pushdown() const { return pushdown_; }
  // Lives as long as this object.
  grammar::StateMaskCache& masks(const std::shared_ptr<const TokenTable>& table) const;

 private:
  const grammar::Pushdown pushdown_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<grammar::StateMaskCache>> masks_;  // guarded by mutex_
};

}  // namespace deltaserve
