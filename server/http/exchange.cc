#include "server/http/exchange.h"

#include <exception>
#include <utility>

namespace deltaserve {
namespace {

Started text_reply(std::variant<std::string, ApiError> result) {
  if (const ApiError* error = std::get_if<ApiError>(&result)) return error_reply(*error);
  HttpReply reply;
  reply.body = std::get<0>(std::move(result));
  return reply;
}

Started empty_reply(const std::optional<ApiError>& error) {
  if (error) return error_reply(*error);
  HttpReply reply;
  reply.status = 204;
  return reply;
}

Started start_job(Services& services, PostRequest request, const std::shared_ptr<Wakeup>& wakeup) {
  const auto notify = [weak = std::weak_ptr<Wakeup>(wakeup)] {
    if (const auto target = weak.lock()) target->signal();
  };
  const PostEndpoint& endpoint = request.endpoint;
  auto started = endpoint.turn != nullptr
                     ? start_turn(services, endpoint.turn, std::move(request.body),
                                  std::move(request.arrival), notify)
                     : CompletionJob::start(services, endpoint.format(), std::move(request.body),
                                            std::move(request.arrival), notify);
  if (const ApiError* error = std::get_if<ApiError>(&started)) return error_reply(*error);
  return std::get<0>(std::move(started));
}

Started work_on(Services& services, PostRequest request, const std::shared_ptr<Wakeup>& wakeup) {
  if (services.log_prompts) {
    services.log.write(
        LogLevel::kInfo, "prompt",
        LogFields().text("request_id", request.request_id).text("body", request.body));
  }
  try {
    const PostEndpoint& endpoint = request.endpoint;
    if (endpoint.generates()) return start_job(services, std::move(request), wakeup);
    if (endpoint.action != nullptr) {
      return empty_reply(endpoint.action(request.body, services, request.arrival.owner));
    }
    return text_reply(endpoint.reply(request.body, services.model, services.limits));
  } catch (const std::exception& error) {  // memory, as far as this code goes
    services.log.write(
        LogLevel::kError, "exception",
        LogFields().text("request_id", request.request_id).text("what", error.what()));
    return error_reply(server_error("the request could not be read"));
  }
}

}  // namespace

bool Exchange::wanted() {
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

std::optional<Started> Exchange::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(started_, std::nullopt);
}

void Exchange::abandon() {
  std::optional<Started> dropped;  // cancelled outside the lock
  const std::lock_guard lock(mutex_);
  abandoned_ = true;
  dropped = std::exchange(started_, std::nullopt);
}

void post_to_worker(ServerContext& context, std::shared_ptr<Exchange> exchange,
                    PostRequest request) {
  const size_t bytes = request.body.size();
  context.services.workers.post(
      bytes, [&context, exchange = std::move(exchange), request = std::move(request)]() mutable {
        if (context.stopping || !exchange->wanted()) return;
        exchange->put(work_on(context.services, std::move(request), exchange->wakeup));
      });
}

}  // namespace deltaserve
