// The requests that wait for slots, by priority, then first come first served. No request overtakes
// the first, so a request for many slots is not starved by those for few.
#pragma once
#include <cstdint>
#include <deque>
#include <memory>

#include "engine/sequence_group.h"

namespace deltaserve {

// Thread safety: one thread at a time.
class WaitingQueue {
 public:
  void push(std::unique_ptr<SequenceGroup> group);
  // Ends choices that were cancelled or are past their deadline, and moves them to *ended.
  void end_unwanted(SteadyTime now, Sequences* ended);
  void end_all(FinishReason finish, SteadyTime now, Sequences* ended);
  // Removes and returns the first request if there are slots for all its choices; null otherwise.
  std::unique_ptr<SequenceGroup> pop(int num_free_slots);

  bool empty() const { return groups_.empty(); }
  int64_t num_choices() const { return num_choices_; }
  // Returns the earliest deadline of the requests; max() if none has one.
  SteadyTime earliest_deadline() const;

 private:
  std::deque<std::unique_ptr<SequenceGroup>> groups_;  // in the order of admission
  int64_t num_choices_ = 0;                            // of all groups
};

}  // namespace deltaserve
