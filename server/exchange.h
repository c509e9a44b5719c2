// A POST between the connection that waits for it and the worker that parses it.
#pragma once
#include <boost/asio/any_io_executor.hpp>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>

#include "server/completion_job.h"
#include "server/endpoints.h"
#include "server/http_reply.h"
#include "server/server_context.h"
#include "server/wakeup.h"

namespace deltaserve {

// What a worker makes of a body: a job that goes on, or the whole reply.
using Started = std::variant<std::unique_ptr<CompletionJob>, HttpReply>;

// Shared by the two; whoever comes second finds what the first has left. Thread-safe.
class Exchange {
 public:
  explicit Exchange(boost::asio::any_io_executor strand)
      : wakeup(std::make_shared<Wakeup>(std::move(strand))) {}

  // Of the worker. False: nobody waits any more, and there is nothing to do.
  bool wanted();
  void put(Started started);
  // Of the connection. nullopt: not yet.
  std::optional<Started> take();
  // What the worker makes from now on is dropped, its job cancelled.
  void abandon();

  const std::shared_ptr<Wakeup> wakeup;  // signalled by put(), and by the job

 private:
  std::mutex mutex_;
  std::optional<Started> started_;  // guarded by mutex_, as the next
  bool abandoned_ = false;
};

// A body to be worked on.
struct PostRequest {
  const PostEndpoint& endpoint;
  std::string request_id;
  std::string body = {};
  Arrival arrival = {};  // its lease covers the body
};

// Hands `request` to a worker, which answers through `exchange`.
void post_to_worker(ServerContext& context, std::shared_ptr<Exchange> exchange,
                    PostRequest request);

}  // namespace deltaserve
