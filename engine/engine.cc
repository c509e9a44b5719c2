#include "engine/engine.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/doorbell.h"
#include "engine/request_check.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "engine/state_pool.h"
#include "engine/step_plan.h"
#include "kernels/base/check.h"

namespace deltaserve {

class Engine::Loop {
 public:
  Loop(StepRunner* runner, const Vocabulary* vocabulary, EngineOptions options);
  ~Loop() { stop(); }

  absl::StatusOr<std::shared_ptr<TokenStream>> submit(GenerateRequest request,
                                                      std::function<void()> notify);
  void drain();
  bool drained() const;
  void stop();
  EngineStats stats() const;

 private:
  using Sequences = std::vector<std::unique_ptr<Sequence>>;

  void run();
  bool begin_step();
  bool plan_step();
  void commit_step();
  void sleep();
  void drop_cancelled_waiting();
  void retire_ended();
  void count_ended();
  void publish_ended();
  void end_all();

  StepRunner* const runner_;
  const Vocabulary* const vocabulary_;
  const EngineOptions options_;
  const std::shared_ptr<Doorbell> doorbell_ = std::make_shared<Doorbell>();

  // ---- The engine thread's; vectors keep their memory from step to step.
  Scheduler scheduler_;
  StatePool slots_;
  Sequences running_;                    // oldest first
  Sequences ended_;                      // to be published
  std::vector<SequenceDemand> demands_;  // [running_]
  const StepSchedule* schedule_ = nullptr;
  StepPlan plan_;
  std::vector<HeadRow> head_rows_;
  std::vector<HeadResult> results_;  // [head_rows_]
  std::vector<Sequence*> told_;      // have an update of this step and go on
  uint64_t turn_ = 0;

  // ---- Shared. The mutex is never held while a reader is told something.
  mutable std::mutex mutex_;
  std::deque<std::unique_ptr<Sequence>> waiting_;  // guarded by mutex_
  EngineStats stats_;                              // guarded by mutex_; `waiting` is not kept
  bool draining_ = false;                          // guarded by mutex_
  bool stopping_ = false;                          // guarded by mutex_
  bool idle_ = true;  // guarded by mutex_: nothing is left to do or say

  std::once_flag joined_;
  std::thread thread_;  // last: it uses everything above
};

Engine::Loop::Loop(StepRunner* runner, const Vocabulary* vocabulary, EngineOptions options)
    : runner_(runner),
      vocabulary_(vocabulary),
      options_(std::move(options)),
      scheduler_(std::min(options_.max_step_tokens, runner->max_rows())),
      slots_(runner->max_sequences()) {
  DS_CHECK(runner->max_rows() >= runner->max_sequences() + kChunkTokens);
  DS_CHECK(options_.max_queued_requests >= 0 && options_.stream_capacity > 0);
  stats_.slots = slots_.num_slots();
  thread_ = std::thread([this] { run(); });
}

absl::StatusOr<std::shared_ptr<TokenStream>> Engine::Loop::submit(GenerateRequest request,
                                                                  std::function<void()> notify) {
  const RequestBounds bounds{options_.max_prompt_tokens, runner_->vocab_size(),
                             !vocabulary_->empty()};
  if (absl::Status status = check_request(request, bounds); !status.ok()) return status;
  auto stream =
      std::make_shared<TokenStream>(options_.stream_capacity, std::move(notify), doorbell_);
  auto sequence =
      std::make_unique<Sequence>(std::move(request), vocabulary_, &options_.eos_token_ids, stream);
  {
    std::lock_guard lock(mutex_);
    if (stopping_ || draining_) return absl::UnavailableError("the engine is shutting down");
    // Counts free slots too: a burst is not refused for the step that it takes to admit it.
    const int64_t in_engine = static_cast<int64_t>(waiting_.size()) + stats_.running;
    if (in_engine >= stats_.slots + options_.max_queued_requests) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the queue is full: ", waiting_.size(), " requests wait"));
    }
    waiting_.push_back(std::move(sequence));
    idle_ = false;
  }
  doorbell_->ring();
  // A reader that goes away without a word cancels: the engine holds a reference of its own.
  TokenStream* const raw = stream.get();
  return std::shared_ptr<TokenStream>(raw,
                                      [owner = std::move(stream)](TokenStream* s) { s->cancel(); });
}

void Engine::Loop::drain() {
  std::lock_guard lock(mutex_);
  draining_ = true;
}

bool Engine::Loop::drained() const {
  std::lock_guard lock(mutex_);
  return draining_ && idle_;
}

void Engine::Loop::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  doorbell_->ring();
  std::call_once(joined_, [this] { thread_.join(); });
}

EngineStats Engine::Loop::stats() const {
  std::lock_guard lock(mutex_);
  EngineStats stats = stats_;
  stats.waiting = static_cast<int64_t>(waiting_.size());
  return stats;
}

void Engine::Loop::run() {
  while (begin_step()) {
    if (!plan_step()) {
      sleep();
      continue;
    }
    const Ticket ticket = runner_->submit(plan_.view(), head_rows_);
    results_.resize(head_rows_.size());
    runner_->wait(ticket, &results_);
    commit_step();
  }
  end_all();
}

