#include "engine/loop/engine.h"

#include <algorithm>
#include <chrono>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/doorbell.h"
#include "engine/base/limits.h"
#include "engine/loop/admission.h"
#include "engine/loop/read_ahead_share.h"
#include "engine/loop/scheduler.h"
#include "engine/loop/step_in_flight.h"
#include "engine/loop/submission.h"
#include "engine/sequence/sequence.h"
#include "engine/sequence/sequence_group.h"
#include "kernels/base/check.h"

namespace deltaserve {
namespace {

SteadyTime now() {
  return std::chrono::steady_clock::now();
}

}  // namespace

class Engine::Loop {
 public:
  Loop(StepRunner* runner, const Vocabulary* vocabulary, EngineOptions options);
  ~Loop() { stop(); }

  absl::StatusOr<TokenStreams> submit(std::vector<GenerateRequest> requests, int num_choices,
                                      const std::function<void()>& notify);
  void drain();
  bool drained() const;
  void stop();
  // Forgets the states of an owner; null: the less valuable half of all.
  void forget_prefixes(const PrefixOwner* owner);
  EngineStats stats() const;

 private:
  // The numbers of rows and tokens that a step computed for choices that still wanted them.
  struct Counts {
    int64_t prompt_tokens = 0;
    int64_t read_again = 0;  // prompt tokens, for further choices
    int64_t read_ahead = 0;
    int64_t decode_rows = 0;
    int64_t generated_tokens = 0;

    bool any() const { return prompt_tokens + read_again + read_ahead + decode_rows > 0; }
  };

  absl::Status enqueue(std::vector<std::unique_ptr<SequenceGroup>> groups);

  void run();
  bool begin_step(SteadyTime time);
  bool somebody_waits() const;
  void end_unread(SteadyTime time);
  void demand_prompts(bool decoding);
  void let_states_load();
  void queue_transfers();
  void choose_rows(SteadyTime time);
  StepInFlight* plan_step(SteadyTime time);
  void forward(StepInFlight* step);
  void draw(StepInFlight* step);
  void finish_step(StepInFlight* step);
  void commit_row(Sequence* sequence, SteadyTime time, const DrawResult** results, Counts* counts);
  void commit_prompt(const StepInFlight::Piece& piece, SteadyTime time, const DrawResult** results,
                     Counts* counts);
  void sleep();
  void retire_ended();
  void publish();
  void publish_ended();
  void let_step_keep(std::unique_ptr<Sequence> sequence);
  void let_step_keep(std::unique_ptr<SequenceGroup> group);
  void end_all();

  StepRunner* const runner_;
  const Vocabulary* const vocabulary_;
  const EngineOptions options_;
  // Memory for the hidden states of a step's draws. A step's draws are queued after the step before
  // was committed, so one step's memory is enough. Memory that no embedding needs is never touched.
  const std::unique_ptr<float[]> hidden_rows_ = std::make_unique_for_overwrite<float[]>(
      static_cast<size_t>(runner_->max_rows()) * runner_->final_norm().weight.size());
  const SequenceContext context_{
      vocabulary_,          &options_.eos_token_ids, runner_->vocab_size(),
      options_.fingerprint, &runner_->final_norm(),  hidden_rows_.get()};
  const std::shared_ptr<Doorbell> doorbell_ = std::make_shared<Doorbell>();

  // ---- Used by the engine thread only. Vectors keep their memory from step to step.
  const int steps_ahead_;
  Scheduler scheduler_;
  ReadAheadShare read_ahead_share_;
  std::vector<std::unique_ptr<SequenceGroup>> prefills_;  // oldest first
  Sequences decoding_;                   // choices whose prompt is read or in steps
  Sequences ended_;                      // still to be published
  std::vector<SequenceDemand> demands_;  // [decoding_, then prefills_]
  StepInFlight steps_[2];
  StepInFlight* running_ = nullptr;      // its draws are queued; it is waited for next
  StepInFlight* last_queued_ = nullptr;  // the newest step that is not finished
  std::vector<Sequence*> told_;          // sequences that have an update and did not end
  SteadyTime busy_until_;
  uint64_t turn_ = 0;
  size_t first_to_prepare_ = 0;  // where in decoding_ the masks of the next step begin; approximate

  // ---- Shared. The mutex is never held while a reader is notified.
  mutable std::mutex mutex_;
  EngineStats stats_;      // guarded by mutex_; `waiting` is not kept
  Admission admission_;    // guarded by mutex_, except for slots and kept states
  bool draining_ = false;  // guarded by mutex_
  bool stopping_ = false;  // guarded by mutex_
  bool idle_ = true;       // guarded by mutex_: nothing is left to compute or to publish

