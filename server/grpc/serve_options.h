// The options of `deltaserve serve` for the gRPC front.
#pragma once
#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/grpc/grpc_server.h"

namespace deltaserve {

struct GrpcServeOptions {
  GrpcOptions grpc;
  bool off = false;
  bool port_given = false;
  bool any_port = false;  // without --grpc-port: take any free port
};

// `options` must outlive the parsing.
void add_grpc_options(CLI::App* command, GrpcServeOptions* options);

// Null with --no-grpc.
absl::StatusOr<std::unique_ptr<GrpcServer>> listen_grpc(GrpcServeOptions options,
                                                        Services& services);

}  // namespace deltaserve
