// Counters and histograms that any thread may change at any time, and the Prometheus text format
// (version 0.0.4) that shows them.
#pragma once
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace deltaserve {

// Thread-safe, lock-free.
class Counter {
 public:
  void add(uint64_t count = 1) { value_.fetch_add(count, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// Thread-safe, lock-free. A page that is written meanwhile may miss an observation in one of its
// lines and show it in another.
class Histogram {
 public:
  static constexpr size_t kMaxBounds = 32;

  // Upper bounds of the buckets, ascending; a last one without a bound is added. They outlive the
  // histogram.
  explicit Histogram(std::span<const double> bounds);
  void observe(double value, uint64_t times = 1);

  std::span<const double> bounds() const { return bounds_; }
  // Returns the observations in bucket i, 0 <= i <= bounds().size(), not those below it.
  uint64_t bucket(size_t i) const { return buckets_[i].load(std::memory_order_relaxed); }
  double sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  std::span<const double> bounds_;
  std::atomic<uint64_t> buckets_[kMaxBounds + 1] = {};
  std::atomic<double> sum_{0};
};

// Counters told apart by the values of labels, for instance a route and a status code. The values
// come from the program, never from a client: every combination that was seen stays.
//
// Thread-safe.
class CounterFamily {
 public:
  explicit CounterFamily(std::vector<std::string> label_names)
      : label_names_(std::move(label_names)) {}
  // Adds to the counter of these label values, as many as there are names.
  void add(std::initializer_list<std::string_view> values, uint64_t count = 1);
  // Returns pairs of {a="x",b="y"} without the braces, and the count.
  std::vector<std::pair<std::string, uint64_t>> values() const;

 private:
  const std::vector<std::string> label_names_;
  mutable std::mutex mutex_;
  std::map<std::string, uint64_t> counts_;  // guarded by mutex_, by label text
};

// Returns name="value", escaped.
std::string label(std::string_view name, std::string_view value);

// Writes a page. A name may occur in one call only, except for the samples of one family.
class MetricsPage {
 public:
  // `labels` are as label() makes them, joined by commas; empty = none.
  void counter(std::string_view name, std::string_view help, uint64_t value,
               std::string_view labels = {});
  void gauge(std::string_view name, std::string_view help, double value,
             std::string_view labels = {});
  void histogram(std::string_view name, std::string_view help, const Histogram& histogram,
                 std::string_view labels = {});
  // Writes HELP and TYPE of a name whose samples follow.
  void family(std::string_view name, std::string_view help, std::string_view type);
  void sample(std::string_view name, std::string_view labels, double value);

  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

}  // namespace deltaserve
