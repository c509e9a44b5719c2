#include "engine/engine.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/doorbell.h"
#include "engine/limits.h"
#include "engine/request_check.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "engine/sequence_group.h"
#include "engine/state_pool.h"
#include "engine/step_plan.h"
#include "engine/waiting_queue.h"
#include "kernels/base/check.h"

namespace deltaserve {
namespace {

SteadyTime now() {
  return std::chrono::steady_clock::now();
}

void count(FinishReason finish, EngineStats* stats) {
  ++stats->finished;
  switch (finish) {
    case FinishReason::kNone: DS_CHECK(false);
    case FinishReason::kStop: ++stats->finished_stop; break;
    case FinishReason::kLength: ++stats->finished_length; break;
    case FinishReason::kCancelled: ++stats->cancelled; break;
    case FinishReason::kDeadline: ++stats->deadline_exceeded; break;
    case FinishReason::kError: ++stats->errors; break;
  }
}

}  // namespace

class Engine::Loop {
 public:
  Loop(StepRunner* runner, const Vocabulary* vocabulary, EngineOptions options);
  ~Loop() { stop(); }

  absl::StatusOr<std::vector<std::shared_ptr<TokenStream>>> submit(GenerateRequest request,
                                                                   int num_choices,
                                                                   std::function<void()> notify);
  void drain();
  bool drained() const;
  void stop();
  EngineStats stats() const;

 private:
  absl::Status enqueue(std::unique_ptr<SequenceGroup> group);

  void run();
  bool begin_step(SteadyTime time);
  void prepare_draws(SteadyTime time);
  bool plan_step(SteadyTime time);
  void commit_step(SteadyTime time);
  void commit_piece(const StepPiece& piece, SteadyTime time, const DrawResult** results);
  void start_choices();
  void sleep();
  void retire_ended();
  void count_ended();
  void publish_ended();
  void end_all();

  StepRunner* const runner_;
  const Vocabulary* const vocabulary_;
  const EngineOptions options_;
  const SequenceContext context_{vocabulary_, &options_.eos_token_ids, runner_->vocab_size()};
  const std::shared_ptr<Doorbell> doorbell_ = std::make_shared<Doorbell>();

  // ---- The engine thread's; vectors keep their memory from step to step.
  Scheduler scheduler_;
  StatePool slots_;
  std::vector<std::unique_ptr<SequenceGroup>> prefills_;  // oldest first
  Sequences decoding_;
  Sequences ended_;                      // to be published
  std::vector<SequenceDemand> demands_;  // [decoding_, then prefills_]
  const StepSchedule* schedule_ = nullptr;
  StepPlan plan_;
  std::vector<Draw> head_rows_;
  std::vector<DrawResult> results_;  // [head_rows_]
  std::vector<Sequence*> told_;      // have an update of this step and go on
  uint64_t turn_ = 0;
  size_t first_to_prepare_ = 0;  // in decoding_, more or less: sequences come and go

