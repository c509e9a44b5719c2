// The OpenAI-compatible HTTP front: POST /v1/completions, GET /v1/models, /health, /health/ready.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "server/limits.h"
#include "server/openai_api.h"

namespace deltaserve {

struct HttpOptions {
  std::string host = "127.0.0.1";  // an address, or a name that is looked up once
  uint16_t port = 8080;            // 0 = any free one
  int io_threads = 2;
  ServerLimits limits;
};

// A client that closes its side of the connection, even half of it, is gone: its requests are
// cancelled at once. Nothing that a client sends ends the process.
//
// Thread safety: all public methods may be called from any thread, run() once.
class HttpServer {
 public:
  // Binds and listens. `model` and `engine` must outlive the server; Engine::stop() must return
  // before the destructor runs, because the engine notifies connections. An address in use, an
  // unknown host: UNAVAILABLE, in a sentence.
  static absl::StatusOr<std::unique_ptr<HttpServer>> listen(const HttpOptions& options,
                                                            const ServedModel& model,
                                                            Engine* engine);
  virtual ~HttpServer() = default;

  virtual std::string url() const = 0;  // with the real port

  // Serves until stop(), or until drain() has nothing left to wait for. SIGTERM and SIGINT drain;
  // a second one stops.
  virtual void run() = 0;

  // Refuses new completions with 503 and turns /health/ready to 503; those that run go on.
  virtual void drain() = 0;

  // Cuts every connection.
  virtual void stop() = 0;
};

}  // namespace deltaserve
