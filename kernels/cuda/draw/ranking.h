// Finds places in the order of a row's tokens by likelihood without sorting all of them: a block
// narrows the order down to a span that contains the wanted place, and sorts that span.
#pragma once
#include "kernels/cuda/draw/candidates.h"

namespace deltaserve::cuda::logits_head {

// The candidates of a sorted list of places.
struct ListItems {
  Candidates from;
  const uint64_t* list;
  uint64_t end_place;  // candidates after it count as 0
  float least;         // and so do candidates of a smaller weight

  DS_DEVICE double lane_sum(int begin, int end) const {
    double sum = 0;
    for (int i = begin + simt::lane_index(); i < end; i += simt::kWarp) {
      const float weight = from.weight(value_at(list[i]));
      if (list[i] < end_place && weight >= least) sum += weight;
    }
    return sum;
  }
};

class Ranking {
 public:
  // Returns how many places a block can sort at once.
  static DS_HOST_DEVICE constexpr int list_capacity(int threads) { return 4 * threads; }

  // `list` is in shared memory. `leader` is the most likely candidate's place.
  DS_DEVICE Ranking(const Candidates& from, uint64_t leader, DrawShared& shared, uint64_t* list)
      : from_(from), leader_(leader), shared_(shared), list_(list) {
    if (from_.vocab <= capacity()) fill_list({leader_, all_end(), 0, 0, from_.vocab});
  }

  // Returns the place after all candidates.
  DS_DEVICE uint64_t all_end() const {
    if (from_.weightless) return place_behind(minus_infinity());
    const float lowest = from_.max - 105.0f * from_.temperature;
    const float least = -std::numeric_limits<float>::max();
    return place_behind(lowest > least ? lowest : least);
  }

  // Returns the place after the `count` most likely candidates; all_end() if there are no more.
  DS_DEVICE uint64_t behind_most_likely(int count) {
    if (!(leads() && (span_.count >= count || span_.end >= all_end()))) {
      Wanted wanted = {count, 0, false, {}, 0};
      if (!narrow(all_end(), &wanted)) return all_end();
    }
    const int item = count - 1 - span_.rank;
    return item < span_.count ? list_[item] + 1 : all_end();
  }
  // Finds the place, before `end`, of the first candidate whose cumulative weight exceeds (with
  // `reach`: reaches) this fraction of the whole. Candidates that weigh less than `least` count as
  // 0.
  DS_DEVICE uint64_t at_weight(double fraction, bool reach, float least, uint64_t end) {
    Goal goal = {0, reach};
    const bool listed = leads() && span_.end >= end;
    if (!listed) {
      Wanted wanted = {0, fraction, true, goal, least};
      narrow(end, &wanted);
      goal = wanted.goal;
    }
    const ListItems items = {from_, list_, end, least};
    const Run run = {0, span_.count, span_.before};
    const double all = sum_parts(items, run, shared_);
    if (listed) goal.target = fraction * all;
    return list_[locate(items, run, goal, shared_).begin];
  }
  // Returns place `item` of the first `count` places in order. Valid after
  // behind_most_likely(count) with a count of at most the list's capacity.
  DS_DEVICE uint64_t listed(int item) const { return list_[item]; }

 private:
  static constexpr int kWays = 8;

  // A part of the order: [begin, end), with the candidates and the weight in front of it.
  struct Span {
    uint64_t begin = 0;
    uint64_t end = 0;
    double before = 0;
    int rank = 0;
    int count = 0;  // in the span
  };
  struct Wanted {
    int count;        // if positive, the wanted number of candidates; otherwise the next two
                      // members are used
    double fraction;  // of the weight of all,
    bool relative;    // as long as goal.target is not known
    Goal goal;
    float least;
  };

  DS_DEVICE int capacity() const { return list_capacity(simt::block_threads()); }
  DS_DEVICE bool leads() const { return span_.count > 0 && span_.rank == 0; }

  // Fills the list with the span that has the wanted place. Returns false if there are fewer
  // candidates.
  DS_DEVICE bool narrow(uint64_t end, Wanted* wanted) {
    Span span = {leader_, end, 0, 0, from_.vocab};
    for (int round = 0; !sortable(span, wanted->count); ++round) {
      if (simt::thread_index() < kWays) {
        shared_.bounds[simt::thread_index()] = bound(span, round, simt::thread_index());
      }
      simt::sync_block();
      add_up(span, wanted->least);
      if (wanted->relative) {
        wanted->goal.target = wanted->fraction * total_weight(kWays - 1);
        wanted->relative = false;
      }
      if (span.rank + total_count(kWays - 1) < wanted->count) return false;
      span = chosen_span(span, *wanted);
      simt::sync_block();  // no thread still reads the bounds
    }
    if (span.rank + span.count <= capacity()) {
      span = {leader_, span.end, 0, 0, span.rank + span.count};
    }
    fill_list(span);
    return true;
  }
  // The most likely candidates must be in the list with all before them.
  DS_DEVICE bool sortable(const Span& span, int wanted_count) const {
    const bool leads = wanted_count > 0 && wanted_count <= capacity();
    return span.count + (leads ? span.rank : 0) <= capacity();
  }

  // These return the totals of the candidates before a bound, after add_up().
  DS_DEVICE double total_weight(int bound) const { return shared_.totals[bound]; }
  DS_DEVICE int total_count(int bound) const {
    return static_cast<int>(shared_.totals[kWays + bound]);
  }

