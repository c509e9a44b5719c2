#include "server/loadgen/run.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <vector>

#include "absl/strings/str_format.h"
#include "models/base/text.h"
#include "server/loadgen/client.h"

namespace deltaserve {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using Clock = std::chrono::steady_clock;
using ErrorCode = boost::system::error_code;

constexpr auto kAsTuple = asio::as_tuple(asio::use_awaitable);
constexpr int64_t kProbeIds = 16;
constexpr int64_t kProbeWords[] = {64, 192};
constexpr size_t kModelsShown = 8;

Clock::duration duration_of(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

// A client is a file descriptor.
void raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

struct Client {
  Client(asio::io_context* io, const HttpTarget* target, const BenchServeLimits* limits)
      : http(io, target, limits), timer(*io) {}

  HttpClient http;
  asio::steady_timer timer;  // until an arrival, or after a failure
};

// Requests that the clients share: a warm-up, or what is measured.
struct Phase {
  Phase(const BenchServeOptions& options, const BenchServeLimits& limits)
      : arrivals(options.rate, options.seed), measured(limits) {}

  int64_t first_index = 0;
  int64_t requests = 0;  // 0: no bound
  double seconds = 0;    // 0: no bound
  bool open_loop = false;
  Arrivals arrivals;
  Measurements measured;
  Clock::time_point start;
  int64_t issued = 0;
  int running = 0;  // requests
  int clients = 0;  // that have not ended

  double now() const { return std::chrono::duration<double>(Clock::now() - start).count(); }
  // Returns true if it is too late for a request that is due at `due`.
  bool is_over(double due) const { return seconds > 0 && due >= seconds; }
};

// Everything runs in one thread.
class Load {
 public:
  Load(BenchServeOptions* options, const BenchServeLimits& limits)
      : options_(*options), limits_(limits), plan_(options), signals_(io_), progress_(io_) {}

  absl::Status prepare() {
    raise_descriptor_limit();
    absl::Status status = resolve();
    if (!status.ok()) return status;
    for (int i = 0; i < options_.clients; ++i) {
      clients_.push_back(std::make_unique<Client>(&io_, &target_, &limits_));
    }
    asio::co_spawn(io_, try_server(&status), [this](std::exception_ptr e) { keep(e); });
    run_io();
    return broken_.ok() ? status : broken_;
  }

  absl::StatusOr<LoadRun> run() {
    if (options_.warmup > 0) {
      Phase warmup(options_, limits_);
      warmup.first_index = -options_.warmup;
      warmup.requests = options_.warmup;
      run_phase(&warmup);
      if (!broken_.ok()) return broken_;
    }
    Phase phase(options_, limits_);
    phase.requests = options_.requests;
    phase.seconds = options_.seconds;
    phase.open_loop = options_.rate > 0;
    if (!stopping_) run_phase(&phase);
    if (!broken_.ok()) return broken_;
    return LoadRun{std::move(phase.measured), stopping_};
  }

 private:
  absl::Status resolve() {
    ErrorCode ec;
    asio::ip::tcp::resolver resolver(io_);
    const auto found = resolver.resolve(options_.url.host, options_.url.port, ec);
    if (ec || found.empty()) {
      return absl::UnavailableError(
          str_cat("cannot find ", deltaserve::quoted(options_.url.host), ": ", ec.message()));
    }
    for (const auto& entry : found) target_.endpoints.push_back(entry.endpoint());
    target_.authority = options_.url.authority;
    if (!options_.api_key.empty()) target_.authorization = "Bearer " + options_.api_key;
    return absl::OkStatus();
  }

  void run_io() {
    io_.restart();
    try {
      io_.run();
    } catch (const std::exception& error) {
      broken_ = absl::InternalError(error.what());
    }
  }

  // Keeps the exception that ended a coroutine (an internal error, or memory ran out), and stops.
  void keep(const std::exception_ptr& thrown) {
    if (!thrown) return;
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& error) {
      broken_ = absl::InternalError(error.what());
    }
    stop();
  }

  // ---- Before the load.

  awaitable<void> try_server(absl::Status* status) {
    if (options_.model.empty()) *status = co_await find_model();
    if (!status->ok()) co_return;
    if (options_.text) {
      *status = co_await measure_text();
    } else {
      *status = co_await try_ids();
    }
  }

  absl::Status refused(std::string_view what, const Failure& failure) const {
    std::string message =
        str_cat("http://", options_.url.authority, options_.url.path, ": ", what, ": ",
                failure_name(failure.kind, failure.status), ": ", failure.message);
    if (failure.kind == FailureKind::kConnect) {
      message.append("; start a server with 'deltaserve serve MODEL', or correct --url");
    }
    if (failure.status == 401) message.append("; give --api-key-env or --api-key");
    return absl::UnavailableError(message);
  }

  awaitable<absl::Status> find_model() {
    HttpCall call;
    call.path = options_.url.path + "/v1/models";
    call.deadline = Clock::now() + duration_of(options_.timeout);
    const HttpResult result = co_await clients_.front()->http.exchange(call);
    if (result.failure) co_return refused("GET /v1/models", result.failure);
    const absl::StatusOr<std::vector<std::string>> ids = model_ids_of(result.text, limits_);
    if (!ids.ok()) co_return ids.status();
    if (ids->size() > 1) {
      std::string names;
      for (size_t i = 0; i < std::min(ids->size(), kModelsShown); ++i) {
        names.append(" ").append(deltaserve::quoted((*ids)[i]));
      }
      co_return invalid_argument("the server has ", ids->size(),
                                 " models; choose with --model:", names,
                                 ids->size() > kModelsShown ? " ..." : "");
    }
    options_.model = ids->front();
    co_return absl::OkStatus();
  }

  awaitable<absl::Status> try_ids() {
    const PlannedRequest planned =
        plan_.probe(std::min(options_.prompt, kProbeIds), -options_.warmup - 1);
    const RequestResult result = co_await perform(clients_.front().get(), planned, Clock::now(), 0);
    if (!result.failure) co_return absl::OkStatus();
    absl::Status status = refused("the first request", result.failure);
    if (result.failure.status == 400 || result.failure.status == 422) {
      status = absl::UnavailableError(
          str_cat(status.message(),
                  "; if the server takes no token ids, give --text; if they are "
                  "not in its vocabulary, --vocab; if it knows no ignore_eos, "
                  "--stop-at-eos"));
    }
    co_return status;
  }

  awaitable<absl::Status> measure_text() {
    int64_t tokens[2] = {};
    for (int i = 0; i < 2; ++i) {
      const PlannedRequest planned = plan_.probe(kProbeWords[i], -options_.warmup - 1 - i);
      const RequestResult result =
          co_await perform(clients_.front().get(), planned, Clock::now(), 0);
      if (result.failure) co_return refused("the first requests", result.failure);
      tokens[i] = result.times.prompt_tokens;
    }
    const absl::StatusOr<TextScale> scale =
        scale_from(kProbeWords[0], tokens[0], kProbeWords[1], tokens[1]);
    if (!scale.ok()) co_return scale.status();
    plan_.set_scale(*scale);
    co_return absl::OkStatus();
  }

  // ---- The load.

  void run_phase(Phase* phase) {
    phase->start = Clock::now();
    phase->clients = options_.clients;
    signals_.add(SIGINT);
    signals_.add(SIGTERM);
    signals_.async_wait([this](const ErrorCode& ec, int) {
      if (!ec) stop();
    });
    int64_t resent = 0;
    for (const auto& client : clients_) {
      resent -= client->http.resent();
      asio::co_spawn(io_, client_loop(client.get(), phase), [this, phase](std::exception_ptr e) {
        keep(e);
        if (--phase->clients > 0) return;
        signals_.cancel();
        progress_.cancel();
      });
    }
    if (isatty(STDERR_FILENO) != 0) {
      asio::co_spawn(io_, show_progress(phase), [this](std::exception_ptr e) { keep(e); });
    }
    run_io();
    signals_.clear();  // between phases and afterwards they end the process as usual
    for (const auto& client : clients_) resent += client->http.resent();
    phase->measured.resent = resent;
  }

  void stop() {
    stopping_ = true;
    for (const auto& client : clients_) {
      client->http.abort();
      client->timer.cancel();
    }
  }

  // Returns nullopt if no request follows. `due` is in seconds since the start.
  std::optional<int64_t> take_request(Phase* phase, double* due) {
    if (stopping_ || (phase->requests > 0 && phase->issued >= phase->requests)) return std::nullopt;
    *due = phase->open_loop ? phase->arrivals.next() : phase->now();
    if (phase->is_over(*due)) return std::nullopt;
    return phase->first_index + phase->issued++;
  }

  awaitable<void> client_loop(Client* client, Phase* phase) {
    double due = 0;
    while (const std::optional<int64_t> index = take_request(phase, &due)) {
      const PlannedRequest planned = plan_.request(*index);
      if (!phase->open_loop) {
        due = phase->now();  // making the request is not the server's time
        if (phase->is_over(due)) co_return;
      } else if (phase->now() < due) {
        client->timer.expires_at(phase->start + duration_of(due));
        co_await client->timer.async_wait(kAsTuple);
        if (stopping_) co_return;
      } else {
        ++phase->measured.late_arrivals;
      }
      ++phase->running;
      RequestResult result = co_await perform(client, planned, phase->start, due);
      --phase->running;
      const bool failed = static_cast<bool>(result.failure);
      phase->measured.add(std::move(result));
      phase->measured.seconds = phase->now();
      if (!failed || stopping_) continue;
      client->timer.expires_after(limits_.failure_pause);
      co_await client->timer.async_wait(kAsTuple);
    }
  }

  // `due` is in seconds after `start`, as all times of the result.
  awaitable<RequestResult> perform(Client* client, const PlannedRequest& planned,
                                   Clock::time_point start, double due) {
    RequestResult result;
    result.start = due;
    result.generate = planned.generate;
    CompletionStream stream(planned.generate, limits_);
    HttpCall call;
    call.post = true;
    call.path = options_.url.path + (options_.chat ? "/v1/chat/completions" : "/v1/completions");
    call.body = planned.body;
    call.deadline = Clock::now() + duration_of(options_.timeout);
    call.on_piece = [&stream, start](std::string_view piece) {
      const double now = std::chrono::duration<double>(Clock::now() - start).count();
      return stream.feed(piece, now);
    };
    HttpResult reply = co_await client->http.exchange(call);
    if (!reply.failure) stream.finish();
    result.failure = stream.failure() ? stream.failure() : reply.failure;
    if (result.failure && stopping_) result.failure = {FailureKind::kInterrupted, 0, ""};
    result.times = stream.take_times();
    co_return result;
  }

  awaitable<void> show_progress(Phase* phase) {
    const Measurements& m = phase->measured;
    int64_t tokens = 0;
    for (double last = phase->now();;) {
      progress_.expires_after(std::chrono::seconds(1));
      const auto [ec] = co_await progress_.async_wait(kAsTuple);
      if (ec) break;
      const double now = phase->now();
      const std::string bound = phase->requests > 0 ? absl::StrCat("/", phase->requests) : "";
      absl::FPrintF(
          stderr, "\r\033[K%s %.0f s: %d%s requests, %d running, %d failed, %.1f tokens/s",
          phase->first_index < 0 ? "warm-up" : "load", now, m.succeeded, bound, phase->running,
          m.failed, static_cast<double>(m.output_tokens - tokens) / (now - last));
      std::fflush(stderr);
      last = now;
      tokens = m.output_tokens;
    }
    absl::FPrintF(stderr, "\r\033[K");
  }

  BenchServeOptions& options_;
  const BenchServeLimits& limits_;
  RequestPlan plan_;
  HttpTarget target_;
  bool stopping_ = false;
  absl::Status broken_;
  asio::io_context io_{1};
  std::vector<std::unique_ptr<Client>> clients_;
  asio::signal_set signals_;
  asio::steady_timer progress_;
};

}  // namespace

absl::StatusOr<LoadRun> run_load(BenchServeOptions* options, const BenchServeLimits& limits) {
  Load load(options, limits);
  const absl::Status status = load.prepare();
  if (!status.ok()) return status;
  return load.run();
}

}  // namespace deltaserve