  std::once_flag joined_;
  std::thread thread_;  // last: it uses everything above
};

Engine::Loop::Loop(StepRunner* runner, const Vocabulary* vocabulary, EngineOptions options)
    : runner_(runner),
      vocabulary_(vocabulary),
      options_(std::move(options)),
      // More than one step ahead would not help: a step's draws wait for the tokens of the step
      // before, and the next forward pass waits for these draws.
      steps_ahead_(std::min(runner->steps_ahead(), 1)),
      scheduler_(std::min(options_.max_step_tokens, runner->max_rows())),
      admission_(runner->max_sequences(), runner->max_snapshots(), runner->max_host_snapshots(),
                 options_.share_prefixes, options_.max_queued_requests, &stats_) {
  DS_CHECK(runner->max_rows() >= runner->max_sequences() + kChunkTokens);
  DS_CHECK(options_.max_queued_requests >= 0 && options_.stream_capacity > 0);
  thread_ = std::thread([this] { run(); });
}

absl::StatusOr<TokenStreams> Engine::Loop::submit(std::vector<GenerateRequest> requests,
                                                  int num_choices,
                                                  const std::function<void()>& notify) {
  const RequestBounds bounds{options_.max_prompt_tokens, context_.vocab_size, !vocabulary_->empty(),
                             !context_.final_norm->weight.empty()};
  const SteadyTime time = now();
  absl::Status status = check_submission(requests, num_choices, bounds, time);
  if (!status.ok()) return status;
  uint64_t arrival = 0;
  {
    std::lock_guard lock(mutex_);
    arrival = admission_.next_arrival();
  }
  const StreamSettings streams{options_.stream_capacity, notify, doorbell_};
  Submission submission =
      make_submission(std::move(requests), num_choices, &context_, streams, time, arrival);
  status = enqueue(std::move(submission.groups));
  if (!status.ok()) return status;
  doorbell_->ring();
  return cancelled_when_dropped(std::move(submission.streams));
}

absl::Status Engine::Loop::enqueue(std::vector<std::unique_ptr<SequenceGroup>> groups) {
  std::lock_guard lock(mutex_);
  if (stopping_ || draining_) return absl::UnavailableError("the engine is shutting down");
  const uint64_t list = groups.front()->arrival();
  absl::Status status = groups.size() == 1 ? admission_.submit(std::move(groups.front()))
                                           : admission_.submit_list(list, std::move(groups));
  if (status.ok()) idle_ = false;
  return status;
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
  stats.waiting = admission_.waiting();
  return stats;
}

void Engine::Loop::forget_prefixes(const PrefixOwner* owner) {
  {
    std::lock_guard lock(mutex_);
    owner != nullptr ? admission_.clear_prefixes(*owner) : admission_.trim_prefixes();
  }
  doorbell_->ring();
}

// On a device that runs ahead, a step's forward pass is queued before the tokens of the step before
// are read, and its draws are queued after. The device therefore has work while this thread
// commits, and draws know every token before them.
void Engine::Loop::run() {
  for (SteadyTime time = now(); begin_step(time); time = now()) {
    StepInFlight* const next = plan_step(time);
    const bool nothing_to_do = next == nullptr && running_ == nullptr;
    if (next != nullptr) forward(next);
    if (running_ != nullptr) finish_step(running_);
    if (next != nullptr) draw(next);
    running_ = next;
    if (running_ != nullptr && steps_ahead_ == 0) {
      finish_step(running_);
      running_ = nullptr;
    }
    publish();
    if (nothing_to_do) sleep();
  }
  publish();
  if (running_ != nullptr) finish_step(running_);
  publish();
  end_all();
}

// Drops requests that are cancelled or late, then admits waiting ones, also into slots freed just
// now. Returns false if the engine must stop.
bool Engine::Loop::begin_step(SteadyTime time) {
  for (const auto& sequence : decoding_) sequence->end_if_unwanted(time);
  if (somebody_waits()) end_unread(time);
  choose_rows(time);
  for (const auto& group : prefills_) group->end_unwanted(time, &ended_);
  retire_ended();
  {
    std::lock_guard lock(mutex_);
    if (!stopping_) admission_.admit(time, draining_, &prefills_, &ended_);
    retire_ended();                  // a read-ahead may have given up its slot
    admission_.count_ended(ended_);  // so that a reader who sees the end finds it counted
    if (stopping_) return false;
  }
  publish_ended();
  return true;
}

bool Engine::Loop::somebody_waits() const {
  std::lock_guard lock(mutex_);
  return !admission_.nobody_waits();
}

// Ends sequences whose readers do not read while others wait for slots.
void Engine::Loop::end_unread(SteadyTime time) {
  const SteadyTime last = time - options_.unread;
  for (const auto& sequence : decoding_) sequence->end_if_unread(last, time);
  for (const auto& group : prefills_) group->end_unread(last, time, &ended_);
}

// Distributes the time for computing masks in turn, beginning with the sequences for which the last
// step had no time left. A row that is computed must be drawn from, so a sequence without time gets
// no row in this step. A sequence whose token is known uses its time at once. If its token is still
// being computed, the mask is made before the draw; until then its recent masks serve as the
// estimate.
//
// At least one of the runnable sequences gets its time: otherwise the engine would sleep and never
// come back to them.
void Engine::Loop::choose_rows(SteadyTime time) {
  std::chrono::nanoseconds left = options_.mask_time;
  bool late = false;
  const size_t count = decoding_.size();
  const size_t first = first_to_prepare_;
  for (size_t i = 0; i < count; ++i) {
    const size_t index = (first + i) % count;
    Sequence& sequence = *decoding_[index];
    if (!sequence.wants_row() || sequence.ready_for_row() || sequence.stream().full()) continue;
    if (late && sequence.constrained()) continue;
    if (sequence.token_under_way()) {
      sequence.let_run_ahead();
      left -= sequence.expected_mask_time();
    } else {
      const SteadyTime done = sequence.prepare_draw(time);
      left -= done - time;
      time = done;
    }
    if (!sequence.constrained()) continue;
    late = sequence.ready_for_row() && left <= std::chrono::nanoseconds(0);
    first_to_prepare_ = index + 1;
  }
}

// Returns the next step; null if there is nothing to do until the doorbell rings, a deadline
// passes, or a step is finished.
StepInFlight* Engine::Loop::plan_step(SteadyTime time) {
  demands_.clear();
  for (const auto& sequence : decoding_) {
    demands_.push_back({0, !sequence->ready_for_row() || sequence->stream().full()});
  }
  const bool decoding = std::any_of(demands_.begin(), demands_.end(),
                                    [](const SequenceDemand& demand) { return !demand.paused; });
  demand_prompts(decoding);
  let_states_load();
  const StepSchedule& schedule = scheduler_.schedule(demands_, turn_++);
  if (schedule.pieces.empty()) return nullptr;
  StepInFlight* const step = running_ == &steps_[0] ? &steps_[1] : &steps_[0];
  step->began = time;
  for (const StepPiece& scheduled : schedule.pieces) {
    const auto index = static_cast<size_t>(scheduled.sequence);
    StepInFlight::Piece piece;
    if (index < decoding_.size()) {
      piece.sequence = decoding_[index].get();
      piece.row = piece.sequence->append_row(&step->plan);
    } else {
      piece.group = prefills_[index - decoding_.size()].get();
      piece.prompt =
          piece.group->append_rows(scheduled.num_tokens, &admission_.prefixes(), time, &step->plan);
    }
    step->pieces.push_back(piece);
  }
  DS_CHECK(step->plan.token_ids.size() <= static_cast<size_t>(runner_->max_rows()));
  return step;
}

// Appends the demands of prefills_. A read-ahead gets rows only in steps without other prompts, one
// chunk at a time: a request that comes in the meantime waits for no more than that.
void Engine::Loop::demand_prompts(bool decoding) {
  const bool reading = std::any_of(prefills_.begin(), prefills_.end(), [](const auto& group) {
    return !group->read_ahead() && group->num_choices() > 0 && !group->paused();
  });
  const bool may_read_ahead = !reading && (!decoding || read_ahead_share_.allows());
  for (const auto& group : prefills_) {
    SequenceDemand demand;
    demand.prompt_left = group->prompt_left();
    demand.paused = group->paused();
    // The first choice has its slot; only as many others as there are free slots can draw with it.
    demand.num_draws = std::min(group->num_choices(), 1 + admission_.slots().num_free());
    if (group->read_ahead()) {
      demand.paused = demand.paused || !may_read_ahead;
      demand.prompt_left = std::min<int64_t>(demand.prompt_left, kChunkTokens);
    }
    demands_.push_back(demand);
  }
}

// Leaves out prompts whose state is on its way from the host's memory, if others have work.
void Engine::Loop::let_states_load() {
  queue_transfers();
  const auto loads = [this](size_t i) {
    return i >= decoding_.size() && prefills_[i - decoding_.size()]->loading(runner_);
  };
  bool others = false;
  for (size_t i = 0; i < demands_.size(); ++i) others |= !demands_[i].paused && !loads(i);
  for (size_t i = 0; others && i < demands_.size(); ++i) demands_[i].paused |= loads(i);
}

// Queues the copies of kept states that admissions and plans have decided on. Dropped slots come
// first, because they may be in use again.
void Engine::Loop::queue_transfers() {
  for (const auto& [first, count] : admission_.prefixes().take_dropped()) {
    runner_->drop_slots(first, count);
  }
  for (const SnapshotTransfer& transfer : admission_.prefixes().take_transfers()) {
    if (transfer.kind == SnapshotTransfer::kStore) {
      runner_->store_slot(transfer.slot, transfer.host_slot);
    } else {
      runner_->load_slot(transfer.host_slot, transfer.slot);
    }
  }
}

// Groups whose prompt is fully queued continue as choices from here on: the next step may contain
// their rows, and copies of the state are queued before that.
void Engine::Loop::forward(StepInFlight* step) {
  queue_transfers();
  step->ticket = runner_->forward(step->plan.step());
  step->plan.pins.clear();  // later steps run later: they may overwrite what this one reads
  last_queued_ = step;
  std::vector<std::unique_ptr<SequenceGroup>> without_slot;
  for (auto& group : prefills_) {
    if (group->prompt_left() > 0) continue;
    group->start_choices(&admission_.slots(), runner_, &decoding_, &without_slot);
    step->ended_groups.push_back(std::move(group));
  }
  std::erase(prefills_, nullptr);
  if (without_slot.empty()) return;
  std::lock_guard lock(mutex_);
  admission_.wait_again(std::move(without_slot));
}

// Queues the draws; called after the step before was committed. Choices that have ended since the
// plan was made are left out. The clock is read only if there is something to prepare.
void Engine::Loop::draw(StepInFlight* step) {
  std::optional<SteadyTime> time;
  for (StepInFlight::Piece& piece : step->pieces) {
    const bool prepared = piece.sequence != nullptr && piece.sequence->prepared();
    if (!prepared && !time) time = now();
    if (piece.group != nullptr) {
      time = piece.group->add_draws(&piece.prompt, *time, &step->draws);
      continue;
    }
    if (!prepared) time = piece.sequence->prepare_draw(*time);
    if (!piece.sequence->ended()) piece.sequence->add_draw(piece.row, &step->draws);
  }
  DS_CHECK(step->draws.size() <= static_cast<size_t>(runner_->max_rows()));
  runner_->draw(step->ticket, step->draws);
}

// Waits for the step and commits it. The readers get its results later, from publish().
void Engine::Loop::finish_step(StepInFlight* step) {
  step->results.resize(step->draws.size());
  runner_->wait(step->ticket, step->results);
  if (last_queued_ == step) last_queued_ = nullptr;
  const SteadyTime computed = now();
  const DrawResult* results = step->results.data();
  Counts counts;
  for (const StepInFlight::Piece& piece : step->pieces) {
    if (piece.group != nullptr) {
      commit_prompt(piece, computed, &results, &counts);
    } else {
      commit_row(piece.sequence, computed, &results, &counts);
    }
  }
  DS_CHECK(results == step->results.data() + step->results.size());
  retire_ended();
  step->clear();
  const SteadyTime end = now();
  const double seconds =
      std::chrono::duration<double>(end - std::max(step->began, busy_until_)).count();
  if (counts.decode_rows > 0) read_ahead_share_.count(seconds, counts.read_ahead > 0);
  std::lock_guard lock(mutex_);
  stats_.steps += counts.any() ? 1 : 0;
  stats_.prompt_tokens += counts.prompt_tokens;
  stats_.prefix_replayed_tokens += counts.read_again;
  stats_.read_ahead_tokens += counts.read_ahead;
  stats_.decode_rows += counts.decode_rows;
  stats_.generated_tokens += counts.generated_tokens;
  stats_.busy_seconds += seconds;
  busy_until_ = end;
  admission_.count_ended(ended_);
}

// Takes the row's result from the front of *results, if the row was drawn from. The sequence may
// have ended since the draw or since the forward pass.
void Engine::Loop::commit_row(Sequence* sequence, SteadyTime time, const DrawResult** results,
                              Counts* counts) {
  if (!sequence->awaits_result()) return;
  const bool wanted = !sequence->ended();
  sequence->commit(*(*results)++, time);
  if (!wanted) return;
  ++counts->decode_rows;
  ++counts->generated_tokens;
  if (!sequence->ended()) told_.push_back(sequence);
}

// Works like commit_row() for a piece of a prompt, which may have several results.
void Engine::Loop::commit_prompt(const StepInFlight::Piece& piece, SteadyTime time,
                                 const DrawResult** results, Counts* counts) {
  bool wanted = false;
  for (const Sequence* choice : piece.group->members()) {
    if (choice->ended()) continue;
    wanted = true;
    counts->generated_tokens += choice->awaits_result() ? 1 : 0;
  }
  int64_t& rows = piece.group->read_ahead()      ? counts->read_ahead
                  : piece.group->first_reading() ? counts->prompt_tokens
                                                 : counts->read_again;
  if (wanted) rows += piece.prompt.num_rows;
  *results = piece.group->commit(piece.prompt, *results, time);
  for (Sequence* choice : piece.group->members()) {
    if (!choice->ended()) told_.push_back(choice);
  }
}

void Engine::Loop::sleep() {
  SteadyTime until = SteadyTime::max();
  for (const auto& sequence : decoding_) until = std::min(until, sequence->deadline());
  for (const auto& group : prefills_) until = std::min(until, group->deadline());
  {
    std::lock_guard lock(mutex_);
    // A prompt of a list may have joined the queue when choices of the list ended.
    if (admission_.can_admit()) return;
    idle_ = decoding_.empty() && prefills_.empty() && admission_.nobody_waits();
    until = std::min(until, admission_.earliest_deadline());
    if (!admission_.nobody_waits()) until = std::min(until, now() + options_.unread / 2);
  }
  doorbell_->wait_until(until);
}

// Moves ended sequences out of decoding_ and prefills_ and frees their slots. A step in flight may
// still write such a slot; work for its next owner is queued after that step.
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
  for (auto& group : prefills_) {
    if (group->num_choices() == 0) let_step_keep(std::move(group));
  }
  std::erase(prefills_, nullptr);
}

