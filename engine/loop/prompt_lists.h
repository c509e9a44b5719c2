// PromptLists keeps the lists of prompts of requests that have several. A list of any length holds
// no more places of the engine than there are slots. Its other prompts wait here, outside the
// queue, and one joins the queue's end whenever an earlier one has ended. So a request for a
// thousand embeddings neither fills the queue nor is refused because of its length, and other
// requests wait for only a few of its prompts.
#pragma once
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "engine/loop/waiting_queue.h"
#include "engine/sequence/sequence_group.h"

namespace deltaserve {

// Thread safety: one thread at a time.
class PromptLists {
 public:
  using Groups = std::vector<std::unique_ptr<SequenceGroup>>;

  // `places` is the number of choices of one list that may be in the queue and in slots at a time;
  // a single prompt may have more.
  explicit PromptLists(int places) : places_(places) {}

  // Adds a list whose sequences have `id`, and moves the first of its prompts to `queue`, as many
  // as `room` choices allow. The first one must fit. Returns the number of places that the list
  // holds.
  int64_t add(uint64_t id, Groups groups, int64_t room, WaitingQueue* queue);
  // Counts an ended choice of the list `id`. Prompts that take the places of those that have ended
  // join `queue`. Returns by how many the places that the list holds change, at most `room`.
  int64_t count_ended(uint64_t id, int64_t room, uint64_t* arrivals, WaitingQueue* queue);

  // These do what WaitingQueue's do, for the prompts that have not joined the queue.
  void end_unwanted(SteadyTime now, Sequences* ended);
  void end_all(FinishReason finish, SteadyTime now, Sequences* ended);
  SteadyTime earliest_deadline() const;
  // Returns whether every prompt has joined the queue.
  bool nobody_waits() const;

 private:
  struct List {
    std::deque<std::unique_ptr<SequenceGroup>> rest;
    int64_t in_rest = 0;  // choices
    int64_t alive = 0;    // choices that have not ended
    int64_t held = 0;     // places
  };

  void settle(int64_t room, uint64_t* arrivals, List* list, WaitingQueue* queue) const;

  const int places_;
  std::map<uint64_t, List> lists_;
};

}  // namespace deltaserve
