#include "server/loadgen/report.h"

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>

#include "absl/strings/str_format.h"
#include "models/base/text.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr int kPlotBuckets = 12;
constexpr int kJsonBuckets = 40;
constexpr double kPercentiles[] = {1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9};

double rate(int64_t count, double seconds) {
  return seconds > 0 ? static_cast<double>(count) / seconds : 0;
}

std::string load_text(const BenchServeOptions& options) {
  std::string load = options.rate > 0
                         ? absl::StrFormat("%g requests/s (Poisson), at most %d at a time",
                                           options.rate, options.clients)
                         : absl::StrFormat("%d closed-loop clients", options.clients);
  absl::StrAppendFormat(&load, "; prompts of %s%d %s", options.text ? "about " : "", options.prompt,
                        options.text ? "tokens of text" : "token ids");
  if (options.prompt_spread > 0) absl::StrAppendFormat(&load, " +-%g", options.prompt_spread);
  absl::StrAppendFormat(&load, ", %d tokens each", options.generate);
  if (options.generate_spread > 0) absl::StrAppendFormat(&load, " +-%g", options.generate_spread);
  return load;
}

void append_latency(std::string_view name, const Samples& samples, const std::vector<float>& sorted,
                    std::string* out) {
  if (sorted.empty()) {
    absl::StrAppendFormat(out, "%-28s %10s\n", as_piece(name), "none");
    return;
  }
  absl::StrAppendFormat(out, "%-28s %10.3f %10.3f %10.3f %10.3f %10.3f\n", as_piece(name),
                        samples.mean() * 1e3, percentile(sorted, 50) * 1e3,
                        percentile(sorted, 90) * 1e3, percentile(sorted, 99) * 1e3,
                        samples.max() * 1e3);
}

void append_latencies(const Measurements& m, std::string* out) {
  const std::vector<float> first = m.time_to_first_token.sorted();
  const std::vector<float> gaps = m.inter_token_latency.sorted();
  absl::StrAppendFormat(out, "\n%-28s %10s %10s %10s %10s %10s\n", "milliseconds", "mean", "median",
                        "p90", "p99", "max");
  append_latency("time to first token", m.time_to_first_token, first, out);
  append_latency("inter-token (between events)", m.inter_token_latency, gaps, out);
  append_latency("per output token", m.time_per_output_token, m.time_per_output_token.sorted(),
                 out);
  append_latency("end to end", m.end_to_end, m.end_to_end.sorted(), out);
  out->append("\n").append(plot("time to first token", histogram(first, kPlotBuckets)));
  if (gaps.empty()) return;
  out->append("\n").append(plot("inter-token latency", histogram(gaps, kPlotBuckets)));
}

void append_remarks(const BenchServeOptions& options, const Measurements& m, std::string* out) {
  for (const auto& [name, failure] : m.failures) {
    absl::StrAppendFormat(out, "failed: %d x %s: %s\n", failure.count, name, failure.example);
  }
  if (m.interrupted > 0) absl::StrAppendFormat(out, "%d requests were cut short\n", m.interrupted);
  if (m.resent > 0) {
    absl::StrAppendFormat(out, "%d requests were sent again: their connection had been closed\n",
                          m.resent);
  }
  if (m.late_arrivals > 0) {
    absl::StrAppendFormat(out, "%d arrivals waited for a client; with more than %d there is less\n",
                          m.late_arrivals, options.clients);
  }
  if (m.textless > 0) {
    absl::StrAppendFormat(
        out, "%d replies have no text, so no first token; try --return-token-ids\n", m.textless);
  }
  if (m.other_length > 0) {
    absl::StrAppendFormat(out, "%d replies have another length than was asked for\n",
                          m.other_length);
  }
}

// Writes null for all but the counts where there are no values.
json::object latency_json(const Samples& samples) {
  const std::vector<float> sorted = samples.sorted();
  const auto known = [&](double value) {
    return sorted.empty() ? json::value() : json::value(value);
  };
  json::object object{{"count", samples.count()},
                      {"mean", known(samples.mean())},
                      {"standard_deviation", known(samples.standard_deviation())},
                      {"min", known(samples.min())},
                      {"max", known(samples.max())}};
  for (const double percent : kPercentiles) {
    object[absl::StrFormat("p%g", percent)] = known(percentile(sorted, percent));
  }
  object["percentiles_of"] = samples.held();
  json::array buckets;
  for (const Bucket& bucket : histogram(sorted, kJsonBuckets)) {
    buckets.push_back({{"below", bucket.below}, {"count", bucket.count}});
  }
  object["histogram"] = std::move(buckets);
  return object;
}

