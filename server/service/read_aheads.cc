#include "server/service/read_aheads.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

namespace deltaserve {
namespace {

constexpr std::string_view kDropped = "dropped";

}  // namespace

ReadAheads::ReadAheads(const ServedModel& model, const ServerLimits& limits, Engine& engine,
                       Workers& workers, Metrics& metrics, Logger& log)
    : model_(model),
      limits_(limits),
      engine_(engine),
      workers_(workers),
      metrics_(metrics),
      log_(log) {}

void ReadAheads::offer(ReadAhead read_ahead) {
  std::vector<ReadAhead> dropped;  // they are destroyed outside the lock
  {
    const std::lock_guard lock(mutex_);
    if (closed_) return;
    waiting_bytes_ += read_ahead.conversation.bytes();
    waiting_.push_back(std::move(read_ahead));
    while (waiting_.size() > limits_.waiting_read_aheads ||
           waiting_bytes_ > limits_.waiting_read_ahead_bytes) {
      waiting_bytes_ -= waiting_.front().conversation.bytes();
      dropped.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
  }
  for (const ReadAhead& one : dropped) end(one.id, 0, kDropped);
  workers_.post_later([this] { work(); });
}

void ReadAheads::drop_half() {
  std::vector<ReadAhead> dropped;  // they are destroyed outside the lock
  {
    const std::lock_guard lock(mutex_);
    for (size_t left = waiting_.size() - waiting_.size() / 2; left > 0; --left) {
      waiting_bytes_ -= waiting_.front().conversation.bytes();
      dropped.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
    }
  }
  for (const ReadAhead& one : dropped) end(one.id, 0, kDropped);
}

void ReadAheads::drop(const PrefixOwner& owner) {
  std::deque<ReadAhead> kept, dropped;  // they are destroyed outside the lock
  {
    const std::lock_guard lock(mutex_);
    for (ReadAhead& one : waiting_) {
      const bool is_theirs = one.reuse.owner == owner;
      if (is_theirs) waiting_bytes_ -= one.conversation.bytes();
      (is_theirs ? dropped : kept).push_back(std::move(one));
    }
    waiting_.swap(kept);
    if (preparing_ == owner) preparing_.reset();
  }
  for (const ReadAhead& one : dropped) end(one.id, 0, kDropped);
}

void ReadAheads::close() {
  std::deque<ReadAhead> waiting;
  std::vector<Submitted> submitted;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    waiting.swap(waiting_);
    waiting_bytes_ = 0;
    preparing_.reset();
    submitted.swap(submitted_);
  }
  for (const ReadAhead& one : waiting) end(one.id, 0, kDropped);
  for (const Submitted& one : submitted) end(one.id, one.tokens, kDropped);
}

// Runs on the worker, when there is something new: an offer, or an update of the engine.
void ReadAheads::work() {
  remove_finished();
  ReadAhead next;
  while (take_next(&next)) submit(std::move(next));
}

void ReadAheads::remove_finished() {
  std::vector<std::pair<Submitted, FinishReason>> finished;
  {
    const std::lock_guard lock(mutex_);
    for (auto it = submitted_.begin(); it != submitted_.end();) {
      const std::optional<TokenUpdate> update = it->stream->take();
      const bool goes_on = !update || update->finish == FinishReason::kNone;
      if (goes_on) {
        ++it;
        continue;
      }
      finished.emplace_back(std::move(*it), update->finish);
      it = submitted_.erase(it);
    }
  }
  for (const auto& [one, reason] : finished) {
    const bool read = reason == FinishReason::kLength || reason == FinishReason::kStop;
    end(one.id, one.tokens, read ? "finished" : kDropped);
  }
}

bool ReadAheads::take_next(ReadAhead* next) {
  const std::lock_guard lock(mutex_);
  if (waiting_.empty() || submitted_.size() >= limits_.submitted_read_aheads) return false;
  waiting_bytes_ -= waiting_.front().conversation.bytes();
  *next = std::move(waiting_.front());
  waiting_.pop_front();
  preparing_ = next->reuse.owner;
  return true;
}

void ReadAheads::submit(ReadAhead next) {
  GenerateRequest request;
  request.prompt = next_prompt_tokens(model_, limits_, std::move(next.conversation));
  const auto tokens = static_cast<int64_t>(request.prompt.size());
  if (tokens == 0) return end(next.id, 0, "needless");
  request.id = next.id;
  request.max_tokens = 0;
  request.priority = std::numeric_limits<int32_t>::max();
  request.reuse = std::move(next.reuse);
  request.reuse.read_ahead = true;
  if (!submit(next.id, std::move(request))) end(next.id, tokens, kDropped);
}

// Returns false if the engine does not take it, or if it was dropped while its tokens were made.
bool ReadAheads::submit(const std::string& id, GenerateRequest request) {
  const auto tokens = static_cast<int64_t>(request.prompt.size());
  // The engine is asked under the lock: what drop() does not find here has reached the engine.
  const std::lock_guard lock(mutex_);
  if (!std::exchange(preparing_, std::nullopt)) return false;
  auto stream =
      engine_.submit(std::move(request), [this] { workers_.post_later([this] { work(); }); });
  if (!stream.ok()) return false;
  submitted_.push_back({id, tokens, *std::move(stream)});
  return true;
}

void ReadAheads::end(std::string_view id, int64_t tokens, std::string_view result) {
  metrics_.read_aheads.add({result});
  if (!log_.enabled(LogLevel::kDebug)) return;
  log_.write(LogLevel::kDebug, "read_ahead",
             LogFields().text("id", id).integer("prompt_tokens", tokens).text("result", result));
}

}  // namespace deltaserve