// Sends the updates to the readers. Choices that ended since the commit are left to
// publish_ended(), which runs once they are counted.
void Engine::Loop::publish() {
  for (Sequence* sequence : told_) {
    if (!sequence->ended()) sequence->publish();
  }
  told_.clear();
  publish_ended();
}

void Engine::Loop::publish_ended() {
  for (auto& sequence : ended_) {
    sequence->publish();
    let_step_keep(std::move(sequence));
  }
  ended_.clear();
}

// Keeps an ended sequence alive until the newest step in flight, the last that may point to it, is
// finished.
void Engine::Loop::let_step_keep(std::unique_ptr<Sequence> sequence) {
  if (last_queued_ != nullptr) last_queued_->ended.push_back(std::move(sequence));
}

void Engine::Loop::let_step_keep(std::unique_ptr<SequenceGroup> group) {
  if (last_queued_ != nullptr) last_queued_->ended_groups.push_back(std::move(group));
}

// Ends every choice. Requires that stopping_ is set, so that no request joins the queue, and that
// no step is in flight.
void Engine::Loop::end_all() {
  const SteadyTime time = now();
  for (const auto& sequence : decoding_) {
    if (!sequence->ended()) sequence->end(FinishReason::kCancelled, time);
  }
  for (const auto& group : prefills_) group->end_all(FinishReason::kCancelled, time, &ended_);
  retire_ended();
  {
    std::lock_guard lock(mutex_);
    admission_.end_all(FinishReason::kCancelled, time, &ended_);
    admission_.count_ended(ended_);
  }
  publish_ended();
  std::lock_guard lock(mutex_);
  idle_ = true;
}

