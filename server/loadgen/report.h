// The measurements of a load run, and its two reports.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "server/loadgen/limits.h"
#include "server/loadgen/plan.h"
#include "server/loadgen/stats.h"
#include "server/loadgen/stream.h"

namespace deltaserve {

// One request. Times are seconds since the run began.
struct RequestResult {
  double start = 0;      // when it was due: its arrival, or the end of its client's last one
  int64_t generate = 0;  // tokens asked for
  Failure failure;
  StreamTimes times;
};

// Sums over requests. A failed one counts as failed and for nothing else.
struct Measurements {
  explicit Measurements(const BenchServeLimits& limits)
      : time_to_first_token(limits.samples),
        inter_token_latency(limits.samples),
        time_per_output_token(limits.samples),
        end_to_end(limits.samples),
        max_records(limits.records) {}

  void add(RequestResult result);

  struct FailureCount {
    int64_t count = 0;
    std::string example;
  };
  struct Record {
    double start;
    double first_token;  // seconds after start, like the next; -1: not known
    double done;
    int64_t prompt_tokens;
    int64_t output_tokens;
    int64_t events;
    std::string failure;  // empty: none
  };

  double seconds = 0;  // from the first request to the end of the last
  int64_t succeeded = 0;
  int64_t failed = 0;
  int64_t interrupted = 0;
  int64_t resent = 0;         // over a new connection, the old one being closed by the server
  int64_t late_arrivals = 0;  // that found no idle client
  int64_t prompt_tokens = 0;
  int64_t output_tokens = 0;
  int64_t events = 0;        // with tokens
  int64_t textless = 0;      // that no event had text of; only their end is known
  int64_t other_length = 0;  // that generated more or fewer tokens than asked for
  std::map<std::string, FailureCount> failures;  // by failure_name
  Samples time_to_first_token;
  Samples inter_token_latency;    // gaps between events with tokens
  Samples time_per_output_token;  // first token to last, by the tokens between; one a request
  Samples end_to_end;
  size_t max_records;
  std::vector<Record> records;
  int64_t records_left_out = 0;
};

// The text report is for people and ends with a line break.
std::string text_report(const BenchServeOptions& options, const Measurements& measured);
// The JSON report is one object and a line break. Times are in seconds; the key is left out.
std::string json_report(const BenchServeOptions& options, const Measurements& measured);

}  // namespace deltaserve
