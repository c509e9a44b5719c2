// The options of `deltaserve serve` for the gRPC front.
#pragma once
#include <CLI/CLI.hpp>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "server/grpc/grpc_server.h"

namespace deltaserve {

struct GrpcServeOptions {
  GrpcOptions grpc;
  bool off = false;
  bool port_given = false;
};

// `options` must outlive the parsing.
void add_grpc_options(CLI::App* command, GrpcServeOptions* options);

// Binds the port; nullopt with --no-grpc. `any_port`: without --grpc-port any free one is taken.
absl::StatusOr<std::optional<BoundPort>> bind_grpc(const GrpcServeOptions& options, bool any_port);

// Starts the gRPC front; returns null without a port.
absl::StatusOr<std::unique_ptr<GrpcServer>> listen_grpc(GrpcOptions options,
                                                        std::optional<BoundPort> port,
                                                        Services& services);

}  // namespace deltaserve
