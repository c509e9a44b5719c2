// Decides which request gets a slot next: requests wait here from their submission to their
// admission. Counts the choices in the engine, and how much of their prompts was found in kept
// states.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "engine/loop/engine_stats.h"
#include "engine/loop/prompt_lists.h"
#include "engine/loop/waiting_queue.h"
#include "engine/reuse/prefix_index.h"
#include "engine/sequence/sequence_group.h"
#include "engine/step/state_pool.h"

namespace deltaserve {

// Thread safety: the engine's mutex guards all methods but slots() and prefixes(), which are for
// the engine's thread only.
class Admission {
 public:
  using Groups = std::vector<std::unique_ptr<SequenceGroup>>;

  // `stats` must outlive it; it keeps the members that it counts up to date.
  Admission(int num_slots, int num_snapshots, int num_host_snapshots, bool share_prefixes,
            int max_queued_requests, EngineStats* stats);

  // ---- Any thread

  uint64_t next_arrival() { return ++arrivals_; }
  // Queues a group, or several of the list `list`. Returns RESOURCE_EXHAUSTED if the queue is full.
  // Returns INVALID_ARGUMENT if a group has more choices than an empty queue accepts.
  absl::Status submit(std::unique_ptr<SequenceGroup> group);
  absl::Status submit_list(uint64_t list, Groups groups);
  // Forgets the states of an owner, and ends the owner's read-aheads, before the next admission.
  void clear_prefixes(const PrefixOwner& owner) { to_clear_.push_back(owner); }
  // Forgets half of all kept states before the next admission.
  void trim_prefixes() { to_trim_ = true; }
  // Returns the number of choices without a slot.
  int64_t waiting() const;
  bool nobody_waits() const { return queue_.empty() && lists_.nobody_waits(); }
  SteadyTime earliest_deadline() const;

  // ---- The engine's thread

  StatePool& slots() { return slots_; }
  PrefixIndex& prefixes() { return prefixes_; }
  // Drops requests that are cancelled or late, then gives slots to waiting ones: those groups join
  // *running. If there are too few slots, a read-ahead in *running gives up its own and is left
  // without choices; while `draining`, all read-aheads end. Ended choices are moved to *ended.
  void admit(SteadyTime time, bool draining, Groups* running, Sequences* ended);
  // Returns whether admit() would give a slot to a request.
  bool can_admit() const { return queue_.has_requests() && slots_.num_free() > 0; }
  // Queues choices that got no slot when their prompt was read.
  void wait_again(Groups groups);
  void end_all(FinishReason finish, SteadyTime time, Sequences* ended);
  // Counts choices that have ended, and the slots in use; prompts of their lists may join the
  // queue. Call it once for each choice.
  void count_ended(const Sequences& ended);

 private:
  absl::Status check_room(const SequenceGroup& group) const;
  void admit(std::unique_ptr<SequenceGroup> group, SteadyTime time, Groups* running);
  bool end_running_read_ahead(const PrefixOwner* owner, SteadyTime time, Groups* running,
                              Sequences* ended);

  StatePool slots_;
  PrefixIndex prefixes_;
  WaitingQueue queue_;
  PromptLists lists_;
  const int64_t max_in_engine_;
  int64_t in_engine_ = 0;  // choices that have not ended, without those that wait in lists
  uint64_t arrivals_ = 0;
  std::vector<PrefixOwner> to_clear_;
  bool to_trim_ = false;
  EngineStats& stats_;
};

}  // namespace deltaserve
