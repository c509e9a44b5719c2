// A load run: the clients, their clock, and the end.
#pragma once
#include "absl/status/statusor.h"
#include "server/loadgen/limits.h"
#include "server/loadgen/plan.h"
#include "server/loadgen/report.h"

namespace deltaserve {

struct LoadRun {
  Measurements measured;
  bool interrupted = false;  // by SIGINT or SIGTERM; `measured` is what there was until then
};

// Asks the server for its model if *options names none, and stores it there; tries a request;
// warms up; then runs the load, all in the calling thread. Progress goes to stderr once a second if
// that is a terminal. Errors: the server cannot be found, or refuses even the first request.
absl::StatusOr<LoadRun> run_load(BenchServeOptions* options, const BenchServeLimits& limits);

}  // namespace deltaserve
