// The rule of PrefixIndex as its header states it: the value of every state is computed at every
// choice, and the state of which another is the continuation is looked for among all.
#pragma once
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "engine/reuse/prefix_index.h"
#include "kernels/mixer/delta_rule.h"

namespace deltaserve {

class LinearIndex {
 public:
  using Time = PrefixIndex::Time;

  LinearIndex(int num_slots, int num_host_slots) : entries_(num_slots + num_host_slots) {
    for (int i = num_slots + num_host_slots; i-- > 0;) free_entries_.push_back(i);
    for (int i = num_slots; i-- > 0;) free_slots_.push_back(i);
    for (int i = num_host_slots; i-- > 0;) free_host_slots_.push_back(i);
    has_host_ = num_host_slots > 0;
  }

  // Return the entry that is found or kept, pinned; -1: none.
  int find(const PrefixKeys& keys, Time now) {
    last_prompt_ = std::max(now + ahead_, last_prompt_ + std::chrono::seconds(4));
    ahead_ = last_prompt_ - now;
    const int best = longest(keys, static_cast<int64_t>(keys->size()) * kChunkTokens);
    if (best < 0) return -1;
    touch(best, 1, last_prompt_);
    ++entries_[best].pins;
    return best;
  }
  int keep(const PrefixKeys& keys, int64_t position, SnapshotKind kind, const PrefixOwner& owner,
           Time now) {
    now += ahead_;
    if (const int kept = entry_of(keys, position); kept >= 0) {
      if (prior(kind) > prior(entries_[kept].kind)) entries_[kept].kind = kind;
      touch(kept, 0, now);
      return -1;
    }
    const Entry wanted{keys, position, kind, owner, 0, now};
    const int slot = free_slot(value(wanted, now), now);
    if (slot < 0) return -1;
    const int index = free_entries_.back();
    free_entries_.pop_back();
    entries_[index] = wanted;
    entries_[index].slot = slot;
    entries_[index].pins = 1;
    store_ahead(now);
    return index;
  }
  int slot_to_read(int index, int own, Time now) {
    now += ahead_;
    Entry& entry = entries_[index];
    if (entry.slot >= 0) return entry.slot;
    if (entry.keys != nullptr) entry.slot = free_slot(value(entry, now), now);
    const int slot = entry.slot >= 0 ? entry.slot : own;
    transfers.push_back({SnapshotTransfer::kLoad, slot, entry.host_slot});
    if (entry.slot >= 0) free_host_slots_.push_back(std::exchange(entry.host_slot, -1));
    return slot;
  }
  void release(int index) {
    if (--entries_[index].pins == 0 && entries_[index].keys == nullptr) release_slots(index);
  }
  void clear(const PrefixOwner& owner) {
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i].keys != nullptr && entries_[i].owner == owner) forget(static_cast<int>(i));
    }
  }
  void trim(Time now) {
    now += ahead_;
    std::vector<std::pair<double, int>> kept;
    for (size_t i = 0; i < entries_.size(); ++i) {
      if (entries_[i].keys == nullptr) continue;
      kept.emplace_back(value(entries_[i], now), static_cast<int>(i));
    }
    std::sort(kept.begin(), kept.end());
    for (size_t i = 0; i < kept.size() - kept.size() / 2; ++i) {
      if (entries_[kept[i].second].pins == 0) evict(kept[i].second);
    }
  }

  int64_t position(int index) const { return entries_[index].position; }
  int slot(int index) const { return entries_[index].slot; }

  std::vector<SnapshotTransfer> transfers;
  int64_t evictions = 0;

 private:
  struct Entry {
    PrefixKeys keys;
    int64_t position = 0;
    SnapshotKind kind = SnapshotKind::kLadder;
    PrefixOwner owner{};
    double hits = 0;
    Time used;
    int pins = 0;
    int slot = -1, host_slot = -1;
  };

  static double prior(SnapshotKind kind) {
    switch (kind) {
      case SnapshotKind::kDivergence: return 0.4;
      case SnapshotKind::kPromptEnd: return 0.3;
      case SnapshotKind::kLadder: return 0.05;
      default: return 0.5;
    }
  }
  static double hits_at(const Entry& entry, Time now) {
    return entry.hits * std::exp2(-std::chrono::duration<double>(now - entry.used).count() / 200);
  }
  void touch(int index, double hits, Time now) {
    entries_[index].hits = hits_at(entries_[index], now) + hits;
    entries_[index].used = now;
  }
  int entry_of(const PrefixKeys& keys, int64_t position) const {
    const auto point = static_cast<size_t>(position / kChunkTokens - 1);
    for (size_t i = 0; i < entries_.size(); ++i) {
      const Entry& entry = entries_[i];
      if (entry.keys == nullptr || entry.position != position) continue;
      if ((*entry.keys)[point] == (*keys)[point]) return static_cast<int>(i);
    }
    return -1;
  }
  int longest(const PrefixKeys& keys, int64_t most) const {
    for (int64_t position = most; position > 0; position -= kChunkTokens) {
      if (const int entry = entry_of(keys, position); entry >= 0) return entry;
    }
    return -1;
  }
  double value(const Entry& entry, Time now) const {
    const int parent = longest(entry.keys, entry.position - kChunkTokens);
    const int64_t saved = entry.position - (parent < 0 ? 0 : entries_[parent].position);
    const double idle = std::chrono::duration<double>(now - entry.used).count();
    return static_cast<double>(saved) * (hits_at(entry, now) + prior(entry.kind)) /
           (std::max(idle, 0.0) + 60);
  }
  int least(double below, Time now, const std::function<bool(const Entry&)>& leaves) const {
    int least = -1;
    for (size_t i = 0; i < entries_.size(); ++i) {
      const Entry& entry = entries_[i];
      if (entry.keys == nullptr || entry.pins > 0 || !leaves(entry)) continue;
      const double own = value(entry, now);
      if (own >= below) continue;
      least = static_cast<int>(i);
      below = own;
    }
    return least;
  }
  int free_slot(double value, Time now) {
    if (free_slots_.empty()) {
      const int worst = least(value, now, [](const Entry& entry) { return entry.slot >= 0; });
      if (worst < 0) return -1;
      store(worst, now);
      Entry& entry = entries_[worst];
      if (entry.host_slot < 0) {
        evict(worst);
      } else {
        free_slots_.push_back(std::exchange(entry.slot, -1));
      }
    }
    const int slot = free_slots_.back();
    free_slots_.pop_back();
    return slot;
  }
  int free_host_slot(double value, Time now) {
    if (!has_host_) return -1;
    if (free_host_slots_.empty()) {
      const int worst = least(value, now, [](const Entry& entry) { return entry.host_slot >= 0; });
      if (worst < 0) return -1;
      if (entries_[worst].slot < 0) {
        evict(worst);
      } else {
        free_host_slots_.push_back(std::exchange(entries_[worst].host_slot, -1));
      }
    }
    const int slot = free_host_slots_.back();
    free_host_slots_.pop_back();
    return slot;
  }
  void store(int index, Time now) {
    Entry& entry = entries_[index];
    if (entry.host_slot >= 0) return;
    entry.host_slot = free_host_slot(value(entry, now), now);
    if (entry.host_slot < 0) return;
    transfers.push_back({SnapshotTransfer::kStore, entry.slot, entry.host_slot});
  }
  void store_ahead(Time now) {
    if (!has_host_) return;
    size_t ready = free_slots_.size();
    for (const Entry& entry : entries_) {
      ready += entry.keys != nullptr && entry.slot >= 0 && entry.host_slot >= 0 && entry.pins == 0;
    }
    if (ready >= 4) return;
    const int next = least(std::numeric_limits<double>::infinity(), now, [](const Entry& entry) {
      return entry.slot >= 0 && entry.host_slot < 0;
    });
    if (next >= 0) store(next, now);
  }
  void evict(int index) {
    forget(index);
    ++evictions;
  }
  void forget(int index) {
    entries_[index].keys = nullptr;
    if (entries_[index].pins == 0) release_slots(index);
  }
  void release_slots(int index) {
    Entry& entry = entries_[index];
    if (entry.slot >= 0) free_slots_.push_back(std::exchange(entry.slot, -1));
    if (entry.host_slot >= 0) free_host_slots_.push_back(std::exchange(entry.host_slot, -1));
    free_entries_.push_back(index);
  }

  bool has_host_ = false;
  std::vector<int> free_entries_, free_slots_, free_host_slots_;
  std::vector<Entry> entries_;
  Time last_prompt_{};
  Time::duration ahead_{};
};

}  // namespace deltaserve
