// Finds the least valuable of many kept states without computing the value of each.
//
// A value falls as time passes, so what it will be at a later time is a lower bound until then.
// States are ordered by such bounds: only those whose bound is below the least value can be worth
// less. A bound that holds no longer must be renewed before a search.
#pragma once
#include <array>
#include <chrono>
#include <cstddef>
#include <initializer_list>
#include <limits>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace deltaserve {

// Thread safety: one thread, the engine's.
class ValueOrder {
 public:
  using Time = std::chrono::steady_clock::time_point;
  // Says which memories hold a state.
  enum Place { kInSlot, kInBoth, kInHost };

  // Entries have the numbers [0, num_entries).
  explicit ValueOrder(size_t num_entries) : members_(num_entries) {}

  // Sets the entry's place, and a bound of its value that holds until `until`.
  void set(int entry, Place place, double bound, Time until) {
    remove(entry);
    members_[static_cast<size_t>(entry)] = Member{place, bound, until};
    by_bound_[place].emplace(bound, entry);
    by_time_.emplace(until, entry);
  }

  void remove(int entry) {
    std::optional<Member>& member = members_[static_cast<size_t>(entry)];
    if (!member) return;
    by_bound_[member->place].erase({member->bound, entry});
    by_time_.erase({member->until, entry});
    member.reset();
  }

  // Returns the time until which the bound of an entry, which must be a member, holds.
  Time until(int entry) const { return members_[static_cast<size_t>(entry)]->until; }

  // Returns an entry whose bound does not hold at `now`; -1: all do.
  int outdated(Time now) const {
    if (by_time_.empty() || by_time_.begin()->first >= now) return -1;
    return by_time_.begin()->second;
  }

  // Returns the entry with the least value that is smaller than `below`, of those in the places for
  // which value() has a result; of equal ones the first. -1: there is none. Requires that no entry
  // is outdated.
  template <class Value>
  int least(std::initializer_list<Place> places, double below, const Value& value) const {
    int least = -1;
    for (const Place place : places) {
      for (const auto& [bound, entry] : by_bound_[place]) {
        if (bound > below) break;
        const std::optional<double> own = value(entry);
        if (!own || *own > below || (*own == below && (least < 0 || least < entry))) continue;
        least = entry;
        below = *own;
      }
    }
    return least;
  }

  // Returns how many entries of a place satisfy the condition, at most `most`.
  template <class Condition>
  int count(Place place, int most, const Condition& condition) const {
    int count = 0;
    for (auto i = by_bound_[place].begin(); count < most && i != by_bound_[place].end(); ++i) {
      count += condition(i->second) ? 1 : 0;
    }
    return count;
  }

 private:
  struct Member {
    Place place;
    double bound;
    Time until;
  };

  std::vector<std::optional<Member>> members_;
  std::array<std::set<std::pair<double, int>>, 3> by_bound_;  // by place
  std::set<std::pair<Time, int>> by_time_;
};

}  // namespace deltaserve
