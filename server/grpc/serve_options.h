// The options of `deltaserve serve` for the gRPC front.
#pragma once
#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/grpc/grpc_server.h"
#include "server/http_server.h"

namespace deltaserve {

struct GrpcServeOptions {
  GrpcOptions grpc;
  bool off = false;
  bool port_given = false;
  // Files of HTTP's options; both or none.
  std::string tls_certificate_path, tls_key_path;
};

// `options` must outlive the parsing.
void add_grpc_options(CLI::App* command, GrpcServeOptions* options);

// Null with --no-grpc. Without --grpc-port, an HTTP port that is any free one means the same here.
// What is common to both fronts is taken from `http`: limits, and whether prompts are logged.
absl::StatusOr<std::unique_ptr<GrpcServer>> listen_grpc(GrpcServeOptions options,
                                                        const HttpOptions& http,
                                                        const GrpcServices& services);

}  // namespace deltaserve