// Drops what was cancelled and admits what waits, into the freed slots too. False: stop.
bool Engine::Loop::begin_step() {
  for (const auto& sequence : running_) {
    if (sequence->stream().cancelled()) sequence->end(FinishReason::kCancelled);
  }
  retire_ended();
  {
    std::lock_guard lock(mutex_);
    if (!stopping_) {
      drop_cancelled_waiting();
      int admissions =
          Scheduler::num_admissions(static_cast<int>(waiting_.size()), slots_.num_free());
      for (; admissions > 0; --admissions) {
        waiting_.front()->admit(slots_.acquire());
        running_.push_back(std::move(waiting_.front()));
        waiting_.pop_front();
      }
    }
    count_ended();
    if (stopping_) return false;
  }
  publish_ended();
  return true;
}

// With mutex_ held.
void Engine::Loop::drop_cancelled_waiting() {
  const auto kept = std::stable_partition(
      waiting_.begin(), waiting_.end(),
      [](const std::unique_ptr<Sequence>& s) { return !s->stream().cancelled(); });
  for (auto it = kept; it != waiting_.end(); ++it) {
    (*it)->end(FinishReason::kCancelled);
    ended_.push_back(std::move(*it));
  }
  waiting_.erase(kept, waiting_.end());
}

// False: nothing to do until the doorbell rings.
bool Engine::Loop::plan_step() {
  demands_.clear();
  for (const auto& sequence : running_) {
    demands_.push_back({sequence->prompt_left(), sequence->stream().full()});
  }
  schedule_ = &scheduler_.schedule(demands_, turn_++);
  plan_.token_ids.clear();
  plan_.segments.clear();
  plan_.num_decode = schedule_->num_decode;
  head_rows_.clear();
  for (const StepPiece& piece : schedule_->pieces) {
    running_[piece.sequence]->append_rows(piece.num_tokens, &plan_, &head_rows_);
  }
  DS_CHECK(plan_.token_ids.size() <= static_cast<size_t>(runner_->max_rows()));
  return !schedule_->pieces.empty();
}

void Engine::Loop::commit_step() {
  const HeadResult* results = results_.data();
  told_.clear();
  int64_t generated = 0;
  for (const StepPiece& piece : schedule_->pieces) {
    Sequence* const sequence = running_[piece.sequence].get();
    generated -= sequence->num_generated_tokens();
    results = sequence->commit(piece.num_tokens, results);
    generated += sequence->num_generated_tokens();
    if (sequence->status() != SequenceStatus::kEnded) told_.push_back(sequence);
  }
  DS_CHECK(results == results_.data() + results_.size());
  retire_ended();
  {
    std::lock_guard lock(mutex_);
    ++stats_.steps;
    stats_.prompt_tokens +=
        static_cast<int64_t>(plan_.token_ids.size()) - int64_t{schedule_->num_decode};
    stats_.generated_tokens += generated;
    count_ended();
  }
  for (Sequence* sequence : told_) sequence->publish();
  publish_ended();
}

void Engine::Loop::sleep() {
  {
    std::lock_guard lock(mutex_);
    idle_ = running_.empty() && waiting_.empty();
  }
  doorbell_->wait();
}

// Moves what has ended out of running_; its slots are free from here on.
void Engine::Loop::retire_ended() {
  size_t kept = 0;
  for (auto& sequence : running_) {
    if (sequence->status() == SequenceStatus::kEnded) {
      sequence->release_slot();
      ended_.push_back(std::move(sequence));
    } else {
      std::swap(running_[kept++], sequence);
    }
  }
  running_.resize(kept);
}

// With mutex_ held. Before publish_ended(), so that a reader who sees the end finds it counted.
void Engine::Loop::count_ended() {
  stats_.running = static_cast<int64_t>(running_.size());
  for (const auto& sequence : ended_) {
    ++stats_.finished;
    if (sequence->finish() == FinishReason::kCancelled) ++stats_.cancelled;
  }
}

void Engine::Loop::publish_ended() {
  for (const auto& sequence : ended_) sequence->publish();
  ended_.clear();
}

// After stopping_ was set, so that nothing joins the queue any more.
void Engine::Loop::end_all() {
  publish_ended();
  for (const auto& sequence : running_) sequence->end(FinishReason::kCancelled);
  retire_ended();
  {
    std::lock_guard lock(mutex_);
    for (auto& sequence : waiting_) {
      sequence->end(FinishReason::kCancelled);
      ended_.push_back(std::move(sequence));
    }
    waiting_.clear();
    count_ended();
  }
  publish_ended();
  std::lock_guard lock(mutex_);
  idle_ = true;
}

Engine::Engine(StepRunner* runner, const Vocabulary* vocabulary, EngineOptions options)
    : loop_(std::make_unique<Loop>(runner, vocabulary, std::move(options))) {}

Engine::~Engine() = default;

absl::StatusOr<std::shared_ptr<TokenStream>> Engine::submit(GenerateRequest request,
                                                            std::function<void()> notify) {
  return loop_->submit(std::move(request), std::move(notify));
}

void Engine::drain() {
  loop_->drain();
}
bool Engine::drained() const {
  return loop_->drained();
}
void Engine::stop() {
  loop_->stop();
}
EngineStats Engine::stats() const {
  return loop_->stats();
}

}  // namespace deltaserve
