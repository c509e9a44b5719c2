// Sends spans to a collector by OTLP over HTTP, as protobuf.
#pragma once
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "server/observe/log.h"
#include "server/observe/metrics.h"
#include "server/observe/request_span.h"

namespace deltaserve {

// Returns the URL to which spans are sent: `endpoint`, of http or https, with the protocol's path
// /v1/traces if it has no path. Returns the empty text for the empty text. Returns INVALID_ARGUMENT
// if it is no such URL.
absl::StatusOr<std::string> otlp_url(const std::string& endpoint);

// Returns the protobuf of an export of `spans`, all of them server spans.
std::string otlp_request(const std::vector<RequestSpan>& spans, std::string_view version);

// Ignores spans whose traceparent says that their trace is not sampled. A thread sends what was
// offered, a batch at a time. Spans beyond kQueuedSpans and those that the collector does not take
// are dropped and counted; the log says when that begins and ends.
class OtlpExporter final : public SpanSink {
 public:
  static constexpr size_t kQueuedSpans = 2048;
  static constexpr size_t kBatchSpans = 512;
  static constexpr std::chrono::milliseconds kBatchTime{1000};  // a batch waits this long for more
                                                                // spans
  static constexpr std::chrono::milliseconds kSendTime{5000};   // the time for one request to the
                                                                // collector
  static constexpr std::chrono::milliseconds kFarewell{2000};   // the time for the last batch

  // `url` comes from otlp_url(); `metrics` and `log` outlive the exporter.
  OtlpExporter(std::string url, std::string version, Metrics* metrics, Logger* log);
  // Sends what is queued, within kFarewell.
  ~OtlpExporter() override;

  void offer(RequestSpan span) override;

 private:
  void run();
  bool take_batch(std::vector<RequestSpan>* batch);
  void send(void* handle, const std::vector<RequestSpan>& batch, std::chrono::milliseconds time);

  const std::string url_;
  const std::string version_;
  Metrics* const metrics_;
  Logger* const log_;
  bool failing_ = false;  // used by the thread only

  std::mutex mutex_;
  std::condition_variable more_;
  std::deque<RequestSpan> queue_;  // guarded by mutex_, like the next
  bool closing_ = false;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace deltaserve
