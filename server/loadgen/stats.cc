#include "server/loadgen/stats.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "models/base/text.h"

namespace deltaserve {
namespace {

constexpr double kSmallestPart = 1e-4;  // of the largest value; below, buckets say little
constexpr double kSmallestValue = 1e-6;
constexpr int kBarWidth = 40;

}  // namespace

void Samples::add(double value) {
  ++count_;
  min_ = count_ == 1 ? value : std::min(min_, value);
  max_ = count_ == 1 ? value : std::max(max_, value);
  const double difference = value - mean_;
  mean_ += difference / static_cast<double>(count_);
  sum_squares_ += difference * (value - mean_);
  if (held_.size() < capacity_) {
    held_.push_back(static_cast<float>(value));
    return;
  }
  const uint64_t place = random_() % static_cast<uint64_t>(count_);
  if (place < capacity_) held_[place] = static_cast<float>(value);
}

double Samples::standard_deviation() const {
  return count_ == 0 ? 0 : std::sqrt(sum_squares_ / static_cast<double>(count_));
}

std::vector<float> Samples::sorted() const {
  std::vector<float> values = held_;
  std::sort(values.begin(), values.end());
  return values;
}

double percentile(const std::vector<float>& sorted, double percent) {
  if (sorted.empty()) return 0;
  const double rank = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<size_t>(std::floor(rank));
  const size_t high = std::min(low + 1, sorted.size() - 1);
  const double part = rank - static_cast<double>(low);
  return (1 - part) * sorted[low] + part * sorted[high];
}

std::vector<Bucket> histogram(const std::vector<float>& sorted, int buckets) {
  if (sorted.empty()) return {};
  const double most = sorted.back();
  const double least =
      std::max({static_cast<double>(sorted.front()), most * kSmallestPart, kSmallestValue});
  if (least >= most) return {{most, static_cast<int64_t>(sorted.size())}};
  std::vector<Bucket> result;
  auto begin = sorted.begin();
  for (int i = 1; i <= buckets; ++i) {
    const bool last = i == buckets;
    const double edge =
        last ? most : least * std::pow(most / least, static_cast<double>(i) / buckets);
    const auto end = last ? sorted.end() : std::lower_bound(begin, sorted.end(), edge);
    result.push_back({edge, end - begin});
    begin = end;
  }
  return result;
}

std::string plot(std::string_view title, const std::vector<Bucket>& buckets) {
  std::string text = str_cat(title, "\n");
  int64_t most = 1;
  for (const Bucket& bucket : buckets) most = std::max(most, bucket.count);
  for (const Bucket& bucket : buckets) {
    // A bucket that is not empty shows at least one mark.
    const int64_t width = (bucket.count * kBarWidth + most - 1) / most;
    const std::string bar(static_cast<size_t>(width), '#');
    absl::StrAppendFormat(&text, "  < %10.3f ms |%-*s| %d\n", bucket.below * 1e3, kBarWidth, bar,
                          bucket.count);
  }
  return text;
}

}  // namespace deltaserve
