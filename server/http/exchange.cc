#include "server/http/exchange.h"

#include <exception>
#include <utility>

namespace deltaserve {
namespace {

// `lease` covered the request, and covers the reply from now on.
Started text_reply(std::variant<std::string, ApiError> result, const ServerLimits& limits,
                   MemoryBudget::Lease lease) {
  if (const ApiError* error = std::get_if<ApiError>(&result)) return error_reply(*error);
  HttpReply reply;
  reply.body = std::get<0>(std::move(result));
  const bool large = reply.body.size() > limits.large_body_bytes;
  if (!lease.resize_to(large ? reply.body.size() : 0)) return error_reply(reply_too_large_error());
  reply.lease = std::make_shared<MemoryBudget::Lease>(std::move(lease));
  return reply;
}

Started empty_reply(const std::optional<ApiError>& error) {
  if (error) return error_reply(*error);
  HttpReply reply;
  reply.status = 204;
  return reply;
}

void submit_job(std::unique_ptr<AnswerJob> job, Exchange& exchange) {
  const auto notify = [weak = std::weak_ptr<Wakeup>(exchange.wakeup)] {
    if (const auto target = weak.lock()) target->signal();
  };
  if (const std::optional<ApiError> error = job->submit(notify)) {
    exchange.put(error_reply(*error));
  } else {
    exchange.put(std::move(job));
  }
}

// Calls `work` and puts its result into `exchange`.
template <class Work>
void guarded(Services& services, const std::string& request_id, Exchange& exchange, Work work) {
  try {
    work();
  } catch (const std::exception& error) {  // in this code only for want of memory
    services.log.write(LogLevel::kError, "exception",
                       LogFields().text("request_id", request_id).text("what", error.what()));
    exchange.put(error_reply(server_error("the request could not be read")));
  }
}

std::variant<std::unique_ptr<AnswerJob>, ApiError> read_job(Services& services,
                                                            PostRequest request) {
  const PostEndpoint& endpoint = request.endpoint;
  std::string body = std::move(request.body);
  Arrival arrival = std::move(request.arrival);
  if (endpoint.job != nullptr) return endpoint.job(services, std::move(body), std::move(arrival));
  if (endpoint.turn != nullptr) {
    return read_turn(services, endpoint.turn, std::move(body), std::move(arrival));
  }
  return CompletionJob::read(services, endpoint.format(), std::move(body), std::move(arrival));
}

// Reads the body of a request that generates and submits it; if a grammar must be compiled, the
// worker for that does it.
void start_job(ServerContext& context, PostRequest request,
               const std::shared_ptr<Exchange>& exchange) {
  Services& services = context.services;
  const PrefixOwner owner = request.arrival.owner;
  const std::string request_id = request.request_id;
  auto read = read_job(services, std::move(request));
  if (const ApiError* error = std::get_if<ApiError>(&read)) {
    return exchange->put(error_reply(*error));
  }
  auto job = std::get<0>(std::move(read));
  exchange->set_deadline(job->deadline());
  if (!job->must_compile()) return submit_job(std::move(job), *exchange);
  const bool posted = services.workers.post_compiling(
      owner, [exchange] { return exchange->wanted(); },
      [&context, exchange, request_id, job = std::move(job)]() mutable {
        if (context.stopping || !exchange->wanted()) return;
        guarded(context.services, request_id, *exchange,
                [&] { submit_job(std::move(job), *exchange); });
      });
  if (posted) return;
  HttpReply refusal = error_reply(too_many_grammars_error());
  refusal.held_back = true;
  exchange->put(std::move(refusal));
}

void work_on(ServerContext& context, PostRequest request,
             const std::shared_ptr<Exchange>& exchange) {
  Services& services = context.services;
  if (services.log_prompts) {
    services.log.write(
        LogLevel::kInfo, "prompt",
        LogFields().text("request_id", request.request_id).text("body", request.body));
  }
  guarded(services, request.request_id, *exchange, [&] {
    const PostEndpoint& endpoint = request.endpoint;
    if (endpoint.generates()) return start_job(context, std::move(request), exchange);
    exchange->put(endpoint.action != nullptr
                      ? empty_reply(endpoint.action(request.body, services, request.arrival.owner))
                      : text_reply(endpoint.reply(request.body, services.model, services.limits),
                                   services.limits, std::move(request.arrival.lease)));
  });
}

}  // namespace

bool Exchange::wanted() const {
  const std::lock_guard lock(mutex_);
  return !abandoned_;
}

void Exchange::put(Started started) {
  {
    const std::lock_guard lock(mutex_);
    if (abandoned_) return;
    started_ = std::move(started);
  }
  wakeup->signal();
}

void Exchange::set_deadline(SteadyTime deadline) {
  {
    const std::lock_guard lock(mutex_);
    deadline_ = deadline;
  }
  cancellation.set_deadline(deadline);
  wakeup->signal();
}

SteadyTime Exchange::deadline() const {
  const std::lock_guard lock(mutex_);
  return deadline_;
}

std::optional<Started> Exchange::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(started_, std::nullopt);
}

void Exchange::abandon() {
  cancellation.cancel();
  std::optional<Started> dropped;  // cancelled outside the lock
  const std::lock_guard lock(mutex_);
  abandoned_ = true;
  dropped = std::exchange(started_, std::nullopt);
}

void post_to_worker(ServerContext& context, std::shared_ptr<Exchange> exchange,
                    PostRequest request) {
  const size_t bytes = request.body.size();
  const PrefixOwner owner = request.arrival.owner;
  const bool posted = context.services.workers.post(
      owner, bytes, [&context, exchange, request = std::move(request)]() mutable {
        if (context.stopping || !exchange->wanted()) return;
        const CancellationScope scope(&exchange->cancellation);
        work_on(context, std::move(request), exchange);
      });
  if (!posted) exchange->put(error_reply(too_many_waiting_error()));
}

}  // namespace deltaserve
