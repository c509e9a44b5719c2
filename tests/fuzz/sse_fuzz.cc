// Fuzzes bench-serve's reader of a server's stream. The first byte chooses the pieces in which the
// bytes arrive; the result must not depend on it.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/base/check.h"
#include "server/bench_serve_sse.h"
#include "server/bench_serve_stream.h"

namespace {

constexpr size_t kMaxEventBytes = 256;

using Events = std::vector<std::pair<std::string, std::string>>;

Events parse(std::string_view text, size_t piece) {
  Events events;
  deltaserve::SseParser parser(kMaxEventBytes);
  for (size_t i = 0; i < text.size(); i += piece) {
    parser.feed(text.substr(i, piece), [&](const deltaserve::SseEvent& event) {
      DS_CHECK(event.type.size() + event.data.size() <= kMaxEventBytes);
      DS_CHECK(event.data.find('\r') == std::string_view::npos);
      events.emplace_back(event.type, event.data);
      return true;
    });
  }
  return events;
}

deltaserve::CompletionStream follow(std::string_view text, size_t piece,
                                    const deltaserve::BenchServeLimits& limits) {
  deltaserve::CompletionStream stream(4, limits);
  for (size_t i = 0; i < text.size(); i += piece) stream.feed(text.substr(i, piece), 1);
  stream.finish();
  return stream;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t piece = size_t{1} + data[0];
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  DS_CHECK(parse(text, piece) == parse(text, std::max<size_t>(text.size(), 1)));

  const deltaserve::BenchServeLimits limits;
  const deltaserve::CompletionStream cut = follow(text, piece, limits);
  const deltaserve::CompletionStream whole = follow(text, std::max<size_t>(text.size(), 1), limits);
  DS_CHECK(cut.failure().kind == whole.failure().kind);
  DS_CHECK(cut.failure().message == whole.failure().message);
  const deltaserve::StreamTimes& times = cut.times();
  DS_CHECK(times.events == whole.times().events);
  DS_CHECK(times.output_tokens == whole.times().output_tokens);
  DS_CHECK(times.gaps.size() + 1 <= static_cast<size_t>(times.events) || times.gaps.empty());
  if (!cut.failure()) DS_CHECK(times.done >= 0 && times.output_tokens >= 0);

  for (const std::string& shown :
       {deltaserve::error_message_of(text, limits), deltaserve::shown_message(text, limits)}) {
    DS_CHECK(shown.size() <= limits.message_bytes + 3);
    for (const char c : shown) DS_CHECK(c >= ' ' && c <= '~');
  }
  const auto ids = deltaserve::model_ids_of(text, limits);
  DS_CHECK(!ids.ok() || !ids->empty());
  return 0;
}
