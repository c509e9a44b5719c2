#include "engine/grammar/grammar_cache.h"

#include <condition_variable>
#include <iterator>
#include <optional>
#include <utility>

#include "engine/grammar/compiled_grammar.h"

namespace deltaserve {

// A compilation in progress, and the threads that wait for it.
class GrammarCache::Flight {
 public:
  absl::StatusOr<Grammar> wait() {
    std::unique_lock lock(mutex_);
    landed_.wait(lock, [this] { return result_.has_value(); });
    return *result_;
  }

  void land(absl::StatusOr<Grammar> result) {
    {
      const std::lock_guard lock(mutex_);
      result_ = std::move(result);
    }
    landed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable landed_;
  std::optional<absl::StatusOr<Grammar>> result_;  // guarded by mutex_
};

GrammarCache::GrammarCache(std::shared_ptr<const TokenTable> table, GrammarCacheLimits limits)
    : table_(std::move(table)),
      limits_(limits),
      memory_(std::make_shared<GrammarMemory>(limits.all_bytes)) {}

GrammarCache::~GrammarCache() = default;

absl::StatusOr<GrammarCache::Grammar> GrammarCache::get(std::string_view key,
                                                        const Compile& compile) {
  std::shared_ptr<Flight> flight;
  bool is_first = false;
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = by_key_.find(key); found != by_key_.end()) {
      ++stats_.hits;
      entries_.splice(entries_.begin(), entries_, found->second);
      return entries_.front().grammar;
    }
    if (const auto found = refusal_by_key_.find(key); found != refusal_by_key_.end()) {
      ++stats_.hits;
      return found->second->status;
    }
    std::shared_ptr<Flight>& place = flights_[std::string(key)];
    is_first = place == nullptr;
    if (is_first) place = std::make_shared<Flight>();
    ++(is_first ? stats_.misses : stats_.hits);
    flight = place;
  }
  return is_first ? run(key, compile, flight.get()) : flight->wait();
}

// Compiles the grammar and gives the result to the waiting threads, even after an exception.
absl::StatusOr<GrammarCache::Grammar> GrammarCache::run(std::string_view key,
                                                        const Compile& compile, Flight* flight) {
  absl::StatusOr<Grammar> result = absl::UnavailableError("out of memory");
  try {
    result = compile(memory_);
    if (result.ok()) keep(key, *result);
    if (absl::IsInvalidArgument(result.status())) refuse(key, result.status());
  } catch (...) {
    end_flight(key);
    flight->land(absl::UnavailableError("out of memory"));
    throw;
  }
  end_flight(key);
  flight->land(result);
  return result;
}

// Keeps a compiled grammar. Runs before its flight ends, so that there is no moment in which
// another request would compile it again.
void GrammarCache::keep(std::string_view key, const Grammar& grammar) {
  Entries added, excess;  // entries to destroy after the lock is released
  added.push_front({std::string(key), grammar});
  const std::lock_guard lock(mutex_);
  by_key_.emplace(added.front().key, added.begin());
  entries_.splice(entries_.begin(), added);
  drop_excess(&excess);
}

// A source that is too large costs all the work that one compilation may do before it is refused.
void GrammarCache::refuse(std::string_view key, const absl::Status& status) {
  const size_t bytes = key.size() + status.message().size();
  if (bytes > limits_.refusal_bytes || limits_.refusals == 0) return;
  Refusals added, excess;  // to destroy after the lock is released
  added.push_front({std::string(key), status});
  const std::lock_guard lock(mutex_);
  refusal_by_key_.emplace(added.front().key, added.begin());
  refusals_.splice(refusals_.begin(), added);
  refusal_bytes_ += bytes;
  while (refusals_.size() > limits_.refusals || refusal_bytes_ > limits_.refusal_bytes) {
    const Refusal& oldest = refusals_.back();
    refusal_bytes_ -= oldest.key.size() + oldest.status.message().size();
    refusal_by_key_.erase(oldest.key);
    excess.splice(excess.begin(), refusals_, std::prev(refusals_.end()));
  }
}

bool GrammarCache::knows(std::string_view key) const {
  const std::lock_guard lock(mutex_);
  return by_key_.contains(key) || refusal_by_key_.contains(key);
}

void GrammarCache::end_flight(std::string_view key) {
  const std::lock_guard lock(mutex_);
  flights_.erase(std::string(key));
}

// Moves out the entries beyond the limits; masks have grown since the last time. Requires mutex_.
void GrammarCache::drop_excess(Entries* excess) {
  size_t grammars = 0, bytes = 0;
  auto entry = entries_.begin();
  for (; entry != entries_.end(); ++entry) {
    bytes += entry->key.size() + entry->grammar->bytes();
    if (++grammars > limits_.grammars || bytes > limits_.bytes) break;
  }
  for (auto dropped = entry; dropped != entries_.end(); ++dropped) {
    by_key_.erase(dropped->key);
    ++stats_.evictions;
  }
  excess->splice(excess->begin(), entries_, entry, entries_.end());
}

void GrammarCache::trim() {
  Entries excess;  // to destroy after the lock is released
  const std::lock_guard lock(mutex_);
  const auto middle = std::next(entries_.begin(), static_cast<int64_t>(entries_.size() / 2));
  for (auto dropped = middle; dropped != entries_.end(); ++dropped) by_key_.erase(dropped->key);
  stats_.evictions += entries_.size() - entries_.size() / 2;
  excess.splice(excess.begin(), entries_, middle, entries_.end());
}

GrammarCacheStats GrammarCache::stats() const {
  const std::lock_guard lock(mutex_);
  GrammarCacheStats stats = stats_;
  stats.grammars = entries_.size();
  stats.bytes = memory_->used();
  return stats;
}

}  // namespace deltaserve
