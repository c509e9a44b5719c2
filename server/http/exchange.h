// Connects the connection that waits for the reply to a POST with the worker that parses it.
#pragma once
#include <boost/asio/any_io_executor.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>

#include "models/base/cancellation.h"
#include "server/http/reply.h"
#include "server/http/server_context.h"
#include "server/http/wakeup.h"
#include "server/openai/completion_job.h"
#include "server/openai/endpoints.h"

namespace deltaserve {

// The result of a worker for a body: a job that goes on, or the whole reply.
using Started = std::variant<std::unique_ptr<AnswerJob>, HttpReply>;

// The connection and the worker share it; each finds what the other has left there. Thread-safe.
class Exchange {
 public:
  explicit Exchange(boost::asio::any_io_executor strand)
      : wakeup(std::make_shared<Wakeup>(std::move(strand))) {}

  // The worker calls these three. wanted() returns false if the connection no longer waits: then
  // nothing is left to do.
  bool wanted() const;
  void put(Started started);
  // Tells the connection until when it waits, and the worker until when it works.
  void set_deadline(SteadyTime deadline);
  // The connection calls these three. They return nullopt if the worker's result is not there yet.
  std::optional<Started> take();
  SteadyTime deadline() const;
  // Ends the worker's work and drops its result, if any; a job is cancelled.
  void abandon();

  const std::shared_ptr<Wakeup> wakeup;  // signalled by put(), and by the job
  Cancellation cancellation;             // of the worker's work

 private:
  mutable std::mutex mutex_;
  std::optional<Started> started_;  // guarded by mutex_, like the next
  SteadyTime deadline_ = SteadyTime::max();
  bool abandoned_ = false;
};

// The body of a POST that a worker shall handle.
struct PostRequest {
  const PostEndpoint& endpoint;
  std::string request_id;
  std::string body = {};
  Arrival arrival = {};  // its lease covers the body
};

// Hands `request` to a worker, which answers through `exchange`. If too many requests wait for
// workers, the answer is that error.
void post_to_worker(ServerContext& context, std::shared_ptr<Exchange> exchange,
                    PostRequest request);

}  // namespace deltaserve
