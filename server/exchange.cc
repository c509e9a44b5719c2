#include "server/exchange.h"

#include <boost/asio/post.hpp>
#include <exception>
#include <utility>

#include "server/tokenize_api.h"

namespace deltaserve {
namespace {

Started text_reply(std::variant<std::string, ApiError> result) {
  if (const ApiError* error = std::get_if<ApiError>(&result)) return error_reply(*error);
  HttpReply reply;
  reply.body = std::get<0>(std::move(result));
  return reply;
}

Started start_job(const ServerContext& context, PostRequest request,
                  const std::shared_ptr<Wakeup>& wakeup) {
  JobRequest job;
  job.api = request.route == Route::kChatCompletions ? Api::kChat : Api::kCompletions;
  job.body = std::move(request.body);
  job.lease = std::move(request.lease);
  job.arrival = request.arrival;
  job.timeout_ms = request.timeout_ms;
  const CompletionContext completion{&context.model, &context.limits, context.engine,
                                     context.metrics};
  auto notify = [weak = std::weak_ptr<Wakeup>(wakeup)] {
    if (const auto target = weak.lock()) target->signal();
  };
  auto started = CompletionJob::start(completion, std::move(job), std::move(notify));
  if (const ApiError* error = std::get_if<ApiError>(&started)) {
    if (error->status == 429) context.metrics->queue_full.add();
    return error_reply(*error);
  }
  return std::get<0>(std::move(started));
}

Started work_on(const ServerContext& context, PostRequest request,
                const std::shared_ptr<Wakeup>& wakeup) {
  if (context.log_prompts) {
    context.log->write(
        LogLevel::kInfo, "prompt",
        LogFields().text("request_id", request.request_id).text("body", request.body));
  }
  try {
    switch (request.route) {
      case Route::kTokenize:
        return text_reply(tokenize(request.body, context.model, context.limits));
      case Route::kDetokenize:
        return text_reply(detokenize(request.body, context.model, context.limits));
      default: return start_job(context, std::move(request), wakeup);
    }
  } catch (const std::exception& error) {  // memory, as far as this code goes
    context.log->write(
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
  const bool large = request.body.size() > context.limits.large_body_bytes;
  boost::asio::post(
      large ? context.large_work : context.small_work,
      [&context, exchange = std::move(exchange), request = std::move(request)]() mutable {
        if (context.stopping || !exchange->wanted()) return;
        exchange->put(work_on(context, std::move(request), exchange->wakeup));
      });
}

}  // namespace deltaserve
