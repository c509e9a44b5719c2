#include "server/observe/metrics_registry.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "kernels/base/check.h"
#include "models/base/text.h"

namespace deltaserve {
namespace {

std::string number_text(double value) {
  char digits[40];
  return {digits, std::to_chars(digits, digits + sizeof digits, value).ptr};
}

std::string joined(std::string_view labels, std::string_view more) {
  if (labels.empty()) return std::string(more);
  return str_cat(labels, ",", more);
}

}  // namespace

Histogram::Histogram(std::span<const double> bounds) : bounds_(bounds) {
  DS_CHECK(bounds.size() <= kMaxBounds && std::is_sorted(bounds.begin(), bounds.end()));
}

void Histogram::observe(double value, uint64_t times) {
  const auto bucket = std::lower_bound(bounds_.begin(), bounds_.end(), value) - bounds_.begin();
  buckets_[bucket].fetch_add(times, std::memory_order_relaxed);
  sum_.fetch_add(value * static_cast<double>(times), std::memory_order_relaxed);
}

void CounterFamily::add(std::initializer_list<std::string_view> values, uint64_t count) {
  DS_CHECK(values.size() == label_names_.size());
  std::string labels;
  size_t i = 0;
  for (const std::string_view value : values)
    labels = joined(labels, label(label_names_[i++], value));
  const std::lock_guard lock(mutex_);
  counts_[std::move(labels)] += count;
}

std::vector<std::pair<std::string, uint64_t>> CounterFamily::values() const {
  const std::lock_guard lock(mutex_);
  return {counts_.begin(), counts_.end()};
}

std::string label(std::string_view name, std::string_view value) {
  std::string out = str_cat(name, "=\"");
  for (const char c : value) {
    if (c == '\\' || c == '"') out.push_back('\\');
    c == '\n' ? void(out.append("\\n")) : out.push_back(c);
  }
  out.push_back('"');
  return out;
}

void MetricsPage::family(std::string_view name, std::string_view help, std::string_view type) {
  out_.append(str_cat("# HELP ", name, " ", help, "\n# TYPE ", name, " ", type, "\n"));
}

void MetricsPage::sample(std::string_view name, std::string_view labels, double value) {
  out_.append(name);
  if (!labels.empty()) out_.append(str_cat("{", labels, "}"));
  out_.append(str_cat(" ", number_text(value), "\n"));
}

void MetricsPage::counter(std::string_view name, std::string_view help, uint64_t value,
                          std::string_view labels) {
  family(name, help, "counter");
  sample(name, labels, static_cast<double>(value));
}

void MetricsPage::gauge(std::string_view name, std::string_view help, double value,
                        std::string_view labels) {
  family(name, help, "gauge");
  sample(name, labels, value);
}

void MetricsPage::histogram(std::string_view name, std::string_view help,
                            const Histogram& histogram, std::string_view labels) {
  family(name, help, "histogram");
  const std::string bucket_name = str_cat(name, "_bucket");
  uint64_t count = 0;
  for (size_t i = 0; i <= histogram.bounds().size(); ++i) {
    count += histogram.bucket(i);
    const bool last = i == histogram.bounds().size();
    const std::string bound = last ? "+Inf" : number_text(histogram.bounds()[i]);
    sample(bucket_name, joined(labels, label("le", bound)), static_cast<double>(count));
  }
  sample(str_cat(name, "_sum"), labels, histogram.sum());
  sample(str_cat(name, "_count"), labels, static_cast<double>(count));
}

}  // namespace deltaserve
