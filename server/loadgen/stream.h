// One reply of an OpenAI-style server: the events of a stream with the times of its tokens, and the
// JSON around it.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/loadgen/limits.h"
#include "server/loadgen/sse.h"

namespace deltaserve {

enum class FailureKind : uint8_t {
  kNone,
  kConnect,     // no connection
  kTimeout,     // the request took longer than it may
  kCutOff,      // the connection ended before the reply
  kHttpStatus,  // a status other than 200
  kErrorEvent,  // an error inside the stream
  kMalformed,   // not a reply of this API
  kInterrupted  // by the user
};

// Returns a name such as "cut off"; for kHttpStatus, "http <status>".
std::string failure_name(FailureKind kind, int status);

struct Failure {
  FailureKind kind = FailureKind::kNone;
  int status = 0;
  std::string message;

  explicit operator bool() const { return kind != FailureKind::kNone; }
};

// Times are seconds on the caller's clock.
struct StreamTimes {
  double first_token = -1;  // -1: no event had tokens, as when they have no text
  double last_token = -1;
  double done = -1;
  std::vector<float> gaps;  // between events with tokens, so one fewer than these
  int64_t events = 0;       // with tokens; each may carry several
  int64_t prompt_tokens = -1;
  int64_t output_tokens = -1;
};

// Follows the stream of a completion or a chat completion. An event has tokens when one of its
// choices has text, a content, a reasoning, a tool call or token ids.
class CompletionStream {
 public:
  // `tokens` is the number asked for: a stream of many more events is malformed.
  CompletionStream(int64_t tokens, const BenchServeLimits& limits);

  // Takes the next bytes of the body, which all arrived at `now`. Returns false if the reply has
  // failed; failure() says why.
  bool feed(std::string_view bytes, double now);
  // Call it at the end of the body. A stream without [DONE] or usage fails.
  void finish();

  const Failure& failure() const { return failure_; }
  const StreamTimes& times() const { return times_; }
  StreamTimes take_times() { return std::move(times_); }

 private:
  bool on_event(const SseEvent& event, double now);
  bool on_tokens(double now);
  bool fail(FailureKind kind, std::string_view message);

  const BenchServeLimits& limits_;
  const int64_t max_events_;
  SseParser parser_;
  StreamTimes times_;
  Failure failure_;
};

// Makes foreign text one line of printable ASCII, cut to a bounded length.
std::string shown_message(std::string_view text, const BenchServeLimits& limits);
// Returns the message in {"error": ...} or {"message": ...}, or the whole body; made as above.
std::string error_message_of(std::string_view body, const BenchServeLimits& limits);
// Returns the ids in a reply of GET /v1/models. Returns INVALID_ARGUMENT if it is no such reply, or
// an empty list.
absl::StatusOr<std::vector<std::string>> model_ids_of(std::string_view body,
                                                      const BenchServeLimits& limits);

}  // namespace deltaserve