Engine::Engine(StepRunner* runner, const Vocabulary* vocabulary, EngineOptions options)
    : loop_(std::make_unique<Loop>(runner, vocabulary, std::move(options))) {}

Engine::~Engine() = default;

absl::StatusOr<std::vector<std::shared_ptr<TokenStream>>> Engine::submit_list(
    std::vector<GenerateRequest> requests, int num_choices, const std::function<void()>& notify) {
  return loop_->submit(std::move(requests), num_choices, notify);
}

absl::StatusOr<std::vector<std::shared_ptr<TokenStream>>> Engine::submit_choices(
    GenerateRequest request, int num_choices, const std::function<void()>& notify) {
  std::vector<GenerateRequest> one;
  one.push_back(std::move(request));
  return submit_list(std::move(one), num_choices, notify);
}

absl::StatusOr<std::shared_ptr<TokenStream>> Engine::submit(GenerateRequest request,
                                                            const std::function<void()>& notify) {
  auto streams = submit_choices(std::move(request), 1, notify);
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
void Engine::trim_prefixes() {
  loop_->forget_prefixes(nullptr);
}

void Engine::clear_prefixes(const PrefixOwner& owner) {
  loop_->forget_prefixes(&owner);
}
EngineStats Engine::stats() const {
  return loop_->stats();
}

}  // namespace deltaserve
