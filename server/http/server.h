// The HTTP front: the OpenAI API and what belongs to it. See server/README.md for the endpoints.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/base/processors.h"
#include "server/http/cors.h"
#include "server/net/bound_port.h"
#include "server/net/tls.h"
#include "server/service/services.h"

namespace deltaserve {

struct HttpOptions {
  std::string host = "127.0.0.1";  // an address, or a name that is looked up once
  uint16_t port = 8080;            // 0 = any free one
  int io_threads = std::min(2, usable_processors());
  // A drain lasts so long before running requests are cut off, with an error in the stream.
  std::chrono::seconds drain_timeout{30};  // 0 = no end
  CorsPolicy cors;
  // Names that requests may have for this server. Empty: on a loopback address without keys only
  // those of the loopback, else any.
  std::vector<std::string> allowed_hosts = {};
  SharedTls tls = nullptr;               // null: in the clear
  std::function<void()> on_hangup = {};  // is called on an I/O thread for each SIGHUP
};

// A client that closes its side of the connection, even half of it, is gone: its requests are
// cancelled at once. Nothing that a client sends ends the process.
//
// Thread safety: all public methods may be called from any thread, run() once.
class HttpServer {
 public:
  // Listens on `port`. `services` must outlive the server, and Services::stop() must return before
  // the destructor runs.
  static absl::StatusOr<std::unique_ptr<HttpServer>> listen(const HttpOptions& options,
                                                            BoundPort port, Services& services);
  virtual ~HttpServer() = default;

  virtual std::string url() const = 0;  // with the real port

  // Serves until stop(), or until drain() has nothing left to wait for. SIGTERM and SIGINT drain; a
  // second one stops, and ends the process shortly after, even if other threads are busy.
  virtual void run() = 0;

  // Refuses new work with 503 and turns /ready to 503; running requests go on for at most
  // drain_timeout.
  virtual void drain() = 0;

  // Cuts every connection.
  virtual void stop() = 0;
};

}  // namespace deltaserve
