// Compiled grammars of one vocabulary, kept across requests: a schema that comes again is neither
// compiled again nor are the masks of the states that its answers have been in.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/status/statusor.h"
#include "engine/grammar/grammar.h"
#include "engine/grammar/grammar_memory.h"

namespace deltaserve {

struct GrammarCacheLimits {
  size_t grammars = 0;   // that are kept; those that were used longest ago go first
  size_t bytes = 0;      // of the same, their masks included
  size_t all_bytes = 0;  // of those and the ones that requests still use
};

struct GrammarCacheStats {
  uint64_t hits = 0;       // found, or compiled by a request that came a little earlier
  uint64_t misses = 0;     // compiled, with or without success
  uint64_t evictions = 0;  // dropped for others
  size_t grammars = 0;
  size_t bytes = 0;  // of all grammars that are alive, kept or only in use
};

// Thread safety: any thread at any time.
class GrammarCache {
 public:
  using Grammar = std::shared_ptr<const CompiledGrammar>;
  using Compile =
      std::function<absl::StatusOr<Grammar>(const std::shared_ptr<GrammarMemory>& memory)>;

  GrammarCache(std::shared_ptr<const TokenTable> table, GrammarCacheLimits limits);
  ~GrammarCache();

  const std::shared_ptr<const TokenTable>& table() const { return table_; }

  // The grammar of `key`, which stands for the kind and the source. If there is none, made by
  // `compile` on this thread, without a lock; whoever asks for the same key meanwhile waits for it
  // and gets the same result. Failures are not kept. Heavy: never on an I/O thread.
  absl::StatusOr<Grammar> get(std::string_view key, const Compile& compile);

  GrammarCacheStats stats() const;

 private:
  struct Entry {
    std::string key;
    Grammar grammar;
  };
  using Entries = std::list<Entry>;
  class Flight;

  absl::StatusOr<Grammar> run(std::string_view key, const Compile& compile, Flight* flight);
  void keep(std::string_view key, const Grammar& grammar);
  void end_flight(std::string_view key);
  void drop_excess(Entries* excess);

  const std::shared_ptr<const TokenTable> table_;
  const GrammarCacheLimits limits_;
  const std::shared_ptr<GrammarMemory> memory_;

  mutable std::mutex mutex_;
  // ---- Guarded by mutex_
  Entries entries_;                                                   // last used first
  std::unordered_map<std::string_view, Entries::iterator> by_key_;    // the keys of entries_
  std::unordered_map<std::string, std::shared_ptr<Flight>> flights_;  // being compiled
  GrammarCacheStats stats_;                                           // counters only
};

}  // namespace deltaserve
