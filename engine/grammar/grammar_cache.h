// Keeps the compiled grammars of one vocabulary across requests: a schema that comes again needs no
// compilation, and the masks of states that its answers visited exist already.
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
  size_t grammars = 0;   // number kept; the least recently used are dropped first
  size_t bytes = 0;      // of the kept ones, including their masks
  size_t all_bytes = 0;  // of the kept ones and those that requests still use
  // Limits the sources that are remembered with their errors because they cannot be compiled; the
  // oldest are dropped first.
  size_t refusals = 256;
  size_t refusal_bytes = 1 << 20;
};

struct GrammarCacheStats {
  uint64_t hits = 0;       // found in the cache, or already being compiled by another request
  uint64_t misses = 0;     // compiled, with or without success
  uint64_t evictions = 0;  // dropped to make room
  size_t grammars = 0;
  size_t bytes = 0;  // of all grammars in memory, cached or only in use
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

  // Returns the grammar of `key`, which identifies its kind and source. If there is none, `compile`
  // makes it on this thread, without a lock; other threads that ask for the same key wait for the
  // result. INVALID_ARGUMENT is remembered, other failures are not. This may take long: never call
  // it on an I/O thread.
  absl::StatusOr<Grammar> get(std::string_view key, const Compile& compile);

  // Returns whether get() of `key` would return at once; another thread may change that.
  bool knows(std::string_view key) const;

  // Drops the least recently used half of the kept grammars.
  void trim();

  GrammarCacheStats stats() const;

 private:
  struct Entry {
    std::string key;
    Grammar grammar;
  };
  using Entries = std::list<Entry>;
  struct Refusal {
    std::string key;
    absl::Status status;
  };
  using Refusals = std::list<Refusal>;
  class Flight;

  absl::StatusOr<Grammar> run(std::string_view key, const Compile& compile, Flight* flight);
  void keep(std::string_view key, const Grammar& grammar);
  void refuse(std::string_view key, const absl::Status& status);
  void end_flight(std::string_view key);
  void drop_excess(Entries* excess);

  const std::shared_ptr<const TokenTable> table_;
  const GrammarCacheLimits limits_;
  const std::shared_ptr<GrammarMemory> memory_;

  mutable std::mutex mutex_;
  // ---- Guarded by mutex_
  Entries entries_;                                                 // most recently used first
  std::unordered_map<std::string_view, Entries::iterator> by_key_;  // the keys of entries_
  Refusals refusals_;                                               // the newest first
  std::unordered_map<std::string_view, Refusals::iterator> refusal_by_key_;
  size_t refusal_bytes_ = 0;                                          // of keys and messages
  std::unordered_map<std::string, std::shared_ptr<Flight>> flights_;  // in progress
  GrammarCacheStats stats_;                                           // counters only
};

}  // namespace deltaserve
