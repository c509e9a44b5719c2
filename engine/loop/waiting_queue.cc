#include "engine/loop/waiting_queue.h"

#include <algorithm>
#include <utility>

namespace deltaserve {

void WaitingQueue::push(std::unique_ptr<SequenceGroup> group) {
  num_choices_ += group->num_choices();
  const auto later = std::upper_bound(
      groups_.begin(), groups_.end(), group->priority(),
      [](int32_t priority, const auto& other) { return priority < other->priority(); });
  groups_.insert(later, std::move(group));
}

void WaitingQueue::end_unwanted(SteadyTime now, Sequences* ended) {
  const size_t before = ended->size();
  for (const auto& group : groups_) group->end_unwanted(now, ended);
  num_choices_ -= static_cast<int64_t>(ended->size() - before);
  std::erase_if(groups_, [](const auto& group) { return group->num_choices() == 0; });
}

void WaitingQueue::end_all(FinishReason finish, SteadyTime now, Sequences* ended) {
  for (const auto& group : groups_) group->end_all(finish, now, ended);
  groups_.clear();
  num_choices_ = 0;
}

std::unique_ptr<SequenceGroup> WaitingQueue::pop(int num_free_slots) {
  if (groups_.empty() || groups_.front()->num_choices() > num_free_slots) return nullptr;
  std::unique_ptr<SequenceGroup> first = std::move(groups_.front());
  groups_.pop_front();
  num_choices_ -= first->num_choices();
  return first;
}

SteadyTime WaitingQueue::earliest_deadline() const {
  SteadyTime earliest = SteadyTime::max();
  for (const auto& group : groups_) earliest = std::min(earliest, group->deadline());
  return earliest;
}

}  // namespace deltaserve