  // Returns the part that has the wanted place. If the weight is beyond the end because of
  // rounding, returns the last part with a weight above 0. Never returns an empty part, so that
  // spans shrink.
  DS_DEVICE Span chosen_span(const Span& span, const Wanted& wanted) const {
    Span chosen;
    Span part = {span.begin, 0, span.before, span.rank, 0};
    for (int i = 0; i < kWays; ++i) {
      part.end = shared_.bounds[i];
      part.count = span.rank + total_count(i) - part.rank;
      const double sum = span.before + total_weight(i);
      const bool weighs = wanted.count > 0 || sum > part.before || chosen.count == 0;
      if (part.count > 0 && weighs) {
        chosen = part;
        if (wanted.count > 0 ? part.rank + part.count >= wanted.count : wanted.goal.met(sum)) break;
      }
      part = {part.end, 0, sum, part.rank + part.count, 0};
    }
    return chosen;
  }

  // Returns bound `i` of a round. The bounds cut a span into kWays parts; the last bound is the
  // span's end. In the first round their distances are typical of models' distributions. Then they
  // are alternately even in value, which is fast, and even in place, which always narrows the span.
  DS_DEVICE uint64_t bound(const Span& span, int round, int i) const {
    if (i == kWays - 1) return span.end;
    if (round == 0) return inside(span, place_behind(from_.max - distance(i) * from_.temperature));
    const float high = value_at(span.begin);
    const float width = high - value_at(span.end - 1);
    if (round % 2 == 1 && width > 0 && is_finite(width)) {
      return inside(span, place_behind(high - width * (static_cast<float>(i + 1) / kWays)));
    }
    uint64_t end = span.end;
    if (span.begin >> 32 == (end - 1) >> 32) {  // equal values differ by their ids
      const uint64_t last = (span.begin >> 32 << 32) | static_cast<uint32_t>(from_.vocab);
      end = last < end ? last : end;
    }
    const uint64_t step = end - span.begin < kWays ? 1 : (end - span.begin) / kWays;
    return inside(span, span.begin + step * static_cast<uint64_t>(i + 1));
  }
  static DS_DEVICE float distance(int i) {
    constexpr float kDistances[kWays - 1] = {0, 1, 2, 3, 4.5f, 6.5f, 10};
    return kDistances[i];
  }
  static DS_DEVICE uint64_t inside(const Span& span, uint64_t place) {
    if (place < span.begin) return span.begin;
    return place < span.end ? place : span.end;
  }

  DS_DEVICE bool ranked(float weight) const { return weight > 0 || from_.weightless; }

  // Weights and counts of the candidates of a span in front of each bound.
  DS_DEVICE void add_up(const Span& span, float least) {
    constexpr int kLast = kWays - 1;
    double sums[2 * kWays] = {};
    int counts[kWays] = {};
    each_value<4>(from_.values, simt::thread_index(), from_.vocab, simt::block_threads(),
                  [&](int token, float raw) {
                    const float value = from_.value(token, raw);
                    const uint64_t place = place_of(value, token);
                    if (place < span.begin || place >= span.end) return;
                    const float weight = from_.weight(value);
                    if (!ranked(weight)) return;
                    const double counted = weight >= least ? weight : 0.0f;
                    sums[kLast] += counted;
                    ++counts[kLast];
                    if (place >= shared_.bounds[kLast - 1]) return;  // most are unlikely
                    DS_UNROLL
                    for (int i = 0; i < kLast; ++i) {
                      const bool before = place < shared_.bounds[i];
                      sums[i] += before ? counted : 0.0;
                      counts[i] += before ? 1 : 0;
                    }
                  });
    DS_UNROLL
    for (int i = 0; i < kWays; ++i) sums[kWays + i] = counts[i];
    block_sums(sums, shared_);
  }

  // Gathers a span of at most capacity() candidates, whose count may be an estimate from above, and
  // sorts them.
  DS_DEVICE void fill_list(const Span& span) {
    if (simt::thread_index() == 0) shared_.listed = 0;
    simt::sync_block();  // no thread still reads an older list
    each_value<8>(from_.values, simt::thread_index(), from_.vocab, simt::block_threads(),
                  [&](int token, float raw) {
                    const float value = from_.value(token, raw);
                    const uint64_t place = place_of(value, token);
                    if (place < span.begin || place >= span.end) return;
                    if (!ranked(from_.weight(value))) return;
                    list_[simt::count_shared(&shared_.listed, 1)] = place;
                  });
    simt::sync_block();
    span_ = span;
    span_.count = shared_.listed;
    sort_list();
  }

  // Sorts bitonically; the entries that fill the list up to a power of two come last.
  DS_DEVICE void sort_list() {
    int size = 1;
    while (size < span_.count) size *= 2;
    const int thread = simt::thread_index();
    for (int i = span_.count + thread; i < size; i += simt::block_threads()) list_[i] = kNoPlace;
    simt::sync_block();
    for (int block = 2; block <= size; block *= 2) {
      for (int stride = block / 2; stride > 0; stride /= 2) {
        for (int pair = thread; pair < size / 2; pair += simt::block_threads()) {
          const int low = 2 * pair - (pair & (stride - 1));
          const uint64_t a = list_[low];
          const uint64_t b = list_[low + stride];
          const bool ascending = (low & block) == 0;
          if ((a > b) == ascending) {
            list_[low] = b;
            list_[low + stride] = a;
          }
        }
        simt::sync_block();
      }
    }
  }

  Candidates from_;
  uint64_t leader_;
  DrawShared& shared_;
  uint64_t* list_;  // sorted
  Span span_;       // what the list holds
};

}  // namespace deltaserve::cuda::logits_head
