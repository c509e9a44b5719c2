#include "engine/loop/admission.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/limits.h"
#include "kernels/base/check.h"

namespace deltaserve {
namespace {

void count(FinishReason finish, EngineStats* stats) {
  ++stats->finished;
  switch (finish) {
    case FinishReason::kNone: DS_CHECK(false);
    case FinishReason::kStop: ++stats->finished_stop; break;
    case FinishReason::kLength: ++stats->finished_length; break;
    case FinishReason::kCancelled: ++stats->cancelled; break;
    case FinishReason::kDeadline: ++stats->deadline_exceeded; break;
    case FinishReason::kError: ++stats->errors; break;
    case FinishReason::kUnread: ++stats->unread; break;
    case FinishReason::kNotFinite: ++stats->not_finite; break;
  }
}

}  // namespace

Admission::Admission(int num_slots, int num_snapshots, int num_host_snapshots, bool share_prefixes,
                     int max_queued_requests, EngineStats* stats)
    : slots_(num_slots),
      prefixes_(num_slots, num_snapshots, num_host_snapshots, engine_limits::kSeenGridPoints,
                share_prefixes),
      lists_(num_slots),
      max_in_engine_(int64_t{num_slots} + max_queued_requests),
      stats_(*stats) {
  stats_.slots = num_slots;
  stats_.snapshot_slots = share_prefixes ? num_snapshots : 0;
  stats_.host_snapshot_slots = num_host_snapshots;
}

absl::Status Admission::submit(std::unique_ptr<SequenceGroup> group) {
  if (group->read_ahead()) {
    if (queue_.num_read_aheads() == engine_limits::kReadAheads) {
      return absl::ResourceExhaustedError("the queue of read-aheads is full");
    }
  } else {
    if (absl::Status status = check_room(*group); !status.ok()) return status;
    in_engine_ += group->num_choices();
  }
  queue_.push(std::move(group));
  return absl::OkStatus();
}

absl::Status Admission::submit_list(uint64_t list, Groups groups) {
  if (absl::Status status = check_room(*groups.front()); !status.ok()) return status;
  in_engine_ += lists_.add(list, std::move(groups), max_in_engine_ - in_engine_, &queue_);
  return absl::OkStatus();
}

absl::Status Admission::check_room(const SequenceGroup& group) const {
  if (group.num_choices() > max_in_engine_) {
    return absl::InvalidArgumentError(absl::StrCat("n is ", group.num_choices(),
                                                   ", but this server holds at most ",
                                                   max_in_engine_, " answers at a time"));
  }
  // Free slots count as room, too, so that a burst is not refused before the next step admits it.
  if (in_engine_ + group.num_choices() > max_in_engine_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the queue is full: ", waiting(), " requests wait"));
  }
  return absl::OkStatus();
}

SteadyTime Admission::earliest_deadline() const {
  return std::min(queue_.earliest_deadline(), lists_.earliest_deadline());
}

int64_t Admission::waiting() const {
  return std::max<int64_t>(in_engine_ - stats_.running, 0);
}

void Admission::admit(SteadyTime time, bool draining, Groups* running, Sequences* ended) {
  for (const PrefixOwner& owner : to_clear_) {
    prefixes_.clear(owner);
    queue_.cancel_read_aheads(owner, time, ended);
    end_running_read_ahead(&owner, time, running, ended);
  }
  to_clear_.clear();
  if (std::exchange(to_trim_, false)) prefixes_.trim(time);
  queue_.end_unwanted(time, ended);
  lists_.end_unwanted(time, ended);
  if (draining) {
    queue_.end_read_aheads(FinishReason::kCancelled, time, ended);
    end_running_read_ahead(nullptr, time, running, ended);
  }
  while (queue_.has_requests() &&
         (slots_.num_free() > 0 || end_running_read_ahead(nullptr, time, running, ended))) {
    admit(queue_.pop_request(), time, running);
  }
  const bool reads_ahead = std::any_of(running->begin(), running->end(), [](const auto& group) {
    return group->read_ahead() && group->num_choices() > 0;
  });
  if (slots_.num_free() > 0 && !reads_ahead) {
    if (auto group = queue_.pop_read_ahead()) admit(std::move(group), time, running);
  }
  if (!prefixes_.shares()) return;
  stats_.snapshots = prefixes_.num_kept();
  stats_.snapshot_slots_in_use = prefixes_.num_in_slots();
  stats_.host_snapshots = prefixes_.num_in_host();
  stats_.snapshots_stored = prefixes_.num_stored();
  stats_.snapshots_loaded = prefixes_.num_loaded();
  stats_.prefix_evictions = prefixes_.num_evictions();
}

void Admission::admit(std::unique_ptr<SequenceGroup> group, SteadyTime time, Groups* running) {
  const SequenceGroup::Admission found = group->admit(&slots_, &prefixes_, time);
  if (group->first_reading() && !group->read_ahead() && prefixes_.shares()) {
    const bool missed = found.reused == 0 && !found.bypassed;
    stats_.prefix_hits += found.reused > 0 ? 1 : 0;
    stats_.prefix_misses_bypassed += found.bypassed ? 1 : 0;
    stats_.prefix_misses_new += missed && found.seen == 0 ? 1 : 0;
    stats_.prefix_misses_not_kept += missed && found.seen > 0 ? 1 : 0;
    stats_.prefix_reused_tokens += found.reused;
    stats_.prefix_replayed_tokens += std::max<int64_t>(found.seen - found.reused, 0);
  }
  running->push_back(std::move(group));
}

// Ends the read-ahead that has a slot, so that a request can have the slot. Returns false if there
// is none of the owner (null: of anybody). Work for the slot's next user is queued after the
// read-ahead's.
bool Admission::end_running_read_ahead(const PrefixOwner* owner, SteadyTime time, Groups* running,
                                       Sequences* ended) {
  for (const auto& group : *running) {
    if (!group->read_ahead() || group->num_choices() == 0) continue;
    if (owner != nullptr && group->owner() != *owner) continue;
    group->end_all(FinishReason::kCancelled, time, ended);
    ++stats_.read_aheads_dropped;
    return true;
  }
  return false;
}

void Admission::wait_again(Groups groups) {
  for (auto& group : groups) queue_.push(std::move(group));
}

void Admission::end_all(FinishReason finish, SteadyTime time, Sequences* ended) {
  queue_.end_all(finish, time, ended);
  lists_.end_all(finish, time, ended);
}

void Admission::count_ended(const Sequences& ended) {
  stats_.running = slots_.num_slots() - slots_.num_free();
  for (const auto& sequence : ended) {
    if (sequence->read_ahead()) continue;
    count(sequence->finish(), &stats_);
    if (sequence->list() == 0) {
      --in_engine_;
    } else {
      in_engine_ +=
          lists_.count_ended(sequence->list(), max_in_engine_ - in_engine_, &arrivals_, &queue_);
    }
  }
}

}  // namespace deltaserve
