// Latencies and their statistics.
#pragma once
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace deltaserve {

// Values in seconds. Count, mean, deviation and extremes are of all of them. Percentiles and the
// histogram are of all up to `capacity`, and of a uniform sample of that size beyond (Vitter 1985,
// algorithm R).
class Samples {
 public:
  explicit Samples(size_t capacity) : capacity_(capacity) {}

  void add(double value);

  int64_t count() const { return count_; }
  size_t held() const { return held_.size(); }
  // These are all 0 without values.
  double mean() const { return mean_; }
  double standard_deviation() const;  // of the population
  double min() const { return min_; }
  double max() const { return max_; }
  std::vector<float> sorted() const;

 private:
  const size_t capacity_;
  std::vector<float> held_;
  std::mt19937_64 random_;
  int64_t count_ = 0;
  double mean_ = 0;
  double sum_squares_ = 0;  // of the differences from the mean
  double min_ = 0;
  double max_ = 0;
};

// Interpolates linearly between the closest ranks. `percent` is in [0, 100]; 0 without values.
double percentile(const std::vector<float>& sorted, double percent);

struct Bucket {
  double below;  // seconds; the last bucket includes it
  int64_t count;
};

// Returns at most `buckets`, evenly spaced in the logarithm. The first also holds values smaller
// than a ten-thousandth of the largest. Empty without values.
std::vector<Bucket> histogram(const std::vector<float>& sorted, int buckets);

// Returns a title line, then a line a bucket: "  <     12.3 ms |########        | 40".
std::string plot(std::string_view title, const std::vector<Bucket>& buckets);

}  // namespace deltaserve