json::object options_json(const BenchServeOptions& options) {
  return {{"url", absl::StrCat("http://", options.url.authority, options.url.path)},
          {"api", options.chat ? "chat" : "completions"},
          {"model", options.model},
          {"clients", options.clients},
          {"prompt", options.prompt},
          {"prompt_spread", options.prompt_spread},
          {"prompt_kind", options.text ? "text" : "token_ids"},
          {"vocab", options.vocab},
          {"generate", options.generate},
          {"generate_spread", options.generate_spread},
          {"requests", options.requests},
          {"seconds", options.seconds},
          {"warmup", options.warmup},
          {"rate", options.rate},
          {"seed", options.seed},
          {"temperature", options.temperature},
          {"ignore_eos", options.ignore_eos},
          {"return_token_ids", options.return_token_ids},
          {"timeout", options.timeout}};
}

json::array failures_json(const Measurements& m) {
  json::array failures;
  for (const auto& [name, failure] : m.failures) {
    failures.push_back({{"kind", name}, {"count", failure.count}, {"example", failure.example}});
  }
  return failures;
}

json::array records_json(const Measurements& m) {
  json::array records;
  for (const Measurements::Record& record : m.records) {
    json::object object{{"start", record.start}};
    if (record.failure.empty()) {
      object["time_to_first_token"] =
          record.events > 0 ? json::value(record.first_token) : json::value();
      object["end_to_end"] = record.done;
      object["prompt_tokens"] = record.prompt_tokens;
      object["output_tokens"] = record.output_tokens;
      object["events"] = record.events;
    } else {
      object["failure"] = record.failure;
    }
    records.push_back(std::move(object));
  }
  return records;
}

}  // namespace

void Measurements::add(RequestResult result) {
  const StreamTimes& times = result.times;
  Record record{result.start, -1, -1, -1, -1, times.events, {}};
  if (result.failure) {
    record.failure = failure_name(result.failure.kind, result.failure.status);
    if (result.failure.kind == FailureKind::kInterrupted) {
      ++interrupted;
    } else {
      ++failed;
      FailureCount& same = failures[record.failure];
      if (same.count++ == 0) same.example = result.failure.message;
    }
  } else {
    ++succeeded;
    record.done = times.done - result.start;
    record.prompt_tokens = times.prompt_tokens;
    record.output_tokens = times.output_tokens;
    end_to_end.add(record.done);
    for (const float gap : times.gaps) inter_token_latency.add(gap);
    if (times.events > 0) {
      record.first_token = times.first_token - result.start;
      time_to_first_token.add(record.first_token);
    } else {
      ++textless;
    }
    if (times.events > 1 && times.output_tokens > 1) {
      time_per_output_token.add((times.last_token - times.first_token) /
                                static_cast<double>(times.output_tokens - 1));
    }
    prompt_tokens += times.prompt_tokens;
    output_tokens += times.output_tokens;
    events += times.events;
    other_length += times.output_tokens != result.generate;
  }
  if (records.size() < max_records) {
    records.push_back(std::move(record));
  } else {
    ++records_left_out;
  }
}

std::string text_report(const BenchServeOptions& options, const Measurements& m) {
  std::string text =
      absl::StrFormat("http://%s%s, model %s, %s: %s\n\n", options.url.authority, options.url.path,
                      options.model, options.chat ? "chat" : "completions", load_text(options));
  absl::StrAppendFormat(&text, "requests    %d succeeded, %d failed in %.2f s\n", m.succeeded,
                        m.failed, m.seconds);
  absl::StrAppendFormat(&text, "throughput  %.2f requests/s, %.1f output tokens/s, %.1f tokens/s\n",
                        rate(m.succeeded, m.seconds), rate(m.output_tokens, m.seconds),
                        rate(m.prompt_tokens + m.output_tokens, m.seconds));
  absl::StrAppendFormat(&text, "tokens      %d of prompts, %d of outputs in %d events\n",
                        m.prompt_tokens, m.output_tokens, m.events);
  append_remarks(options, m, &text);
  if (m.succeeded > 0) append_latencies(m, &text);
  return text;
}

std::string json_report(const BenchServeOptions& options, const Measurements& m) {
  const json::object report{
      {"options", options_json(options)},
      {"seconds", m.seconds},
      {"requests",
       {{"succeeded", m.succeeded},
        {"failed", m.failed},
        {"interrupted", m.interrupted},
        {"resent", m.resent},
        {"late_arrivals", m.late_arrivals},
        {"textless", m.textless},
        {"other_length", m.other_length}}},
      {"failures", failures_json(m)},
      {"tokens", {{"prompt", m.prompt_tokens}, {"output", m.output_tokens}, {"events", m.events}}},
      {"requests_per_second", rate(m.succeeded, m.seconds)},
      {"output_tokens_per_second", rate(m.output_tokens, m.seconds)},
      {"total_tokens_per_second", rate(m.prompt_tokens + m.output_tokens, m.seconds)},
      {"time_to_first_token", latency_json(m.time_to_first_token)},
      {"inter_token_latency", latency_json(m.inter_token_latency)},
      {"time_per_output_token", latency_json(m.time_per_output_token)},
      {"end_to_end", latency_json(m.end_to_end)},
      {"records", records_json(m)},
      {"records_left_out", m.records_left_out}};
  return json::serialize(report) + "\n";
}

}  // namespace deltaserve
