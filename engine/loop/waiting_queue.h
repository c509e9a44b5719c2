// The requests that wait for a slot: by priority, then first come first served, except that a
// request for more answers than there are slots lets others pass before its further answers. Every
// fourth admission goes to the request that came first, so that nobody starves. Read-aheads come
// last.
#pragma once
#include <cstdint>
#include <deque>
#include <memory>

#include "engine/sequence/sequence_group.h"

namespace deltaserve {

// Thread safety: one thread at a time.
class WaitingQueue {
 public:
  void push(std::unique_ptr<SequenceGroup> group);
  // Ends choices that were cancelled or are past their deadline, and moves them to *ended.
  void end_unwanted(SteadyTime now, Sequences* ended);
  void end_all(FinishReason finish, SteadyTime now, Sequences* ended);
  void end_read_aheads(FinishReason finish, SteadyTime now, Sequences* ended);
  // Ends only those of an owner.
  void cancel_read_aheads(const PrefixOwner& owner, SteadyTime now, Sequences* ended);
  // Removes and returns the request that is admitted next; null if none waits.
  std::unique_ptr<SequenceGroup> pop_request();
  // Removes and returns the oldest read-ahead; null if none waits.
  std::unique_ptr<SequenceGroup> pop_read_ahead();

  bool empty() const { return requests_.empty() && read_aheads_.empty(); }
  bool has_requests() const { return !requests_.empty(); }
  int num_read_aheads() const { return static_cast<int>(read_aheads_.size()); }
  // Returns the earliest deadline of all waiting choices; max() if none has a deadline.
  SteadyTime earliest_deadline() const;

 private:
  using Groups = std::deque<std::unique_ptr<SequenceGroup>>;

  Groups requests_;     // by priority, then who lets others pass, then by arrival
  Groups read_aheads_;  // by arrival
  uint64_t num_admitted_ = 0;
};

}  // namespace deltaserve
