#include "server/observe/otlp_exporter.h"

#include <curl/curl.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "models/base/text.h"
#include "otlp_trace.pb.h"
#include "server/base/random.h"

namespace deltaserve {
namespace {

namespace otlp = opentelemetry::proto::v1;

std::string random_bytes(size_t count) {
  std::string bytes;
  while (bytes.size() < count) {
    const uint64_t bits = random_bits();
    bytes.append(reinterpret_cast<const char*>(&bits), sizeof bits);
  }
  bytes.resize(count);
  return bytes;
}

void set_value(const RequestSpan::Value& value, otlp::AnyValue* out) {
  if (const auto* text = std::get_if<std::string>(&value)) out->set_string_value(*text);
  if (const auto* number = std::get_if<int64_t>(&value)) out->set_int_value(*number);
  if (const auto* number = std::get_if<double>(&value)) out->set_double_value(*number);
  if (const auto* list = std::get_if<std::vector<std::string>>(&value)) {
    otlp::ArrayValue* const values = out->mutable_array_value();
    for (const std::string& text : *list) values->add_values()->set_string_value(text);
  }
}

// "00-TRACE-SPAN-FLAGS", which was checked when it was read.
struct TraceParent {
  explicit TraceParent(absl::string_view text) {
    if (text.empty()) return;
    trace_id = absl::HexStringToBytes(text.substr(3, 32));
    span_id = absl::HexStringToBytes(text.substr(36, 16));
    flags = static_cast<uint8_t>(absl::HexStringToBytes(text.substr(53, 2))[0]);
  }

  std::string trace_id, span_id;
  uint8_t flags = 1;  // sampled
};

// Converts the time of a request, which is of the steady clock, to the system clock, as spans need
// it.
uint64_t unix_nanoseconds(std::chrono::steady_clock::time_point time) {
  const auto ago = std::chrono::steady_clock::now() - time;
  const auto since = std::chrono::system_clock::now().time_since_epoch() - ago;
  return static_cast<uint64_t>(std::chrono::nanoseconds(since).count());
}

void fill(const RequestSpan& span, const TraceParent& parent, otlp::Span* out) {
  constexpr size_t kTraceIdBytes = 16;
  constexpr size_t kSpanIdBytes = 8;
  out->set_trace_id(parent.trace_id.empty() ? random_bytes(kTraceIdBytes) : parent.trace_id);
  out->set_span_id(random_bytes(kSpanIdBytes));
  out->set_parent_span_id(parent.span_id);
  out->set_flags(parent.flags);
  out->set_name(span.name);
  out->set_kind(otlp::Span::KIND_SERVER);
  out->set_start_time_unix_nano(unix_nanoseconds(span.start));
  out->set_end_time_unix_nano(unix_nanoseconds(span.end));
  for (const auto& [name, value] : span.attributes) {
    otlp::KeyValue* const attribute = out->add_attributes();
    attribute->set_key(name);
    set_value(value, attribute->mutable_value());
  }
  if (span.error.empty()) return;
  out->mutable_status()->set_code(otlp::Span::Status::ERROR);
  out->mutable_status()->set_message(span.error);
}

// The body of a collector's answer is not used.
size_t ignore(char*, size_t size, size_t count, void*) {
  return size * count;
}

}  // namespace

std::string otlp_request(const std::vector<RequestSpan>& spans, std::string_view version) {
  otlp::ExportTraceServiceRequest request;
  otlp::ResourceSpans* const resource = request.add_resource_spans();
  otlp::KeyValue* const service = resource->mutable_resource()->add_attributes();
  service->set_key("service.name");
  service->mutable_value()->set_string_value("deltaserve");
  otlp::ScopeSpans* const scope = resource->add_scope_spans();
  scope->mutable_scope()->set_name("deltaserve");
  scope->mutable_scope()->set_version(std::string(version));
  for (const RequestSpan& span : spans)
    fill(span, TraceParent(span.traceparent), scope->add_spans());
  return request.SerializeAsString();
}

absl::StatusOr<std::string> otlp_url(const std::string& endpoint) {
  if (endpoint.empty()) return endpoint;
  const size_t scheme = endpoint.find("://");
  const std::string name = endpoint.substr(0, std::min(scheme, endpoint.size()));
  const bool is_http = name == "http" || name == "https";
  if (scheme == std::string::npos || !is_http || endpoint.size() == scheme + 3) {
    return absl::InvalidArgumentError(
        str_cat("--otlp-endpoint: ", quoted(endpoint), " is not a URL of http or https"));
  }
  const size_t path = endpoint.find('/', scheme + 3);
  if (path == std::string::npos) return endpoint + "/v1/traces";
  return path + 1 == endpoint.size() ? endpoint + "v1/traces" : endpoint;
}

OtlpExporter::OtlpExporter(std::string url, std::string version, Metrics* metrics, Logger* log)
    : url_(std::move(url)),
      version_(std::move(version)),
      metrics_(metrics),
      log_(log),
      thread_([this] { run(); }) {}

OtlpExporter::~OtlpExporter() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  more_.notify_one();
  thread_.join();
}