  // ---- Shared. The mutex is never held while a reader is told something.
  mutable std::mutex mutex_;
  WaitingQueue waiting_;   // guarded by mutex_
  EngineStats stats_;      // guarded by mutex_; `waiting` is not kept
  bool draining_ = false;  // guarded by mutex_
  bool stopping_ = false;  // guarded by mutex_
  bool idle_ = true;       // guarded by mutex_: nothing is left to do or say

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

absl::StatusOr<std::vector<std::shared_ptr<TokenStream>>> Engine::Loop::submit(
    GenerateRequest request, int num_choices, std::function<void()> notify) {
  const RequestBounds bounds{options_.max_prompt_tokens, context_.vocab_size,
                             !vocabulary_->empty()};
  absl::Status status = check_num_choices(num_choices, slots_.num_slots());
  status.Update(check_request(request, bounds));
  if (!status.ok()) return status;
  const SteadyTime time = now();
  if (request.deadline <= time) {
    return absl::DeadlineExceededError("the request's deadline has passed before it began");
  }
  std::vector<std::shared_ptr<TokenStream>> streams;
  for (int i = 0; i < num_choices; ++i) {
    streams.push_back(std::make_shared<TokenStream>(options_.stream_capacity, notify, doorbell_));
  }
  status = enqueue(std::make_unique<SequenceGroup>(std::move(request), &context_, streams, time));
  if (!status.ok()) return status;
  doorbell_->ring();
  // A reader that goes away without a word cancels: the engine holds a reference of its own.
  for (std::shared_ptr<TokenStream>& stream : streams) {
    TokenStream* const raw = stream.get();
    stream = std::shared_ptr<TokenStream>(
        raw, [owner = std::move(stream)](TokenStream* s) { s->cancel(); });
  }
  return streams;
}

absl::Status Engine::Loop::enqueue(std::unique_ptr<SequenceGroup> group) {
  std::lock_guard lock(mutex_);
  if (stopping_ || draining_) return absl::UnavailableError("the engine is shutting down");
  // Counts free slots too: a burst is not refused for the step that it takes to admit it.
  const int64_t in_engine = waiting_.num_choices() + stats_.running;
  if (in_engine + group->num_choices() > stats_.slots + options_.max_queued_requests) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the queue is full: ", waiting_.num_choices(), " requests wait"));
  }
  waiting_.push(std::move(group));
  idle_ = false;
  return absl::OkStatus();
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
  stats.waiting = waiting_.num_choices();
  return stats;
}

void Engine::Loop::run() {
  for (SteadyTime time = now(); begin_step(time); time = now()) {
    if (!plan_step(time)) {
      sleep();
      continue;
    }
    const Ticket ticket = runner_->submit(plan_.view(), head_rows_);
    results_.resize(head_rows_.size());
    runner_->wait(ticket, &results_);
    commit_step(time);
  }
  end_all();
}

// Drops what is unwanted or late and admits what waits, into the freed slots too. False: stop.
bool Engine::Loop::begin_step(SteadyTime time) {
  for (const auto& sequence : decoding_) sequence->end_if_unwanted(time);
  prepare_draws(time);
  for (const auto& group : prefills_) group->end_unwanted(time, &ended_);
  retire_ended();
  {
    std::lock_guard lock(mutex_);
    if (!stopping_) {
      waiting_.end_unwanted(time, &ended_);
      while (std::unique_ptr<SequenceGroup> group = waiting_.pop(slots_.num_free())) {
        group->admit(&slots_, time);
        prefills_.push_back(std::move(group));
      }
    }
    count_ended();
    if (stopping_) return false;
  }
  publish_ended();
  return true;
}

// In turn, beginning with those that the last step was too short for. Of the sequences that may run
// at least one is prepared in the end: an engine that waits for news would not come back to them.
void Engine::Loop::prepare_draws(SteadyTime time) {
  const SteadyTime until = now() + engine_limits::kMaskTime;
  const size_t count = decoding_.size();
  const size_t first = first_to_prepare_;
  bool late = false;
  for (size_t i = 0; i < count; ++i) {
    const size_t index = (first + i) % count;
    Sequence& sequence = *decoding_[index];
    if (sequence.prepared() || sequence.stream().full()) continue;
    if (!sequence.constrained()) {
      sequence.prepare_draw(time);
    } else if (!late) {
      sequence.prepare_draw(time);
      late = sequence.prepared() && now() >= until;
      first_to_prepare_ = index + 1;
    }
  }
}

// False: nothing to do until the doorbell rings or a deadline passes.
bool Engine::Loop::plan_step(SteadyTime time) {
  demands_.clear();
  for (const auto& sequence : decoding_) {
    demands_.push_back({0, sequence->stream().full() || !sequence->prepared()});
  }
  for (const auto& group : prefills_) {
    demands_.push_back({group->prompt_left(), group->paused(), group->num_choices()});
  }
  schedule_ = &scheduler_.schedule(demands_, turn_++);
  plan_.token_ids.clear();
  plan_.segments.clear();
  plan_.num_decode = schedule_->num_decode;
  head_rows_.clear();
  for (const StepPiece& piece : schedule_->pieces) {
    const auto index = static_cast<size_t>(piece.sequence);
    if (index < decoding_.size()) {
      decoding_[index]->append_row(&plan_, &head_rows_);
    } else {
      SequenceGroup& group = *prefills_[index - decoding_.size()];
      group.append_rows(piece.num_tokens, time, &plan_, &head_rows_);
    }
  }
  const auto max_rows = static_cast<size_t>(runner_->max_rows());
  DS_CHECK(plan_.token_ids.size() <= max_rows && head_rows_.size() <= max_rows);
  return !schedule_->pieces.empty();
}

// Of the step that began at `time`.
void Engine::Loop::commit_step(SteadyTime time) {
  const SteadyTime computed = now();
  const DrawResult* results = results_.data();
  told_.clear();
  for (const StepPiece& piece : schedule_->pieces) commit_piece(piece, computed, &results);
  DS_CHECK(results == results_.data() + results_.size());
  retire_ended();
  start_choices();
  {
    std::lock_guard lock(mutex_);
    ++stats_.steps;
    stats_.prompt_tokens += static_cast<int64_t>(plan_.token_ids.size()) - plan_.num_decode;
    stats_.decode_rows += plan_.num_decode;
    stats_.generated_tokens += std::count_if(head_rows_.begin(), head_rows_.end(),
                                             [](const Draw& row) { return row.sample; });
    stats_.busy_seconds += std::chrono::duration<double>(now() - time).count();
    count_ended();
  }
  for (Sequence* sequence : told_) sequence->publish();
  publish_ended();
}

// Takes the piece's results from the front of *results.
void Engine::Loop::commit_piece(const StepPiece& piece, SteadyTime time,
                                const DrawResult** results) {
  const auto index = static_cast<size_t>(piece.sequence);
  const auto tell = [this](const std::unique_ptr<Sequence>& sequence) {
    if (!sequence->ended()) told_.push_back(sequence.get());
  };
  if (index < decoding_.size()) {
    decoding_[index]->commit(*(*results)++, time);
    tell(decoding_[index]);
  } else {
    SequenceGroup& group = *prefills_[index - decoding_.size()];
    *results = group.commit(piece.num_tokens, *results, time);
    for (const auto& choice : group.choices()) tell(choice);
  }
}

// Of the prompts that are read.
void Engine::Loop::start_choices() {
  for (const auto& group : prefills_) {
    if (group->prompt_left() == 0) group->start_choices(runner_, &decoding_, &ended_);
  }
  std::erase_if(prefills_, [](const auto& group) { return group->num_choices() == 0; });
}

void Engine::Loop::sleep() {
  SteadyTime until = SteadyTime::max();
  for (const auto& sequence : decoding_) until = std::min(until, sequence->deadline());
  for (const auto& group : prefills_) until = std::min(until, group->deadline());
  {
    std::lock_guard lock(mutex_);
    idle_ = decoding_.empty() && prefills_.empty() && waiting_.empty();
    until = std::min(until, waiting_.earliest_deadline());
  }
  doorbell_->wait_until(until);
}

// Moves what has ended out of decoding_ and prefills_; the slots are free from here on.
void Engine::Loop::retire_ended() {
  size_t kept = 0;
  for (auto& sequence : decoding_) {
    if (sequence->ended()) {
      sequence->release_slot();
      ended_.push_back(std::move(sequence));
    } else {
      std::swap(decoding_[kept++], sequence);
    }
  }
  decoding_.resize(kept);
  std::erase_if(prefills_, [](const auto& group) { return group->num_choices() == 0; });
}

// With mutex_ held. Before publish_ended(), so that a reader who sees the end finds it counted.
void Engine::Loop::count_ended() {
  stats_.running = slots_.num_slots() - slots_.num_free();
  for (const auto& sequence : ended_) count(sequence->finish(), &stats_);
}

void Engine::Loop::publish_ended() {
  for (const auto& sequence : ended_) sequence->publish();
  ended_.clear();
}

// After stopping_ was set, so that nothing joins the queue any more.
void Engine::Loop::end_all() {
  publish_ended();
  const SteadyTime time = now();
  for (const auto& sequence : decoding_) sequence->end(FinishReason::kCancelled, time);
  for (const auto& group : prefills_) group->end_all(FinishReason::kCancelled, time, &ended_);
  retire_ended();
  {
    std::lock_guard lock(mutex_);
    waiting_.end_all(FinishReason::kCancelled, time, &ended_);
    count_ended();
  }
  publish_ended();
  std::lock_guard lock(mutex_);
  idle_ = true;
}

Engine::Engine(StepRunner* runner, const Vocabulary* vocabulary, EngineOptions options)
    : loop_(std::make_unique<Loop>(runner, vocabulary, std::move(options))) {}

Engine::~Engine() = default;

absl::StatusOr<std::vector<std::shared_ptr<TokenStream>>> Engine::submit_choices(
    GenerateRequest request, int num_choices, std::function<void()> notify) {
  return loop_->submit(std::move(request), num_choices, std::move(notify));
}

absl::StatusOr<std::shared_ptr<TokenStream>> Engine::submit(GenerateRequest request,
                                                            std::function<void()> notify) {
  auto streams = submit_choices(std::move(request), 1, std::move(notify));
  if (!streams.ok()) return streams.status();
  return std::move(streams->front());
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
