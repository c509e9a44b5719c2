// The gRPC front: deltaserve.v1.DeltaServe (proto/deltaserve.proto), grpc.health.v1.Health and
// server reflection.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/engine.h"
#include "server/grpc/limits.h"
#include "server/key_ring.h"
#include "server/limits.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/served_model.h"

namespace deltaserve {

struct GrpcOptions {
  std::string host = "127.0.0.1";
  uint16_t port = 50051;  // 0 = any free one
  int io_threads = 2;
  // PEM texts; both or none. Without them the connections are in the clear.
  std::string tls_certificate;
  std::string tls_key;
  bool log_prompts = false;
  GrpcLimits limits;
  ServerLimits request_limits;  // those of parameters and prompts, as over HTTP
};

// What the server uses and does not own. All of it must outlive the server.
struct GrpcServices {
  const ServedModel* model = nullptr;
  Engine* engine = nullptr;
  Metrics* metrics = nullptr;
  Logger* log = nullptr;
  // With keys every call needs one but health checks. An empty ring: no keys are needed.
  const KeyRing* keys = nullptr;
};

// What clients send cannot end the process, but the HTTP/2 layer below (gRPC 1.51) has no bound of
// its own on floods of resets and other frames: on a network, an Envoy belongs in front
// (deploy/README.md).
//
// Thread safety: all public methods may be called from any thread.
class GrpcServer {
 public:
  // Binds and serves on threads of its own. Engine::stop() must return before the destructor runs,
  // because the engine notifies calls. UNAVAILABLE: the address cannot be had. From the first
  // SIGTERM or SIGINT on, the server refuses new calls, and health checks say NOT_SERVING.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> listen(const GrpcOptions& options,
                                                            const GrpcServices& services);
  virtual ~GrpcServer() = default;

  // "127.0.0.1:50051", with the real port.
  virtual std::string address() const = 0;

  // Refuses new calls with UNAVAILABLE; those that run go on. Returns at once.
  virtual void drain() = 0;

  // Drains, gives replies that are complete some time to be read, and ends all other calls once
  // nothing is left in the engine. Returns when no call is left. Idempotent.
  virtual void shut_down() = 0;
};

}  // namespace deltaserve
