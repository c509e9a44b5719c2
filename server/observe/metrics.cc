#include "server/observe/metrics.h"

#include "models/base/text.h"

namespace deltaserve {
namespace {

// The bounds are in seconds, for a small model on a CPU as for a prompt of a million tokens.
constexpr double kTokenBounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15,
                                   0.2,   0.3,    0.4,   0.5,  0.75,  1,    2.5,   5,   10};
constexpr double kRequestBounds[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                     0.25,  0.5,    1,     2.5,  5,     10,   25,
                                     50,    100,    250,   500,  1000,  2500, 10000};

// The bounds are in tokens.
constexpr double kLengthBounds[] = {1,     2,      5,      10,     20,   50,    100,
                                    200,   500,    1000,   2000,   5000, 10000, 20000,
                                    50000, 100000, 200000, 500000, 1e6};
constexpr double kChoiceBounds[] = {1, 2, 5, 10, 20, 50, 100, 200};

constexpr int64_t kBlockTokens = 64;

double seconds_between(RequestMetrics::Clock::time_point from,
                       RequestMetrics::Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

double slot_utilization(const EngineStats& engine) {
  return engine.slots > 0 ? static_cast<double>(engine.running) / static_cast<double>(engine.slots)
                          : 0;
}

void append_responses(MetricsPage* page, std::string_view name, std::string_view help,
                      const CounterFamily& responses) {
  page->family(name, help, "counter");
  for (const auto& [labels, count] : responses.values()) {
    page->sample(name, labels, static_cast<double>(count));
  }
}

void append_counters(MetricsPage* page, const Metrics& metrics, const ServerState& state) {
  page->counter("deltaserve_prompt_tokens_total", "Prompt tokens read.",
                static_cast<uint64_t>(state.engine.prompt_tokens));
  page->counter("deltaserve_generation_tokens_total", "Tokens generated.",
                static_cast<uint64_t>(state.engine.generated_tokens));
  page->counter("deltaserve_steps_total", "Steps of the model.",
                static_cast<uint64_t>(state.engine.steps));
  constexpr std::string_view kFinished = "deltaserve_requests_finished_total";
  page->family(kFinished, "Sequences that ended, by reason.", "counter");
  const auto finished = [&](FinishReason reason, int64_t count) {
    page->sample(kFinished, label("reason", finish_reason_name(reason)),
                 static_cast<double>(count));
  };
  finished(FinishReason::kStop, state.engine.finished_stop);
  finished(FinishReason::kLength, state.engine.finished_length);
  finished(FinishReason::kCancelled, state.engine.cancelled);
  finished(FinishReason::kDeadline, state.engine.deadline_exceeded);
  finished(FinishReason::kError, state.engine.errors);
  finished(FinishReason::kUnread, state.engine.unread);
  finished(FinishReason::kNotFinite, state.engine.not_finite);
  page->counter("deltaserve_queue_full_total", "Requests refused because the queue was full.",
                metrics.queue_full.value());
  page->family("deltaserve_step_busy_seconds_total", "Seconds spent in steps.", "counter");
  page->sample("deltaserve_step_busy_seconds_total", {}, state.engine.busy_seconds);
  page->counter("deltaserve_decode_rows_total", "Decode rows of all steps.",
                static_cast<uint64_t>(state.engine.decode_rows));
  page->counter("deltaserve_log_lines_lost_total", "Lines of the log that could not be written.",
                state.log_lines_lost);
  append_responses(page, "deltaserve_overload_actions_total",
                   "Measures that were taken because a resource ran short.",
                   metrics.overload_actions);
  append_responses(page, "deltaserve_deaf_ports_total",
                   "Times that a port took no connections for a while.", metrics.deaf_ports);
  append_responses(page, "deltaserve_wrong_keys_total",
                   "Requests without a valid API key: refused, or refused as one of too many.",
                   metrics.wrong_keys);
  page->counter("deltaserve_replies_too_large_total",
                "Requests that ended because replies held too much memory.",
                metrics.replies_too_large.value());
  append_responses(
      page, "deltaserve_spans_total",
      "Spans of requests: sent to the collector, not taken by it, or dropped because too "
      "many waited.",
      metrics.spans);
  append_responses(page, "deltaserve_http_responses_total",
                   "HTTP responses by route and status code; 499: the client closed first.",
                   metrics.http_responses);
  append_responses(page, "deltaserve_grpc_responses_total", "gRPC calls ended, by method and code.",
                   metrics.grpc_responses);
  append_responses(page, "deltaserve_grpc_connections_closed_total",
                   "gRPC connections that the server closed because of their frames, by reason.",
                   metrics.grpc_connections_closed);
}

void append_prefixes(MetricsPage* page, const Metrics& metrics, const ServerState& state) {
  const EngineStats& engine = state.engine;
  const auto counter = [&](std::string_view name, std::string_view help, int64_t value) {
    page->counter(name, help, static_cast<uint64_t>(value));
  };
  counter("deltaserve_prefix_hits_total", "Prompts that continued from a kept state.",
          engine.prefix_hits);
  constexpr std::string_view kMisses = "deltaserve_prefix_misses_total";
  page->family(kMisses, "Prompts that did not continue from a kept state, by reason.", "counter");
  const auto missed = [&](std::string_view reason, int64_t count) {
    page->sample(kMisses, label("reason", reason), static_cast<double>(count));
  };
  missed("new", engine.prefix_misses_new);
  missed("not_kept", engine.prefix_misses_not_kept);
  missed("prompt_logprobs", engine.prefix_misses_bypassed);
  counter("deltaserve_prefix_reused_tokens_total",
          "Prompt tokens that came from kept states and were not computed.",
          engine.prefix_reused_tokens);
  counter("deltaserve_prefix_replayed_tokens_total",
          "Prompt tokens that were computed although an earlier prompt began with them.",
          engine.prefix_replayed_tokens);
  counter("deltaserve_prefix_evictions_total", "Kept states that were dropped for others.",
          engine.prefix_evictions);
  counter("deltaserve_read_ahead_tokens_total",
          "Prompt tokens read ahead, beside deltaserve_prompt_tokens_total.",
          engine.read_ahead_tokens);
  page->family("deltaserve_read_aheads_total", "Read-aheads that ended, by result.", "counter");
  for (const auto& [labels, count] : metrics.read_aheads.values()) {
    page->sample("deltaserve_read_aheads_total", labels, static_cast<double>(count));
  }
  const auto bytes = [&](int64_t snapshots) {
    return static_cast<double>(snapshots) * static_cast<double>(state.state_bytes);
  };
  page->gauge("deltaserve_snapshots", "States of prompts that are kept.",
              static_cast<double>(engine.snapshots));
  page->gauge("deltaserve_prefix_cache_bytes", "Memory of kept states on the device that computes.",
              bytes(engine.snapshot_slots_in_use));
  page->gauge("deltaserve_prefix_cache_limit_bytes",
              "Memory for kept states on the device that computes.", bytes(engine.snapshot_slots));
  page->gauge("deltaserve_prefix_cache_host_bytes",
              "Memory of kept states on the host, beside a device with memory of its own.",
              bytes(engine.host_snapshots));
  page->gauge("deltaserve_prefix_cache_host_limit_bytes", "Memory for kept states on the host.",
              bytes(engine.host_snapshot_slots));
  page->counter("deltaserve_snapshots_stored_total", "Kept states copied to the host's memory.",
                engine.snapshots_stored);
  page->counter("deltaserve_snapshots_loaded_total",
                "Kept states copied back from the host's memory.", engine.snapshots_loaded);
}

void append_grammars(MetricsPage* page, const GrammarCacheStats& stats) {
  page->counter("deltaserve_grammar_cache_hits_total",
                "Requests whose schema, expression or grammar was compiled already.", stats.hits);
  page->counter("deltaserve_grammar_cache_misses_total",
                "Schemas, expressions and grammars that were compiled.", stats.misses);
  page->counter("deltaserve_grammar_cache_evictions_total",
                "Compiled grammars that were dropped for others.", stats.evictions);
  page->gauge("deltaserve_grammar_cache_entries", "Compiled grammars that are kept.",
              static_cast<double>(stats.grammars));
  page->gauge("deltaserve_grammar_bytes",
              "Memory of compiled grammars and their masks, kept or only in use.",
              static_cast<double>(stats.bytes));
}

void append_gauges(MetricsPage* page, const ServerState& state) {
  const auto gauge = [&](std::string_view name, std::string_view help, auto value) {
    page->gauge(name, help, static_cast<double>(value));
  };
  gauge("deltaserve_requests_waiting", "Sequences that wait for a slot.", state.engine.waiting);
  gauge("deltaserve_requests_running", "Sequences that own a slot.", state.engine.running);
  gauge("deltaserve_slots", "State slots: sequences that can run at once.", state.engine.slots);
  gauge("deltaserve_slot_utilization_ratio", "Slots in use, from 0 to 1.",
        slot_utilization(state.engine));
  gauge("deltaserve_sequence_state_bytes", "Memory of the state of one sequence.",
        state.state_bytes);
  gauge("deltaserve_resident_memory_bytes", "Memory of the process.", state.process.resident_bytes);
  gauge("deltaserve_memory_limit_bytes", "Memory that the process may have; 0: unknown.",
        state.memory_limit_bytes);
  gauge("deltaserve_http_connections", "Open HTTP connections.", state.http_connections);
  if (state.certificate_expiry) {
    gauge("deltaserve_tls_certificate_expiry_timestamp_seconds",
          "Time at which the certificate expires, in Unix seconds.", *state.certificate_expiry);
  }
  gauge("deltaserve_draining", "1 while the server refuses new requests and finishes the others.",
        state.draining ? 1 : 0);
  page->gauge("deltaserve_build_info", "Always 1; version and model are labels.", 1,
              str_cat(label("version", state.version), ",", label("model", state.model_name)));
}

// The names and meanings are those of the Prometheus clients.
void append_process(MetricsPage* page, const ProcessStats& process) {
  page->family("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.",
               "counter");
  page->sample("process_cpu_seconds_total", {}, process.cpu_seconds);
  const auto gauge = [&](std::string_view name, std::string_view help, auto value) {
    page->gauge(name, help, static_cast<double>(value));
  };
  gauge("process_resident_memory_bytes", "Resident memory size in bytes.", process.resident_bytes);
  gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", process.virtual_bytes);
  gauge("process_open_fds", "Number of open file descriptors.", process.open_descriptors);
  gauge("process_max_fds", "Maximum number of open file descriptors.", process.max_descriptors);
  gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.",
        process.start_time);
}

struct NamedHistogram {
  std::string_view name;
  std::string_view help;
  const Histogram* histogram;
};

void append_histograms(MetricsPage* page, const Metrics& metrics, std::string_view prefix,
                       std::string_view labels) {
  const NamedHistogram kAll[] = {
      {"time_to_first_token_seconds", "Time from a request's arrival to its first token.",
       &metrics.time_to_first_token},
      {"inter_token_latency_seconds", "Time between the tokens of a sequence.",
       &metrics.inter_token_latency},
      {"e2e_request_latency_seconds", "Time from a request's arrival to its last token.",
       &metrics.request_latency},
      {"request_queue_time_seconds", "Time from submission to a slot.", &metrics.queue_time},
      {"request_prefill_time_seconds", "Time from the slot to the first token.",
       &metrics.prefill_time},
      {"request_decode_time_seconds", "Time from the first token to the last.",
       &metrics.decode_time},
      {"request_inference_time_seconds", "Time from the slot to the last token.",
       &metrics.inference_time},
      {"request_time_per_output_token_seconds", "Decode time of a request divided by its tokens.",
       &metrics.time_per_output_token},
      {"request_prompt_tokens", "Tokens of a prompt.", &metrics.prompt_length},
      {"request_generation_tokens", "Tokens of an answer.", &metrics.answer_length},
      {"request_params_max_tokens", "Maximum number of tokens of an answer.", &metrics.max_tokens},
      {"request_params_n", "Choices of a prompt.", &metrics.choices},
  };
  for (const NamedHistogram& row : kAll) {
    page->histogram(str_cat(prefix, row.name), row.help, *row.histogram, labels);
  }
}

// The names that the Gateway API Inference Extension and llm-d read without configuration. A block
// of their cache is reported as 64 tokens, because states can be kept at multiples of 64, and a
// snapshot counts as 64 blocks.
void append_vllm_aliases(MetricsPage* page, const Metrics& metrics, const ServerState& state) {
  const std::string model = label("model_name", state.model_name);
  page->gauge("vllm:num_requests_waiting", "Same as deltaserve_requests_waiting.",
              static_cast<double>(state.engine.waiting), model);
  page->gauge("vllm:num_requests_running", "Same as deltaserve_requests_running.",
              static_cast<double>(state.engine.running), model);
  page->gauge("vllm:kv_cache_usage_perc", "Same as deltaserve_slot_utilization_ratio.",
              slot_utilization(state.engine), model);
  page->gauge("vllm:gpu_cache_usage_perc", "Same as vllm:kv_cache_usage_perc.",
              slot_utilization(state.engine), model);
  page->gauge("vllm:num_requests_swapped", "Always 0: nothing is ever swapped out.", 0, model);
  page->counter("vllm:num_preemptions_total", "Always 0: a sequence keeps its slot.", 0, model);
  const int64_t blocks = kBlockTokens * state.engine.snapshot_slots;
  page->gauge("vllm:cache_config_info", "Always 1; the blocks are 64 for each snapshot that fits.",
              1,
              str_cat(label("block_size", absl::StrCat(kBlockTokens)), ",",
                      label("num_gpu_blocks", absl::StrCat(blocks)), ",", model));
  page->counter(
      "vllm:prefix_cache_queries_total", "Prompt tokens that were looked up.",
      static_cast<uint64_t>(state.engine.prompt_tokens + state.engine.prefix_reused_tokens), model);
  page->counter("vllm:prefix_cache_hits_total", "Same as deltaserve_prefix_reused_tokens_total.",
                static_cast<uint64_t>(state.engine.prefix_reused_tokens), model);
  page->counter("vllm:prompt_tokens_total", "Same as deltaserve_prompt_tokens_total.",
                static_cast<uint64_t>(state.engine.prompt_tokens), model);
  page->counter("vllm:generation_tokens_total", "Same as deltaserve_generation_tokens_total.",
                static_cast<uint64_t>(state.engine.generated_tokens), model);
  constexpr std::string_view kSuccess = "vllm:request_success_total";
  page->family(kSuccess, "Sequences that ended, by vLLM's reasons.", "counter");
  const auto ended = [&](std::string_view name, int64_t count) {
    page->sample(kSuccess, str_cat(label("finished_reason", name), ",", model),
                 static_cast<double>(count));
  };
  ended("stop", state.engine.finished_stop);
  ended("length", state.engine.finished_length);
  ended("abort", state.engine.cancelled + state.engine.deadline_exceeded);
  ended("error", state.engine.errors);
  append_histograms(page, metrics, "vllm:", model);
  page->histogram("vllm:time_per_output_token_seconds", "Same as vllm:inter_token_latency_seconds.",
                  metrics.inter_token_latency, model);
  page->histogram("vllm:request_max_num_generation_tokens",
                  "Same as vllm:request_generation_tokens.", metrics.answer_length, model);
}

}  // namespace

