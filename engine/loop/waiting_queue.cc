#include "engine/loop/waiting_queue.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace deltaserve {
namespace {

constexpr uint64_t kOldestEvery = 4;  // admissions

bool arrived_before(const std::unique_ptr<SequenceGroup>& a,
                    const std::unique_ptr<SequenceGroup>& b) {
  return a->arrival() < b->arrival();
}

bool goes_before(const std::unique_ptr<SequenceGroup>& a, const std::unique_ptr<SequenceGroup>& b) {
  const auto place = [](const SequenceGroup& group) {
    return std::tuple(group.priority(), group.lets_others_pass(), group.arrival());
  };
  return place(*a) < place(*b);
}

std::unique_ptr<SequenceGroup> take(std::deque<std::unique_ptr<SequenceGroup>>* groups,
                                    std::deque<std::unique_ptr<SequenceGroup>>::iterator at) {
  std::unique_ptr<SequenceGroup> group = std::move(*at);
  groups->erase(at);
  return group;
}

}  // namespace

void WaitingQueue::push(std::unique_ptr<SequenceGroup> group) {
  Groups& groups = group->read_ahead() ? read_aheads_ : requests_;
  const auto later = std::upper_bound(groups.begin(), groups.end(), group, goes_before);
  groups.insert(later, std::move(group));
}

void WaitingQueue::end_unwanted(SteadyTime now, Sequences* ended) {
  for (Groups* groups : {&requests_, &read_aheads_}) {
    for (const auto& group : *groups) group->end_unwanted(now, ended);
    std::erase_if(*groups, [](const auto& group) { return group->num_choices() == 0; });
  }
}

void WaitingQueue::end_all(FinishReason finish, SteadyTime now, Sequences* ended) {
  for (const auto& group : requests_) group->end_all(finish, now, ended);
  requests_.clear();
  end_read_aheads(finish, now, ended);
}

void WaitingQueue::end_read_aheads(FinishReason finish, SteadyTime now, Sequences* ended) {
  for (const auto& group : read_aheads_) group->end_all(finish, now, ended);
  read_aheads_.clear();
}

void WaitingQueue::cancel_read_aheads(const PrefixOwner& owner, SteadyTime now, Sequences* ended) {
  for (const auto& group : read_aheads_) {
    if (group->owner() == owner) group->end_all(FinishReason::kCancelled, now, ended);
  }
  std::erase_if(read_aheads_, [](const auto& group) { return group->num_choices() == 0; });
}

std::unique_ptr<SequenceGroup> WaitingQueue::pop_request() {
  if (requests_.empty()) return nullptr;
  auto next = requests_.begin();
  if (++num_admitted_ % kOldestEvery == 0) {
    next = std::min_element(requests_.begin(), requests_.end(), arrived_before);
  }
  return take(&requests_, next);
}

std::unique_ptr<SequenceGroup> WaitingQueue::pop_read_ahead() {
  return read_aheads_.empty() ? nullptr : take(&read_aheads_, read_aheads_.begin());
}

SteadyTime WaitingQueue::earliest_deadline() const {
  SteadyTime earliest = SteadyTime::max();
  for (const Groups* groups : {&requests_, &read_aheads_}) {
    for (const auto& group : *groups) earliest = std::min(earliest, group->deadline());
  }
  return earliest;
}

}  // namespace deltaserve
