#include "engine/loop/prompt_lists.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "kernels/base/check.h"

namespace deltaserve {

int64_t PromptLists::add(uint64_t id, Groups groups, int64_t room, WaitingQueue* queue) {
  List& list = lists_[id];
  list.rest.assign(std::move_iterator(groups.begin()), std::move_iterator(groups.end()));
  for (const auto& group : list.rest) list.alive += group->num_choices();
  list.in_rest = list.alive;
  settle(room, nullptr, &list, queue);
  DS_CHECK(list.held > 0);
  return list.held;
}

int64_t PromptLists::count_ended(uint64_t id, int64_t room, uint64_t* arrivals,
                                 WaitingQueue* queue) {
  const auto found = lists_.find(id);
  DS_CHECK(found != lists_.end());
  List& list = found->second;
  const int64_t held = list.held;
  --list.alive;
  settle(room, arrivals, &list, queue);
  const int64_t change = list.held - held;
  if (list.alive == 0) lists_.erase(found);
  return change;
}

// Gives the list the places that it may hold, and those that are free to the next of its prompts.
// A list keeps a place until none of its prompts is left for it: one with several choices needs as
// many places at once, and would otherwise have to wait until nobody else wants them.
void PromptLists::settle(int64_t room, uint64_t* arrivals, List* list, WaitingQueue* queue) const {
  const int64_t next = list->rest.empty() ? 1 : list->rest.front()->num_choices();
  const int64_t most = std::max<int64_t>(places_ / next, 1) * next;
  const int64_t reachable = std::max(list->held, std::min(most, list->held + room));
  list->held = std::min(reachable, list->alive);
  while (!list->rest.empty()) {
    const int64_t choices = list->rest.front()->num_choices();
    const int64_t in_queue = list->alive - list->in_rest;
    if (in_queue + choices > list->held) return;
    std::unique_ptr<SequenceGroup> group = std::move(list->rest.front());
    list->rest.pop_front();
    list->in_rest -= choices;
    if (arrivals != nullptr) group->set_arrival(++*arrivals);
    queue->push(std::move(group));
  }
}

void PromptLists::end_unwanted(SteadyTime now, Sequences* ended) {
  for (auto& [id, list] : lists_) {
    const size_t before = ended->size();
    for (const auto& group : list.rest) group->end_unwanted(now, ended);
    std::erase_if(list.rest, [](const auto& group) { return group->num_choices() == 0; });
    list.in_rest -= static_cast<int64_t>(ended->size() - before);
  }
}

void PromptLists::end_all(FinishReason finish, SteadyTime now, Sequences* ended) {
  for (auto& [id, list] : lists_) {
    for (const auto& group : list.rest) group->end_all(finish, now, ended);
    list.rest.clear();
    list.in_rest = 0;
  }
}

SteadyTime PromptLists::earliest_deadline() const {
  SteadyTime earliest = SteadyTime::max();
  for (const auto& [id, list] : lists_) {
    for (const auto& group : list.rest) earliest = std::min(earliest, group->deadline());
  }
  return earliest;
}

bool PromptLists::nobody_waits() const {
  return std::all_of(lists_.begin(), lists_.end(),
                     [](const auto& entry) { return entry.second.rest.empty(); });
}

}  // namespace deltaserve
