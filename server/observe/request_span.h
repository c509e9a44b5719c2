// One request as a span of a distributed trace, and the interface that takes spans.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace deltaserve {

struct RequestSpan {
  using Value = std::variant<std::string, int64_t, double, std::vector<std::string>>;

  std::string name;
  std::string traceparent;  // of the client; empty: the request begins a trace
  std::chrono::steady_clock::time_point start;
  std::chrono::steady_clock::time_point end;
  // Under the names of OpenTelemetry's semantic conventions.
  std::vector<std::pair<std::string, Value>> attributes;
  std::string error;  // a sentence; empty: it was answered

  void add(std::string_view attribute, Value value) {
    attributes.emplace_back(std::string(attribute), std::move(value));
  }
};

// Thread-safe.
class SpanSink {
 public:
  virtual ~SpanSink() = default;
  // Takes a span. Returns at once; the span may be dropped later.
  virtual void offer(RequestSpan span) = 0;
};

}  // namespace deltaserve