Metrics::Metrics()
    : time_to_first_token(kRequestBounds),
      inter_token_latency(kTokenBounds),
      request_latency(kRequestBounds),
      queue_time(kRequestBounds),
      prefill_time(kRequestBounds),
      decode_time(kRequestBounds),
      inference_time(kRequestBounds),
      time_per_output_token(kTokenBounds),
      prompt_length(kLengthBounds),
      answer_length(kLengthBounds),
      max_tokens(kLengthBounds),
      choices(kChoiceBounds) {}

std::string metrics_page(const Metrics& metrics, const ServerState& state) {
  MetricsPage page;
  append_counters(&page, metrics, state);
  append_gauges(&page, state);
  append_process(&page, state.process);
  append_prefixes(&page, metrics, state);
  append_grammars(&page, state.grammars);
  append_histograms(&page, metrics, "deltaserve_", {});
  append_vllm_aliases(&page, metrics, state);
  return page.take();
}

std::string_view finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone: return "none";
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kCancelled: return "cancelled";
    case FinishReason::kDeadline: return "deadline";
    case FinishReason::kError: return "error";
    case FinishReason::kUnread: return "unread";
    case FinishReason::kNotFinite: return "not_finite";
  }
  return "none";
}

void RequestMetrics::on_update(const TokenUpdate& update) {
  const Clock::time_point now = Clock::now();
  const int64_t fresh = update.tokens_generated - tokens_;
  if (fresh > 0) {
    if (tokens_ == 0) {
      time_to_first_token_ = seconds_between(start_, now);
      if (metrics_ != nullptr) metrics_->time_to_first_token.observe(time_to_first_token_);
    } else if (metrics_ != nullptr) {
      const double gap = seconds_between(last_token_, now) / static_cast<double>(fresh);
      metrics_->inter_token_latency.observe(gap, static_cast<uint64_t>(fresh));
    }
    tokens_ = update.tokens_generated;
    last_token_ = now;
  }
  if (update.finish == FinishReason::kNone || finish_ != FinishReason::kNone) return;
  finish_ = update.finish;
  decode_time_ = update.decode_seconds;
  if (metrics_ != nullptr) count_finish(update, now);
}

void RequestMetrics::count_finish(const TokenUpdate& update, Clock::time_point now) {
  if (finish_ != FinishReason::kStop && finish_ != FinishReason::kLength) return;
  metrics_->request_latency.observe(seconds_between(start_, now));
  metrics_->queue_time.observe(update.queue_seconds);
  metrics_->prefill_time.observe(update.prefill_seconds);
  metrics_->decode_time.observe(update.decode_seconds);
  metrics_->inference_time.observe(update.prefill_seconds + update.decode_seconds);
  if (tokens_ > 1) {
    metrics_->time_per_output_token.observe(update.decode_seconds /
                                            static_cast<double>(tokens_ - 1));
  }
  metrics_->prompt_length.observe(static_cast<double>(update.prompt_tokens_read));
  metrics_->answer_length.observe(static_cast<double>(tokens_));
}

}  // namespace deltaserve
