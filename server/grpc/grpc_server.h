// The gRPC front: deltaserve.v1.DeltaServe (proto/deltaserve.proto), grpc.health.v1.Health and
// server reflection.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/base/processors.h"
#include "server/grpc/limits.h"
#include "server/net/bound_port.h"
#include "server/net/tls.h"
#include "server/service/services.h"

namespace deltaserve {

struct GrpcOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 50051;  // 0 = any free one
  int io_threads = std::min(2, usable_processors());
  SharedTls tls = nullptr;  // null: in the clear
  GrpcLimits limits;
};

// Nothing that clients send ends the process. The HTTP/2 layer of the library (gRPC 1.51) has no
// bound of its own on floods of resets and other frames; GrpcListener closes such connections.
//
// Thread safety: all public methods may be called from any thread.
class GrpcServer {
 public:
  // Serves on `port`, on threads of its own. `services` must outlive the server, and
  // Services::stop() must return before the destructor runs, but after shut_down(). With keys every
  // call needs one but health checks. From the first SIGTERM or SIGINT on, the server refuses new
  // calls, and health checks say NOT_SERVING.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> listen(const GrpcOptions& options,
                                                            BoundPort port, Services& services);
  virtual ~GrpcServer() = default;

  // "127.0.0.1:50051", with the real port.
  virtual std::string address() const = 0;

  // Refuses new calls with UNAVAILABLE; running calls go on. Returns at once.
  virtual void drain() = 0;

  // Drains, gives replies that are complete some time to be read, and ends all other calls once
  // nothing is left in the engine. Returns when no call is left. Idempotent.
  virtual void shut_down() = 0;
};

}  // namespace deltaserve