void OtlpExporter::offer(RequestSpan span) {
  const bool sampled = (TraceParent(span.traceparent).flags & 1) != 0;
  if (!sampled) return;
  {
    const std::lock_guard lock(mutex_);
    if (queue_.size() < kQueuedSpans) {
      queue_.push_back(std::move(span));
    } else {
      metrics_->spans.add({"queue_full"});
    }
  }
  more_.notify_one();
}

// Waits for spans, and then a while for more of them. Returns false once there will be none.
bool OtlpExporter::take_batch(std::vector<RequestSpan>* batch) {
  std::unique_lock lock(mutex_);
  more_.wait(lock, [this] { return closing_ || !queue_.empty(); });
  more_.wait_for(lock, kBatchTime, [this] { return closing_ || queue_.size() >= kBatchSpans; });
  const auto end = queue_.begin() + static_cast<ptrdiff_t>(std::min(queue_.size(), kBatchSpans));
  batch->assign(std::make_move_iterator(queue_.begin()), std::make_move_iterator(end));
  queue_.erase(queue_.begin(), end);
  return !batch->empty();
}

void OtlpExporter::run() {
  CURL* const curl = curl_easy_init();  // initialises the library, which takes a lock for it
  std::vector<RequestSpan> batch;
  const auto farewell = [this] {
    const std::lock_guard lock(mutex_);
    return closing_;
  };
  while (take_batch(&batch)) {
    const bool last = farewell();
    send(curl, batch, last ? kFarewell : kSendTime);
    if (last && failing_) break;  // an unreachable collector must not delay the exit
  }
  curl_easy_cleanup(curl);
}

void OtlpExporter::send(void* handle, const std::vector<RequestSpan>& batch,
                        std::chrono::milliseconds time) {
  auto* const curl = static_cast<CURL*>(handle);
  const std::string body = otlp_request(batch, version_);
  curl_slist* const headers = curl_slist_append(nullptr, "Content-Type: application/x-protobuf");
  curl_easy_setopt(curl, CURLOPT_URL, url_.c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.data());
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(time.count()));
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore);
  const CURLcode code = curl_easy_perform(curl);
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  curl_slist_free_all(headers);
  const bool sent = code == CURLE_OK && status / 100 == 2;
  metrics_->spans.add({sent ? "sent" : "not_taken"}, batch.size());
  if (sent != failing_) return;
  failing_ = !sent;
  const std::string why =
      code == CURLE_OK ? str_cat("it answers ", status) : std::string(curl_easy_strerror(code));
  log_->write(sent ? LogLevel::kInfo : LogLevel::kWarning, sent ? "spans_sent_again" : "spans_lost",
              sent ? LogFields() : LogFields().text("collector", url_).text("why", why));
}

}  // namespace deltaserve
