// The server's counters, for both fronts, and the page that GET /metrics shows.
#pragma once
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "engine/grammar/grammar_cache.h"
#include "engine/loop/engine.h"
#include "engine/sequence/request.h"
#include "server/observe/metrics_registry.h"
#include "server/observe/process_stats.h"

namespace deltaserve {

// There is one per process, which outlives every request. Thread-safe.
struct Metrics {
  Metrics();

  Counter queue_full;  // requests refused because too many wait
  CounterFamily http_responses{{"route", "code"}};
  CounterFamily grpc_responses{{"method", "code"}};
  CounterFamily grpc_connections_closed{{"reason"}};  // by the server, because of the client's
                                                      // frames
  CounterFamily overload_actions{{"resource", "measure"}};
  CounterFamily deaf_ports{{"port"}};    // times that a port stopped to take connections
  CounterFamily wrong_keys{{"result"}};  // requests without a valid key: refused, too_many
  Counter replies_too_large;             // ended because replies held too much memory
  CounterFamily read_aheads{{"result"}};
  CounterFamily spans{{"result"}};
  // Times are in seconds. All but the first two are of requests that ended by stop or length.
  Histogram time_to_first_token;
  Histogram inter_token_latency;
  Histogram request_latency;
  Histogram queue_time;
  Histogram prefill_time;
  Histogram decode_time;
  Histogram inference_time;         // prefill and decode
  Histogram time_per_output_token;  // of a request on average, from its second token on
  // These count tokens and choices, not seconds; the first two are of requests that ended as above.
  Histogram prompt_length;
  Histogram answer_length;
  Histogram max_tokens;
  Histogram choices;
};

// The state of the server while the page is written.
struct ServerState {
  std::string version;
  std::string model_name;
  uint64_t state_bytes = 0;  // of one sequence
  int64_t http_connections = 0;
  uint64_t log_lines_lost = 0;
  ProcessStats process;
  uint64_t memory_limit_bytes = 0;           // 0: unknown
  std::optional<double> certificate_expiry;  // Unix seconds; nullopt: connections are in the clear
  bool draining = false;
  EngineStats engine;
  GrammarCacheStats grammars;
};

// Returns the page with our names (deltaserve_*), and under vLLM's names the metrics that routers
// and dashboards made for vLLM read.
std::string metrics_page(const Metrics& metrics, const ServerState& state);

// Returns "stop", "length", "cancelled", "deadline", "error", "unread", "not_finite", or "none"
// while it goes on.
std::string_view finish_reason_name(FinishReason reason);

// Follows one sequence from submit to its end, as its reader sees it.
//
// Thread safety: one thread at a time.
class RequestMetrics {
 public:
  using Clock = std::chrono::steady_clock;

  // `start` is the arrival of the request. With a null `metrics` nothing is counted.
  RequestMetrics(Metrics* metrics, Clock::time_point start) : metrics_(metrics), start_(start) {}

  // Takes every update of the stream, in order.
  void on_update(const TokenUpdate& update);

  FinishReason finish() const { return finish_; }
  // Returns seconds, -1 if there was no token.
  double time_to_first_token() const { return time_to_first_token_; }
  // Returns the engine's seconds from the first token to the last, 0 before the end.
  double decode_time() const { return decode_time_; }

 private:
  void count_finish(const TokenUpdate& update, Clock::time_point now);

  Metrics* metrics_;
  Clock::time_point start_;
  Clock::time_point last_token_;
  int64_t tokens_ = 0;
  double time_to_first_token_ = -1;
  double decode_time_ = 0;
  FinishReason finish_ = FinishReason::kNone;
};

}  // namespace deltaserve
