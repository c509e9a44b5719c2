#include "server/grpc/serve_options.h"

#include "server/command_line/values.h"

namespace deltaserve {
void add_grpc_options(CLI::App* command, GrpcServeOptions* options) {
  const std::string group = "gRPC";
  command->add_option("--grpc-host", options->grpc.host, "Address on which gRPC listens")
      ->capture_default_str()
      ->type_name("HOST")
      ->group(group);
  command
      ->add_option_function<uint16_t>(
          "--grpc-port",
          [options](uint16_t port) {
            options->grpc.port = port;
            options->port_given = true;
          },
          "Port for gRPC; 0 takes any free one, which is printed (default: 50051, or 0 with "
          "--http-port 0)")
      ->transform(whole_number_in(0, 65535))
      ->type_name("PORT")
      ->group(group);
  // It excludes nothing: the container's entry point gives a host, and a user then adds this.
  command
      ->add_flag("--no-grpc", options->off,
                 "Serve HTTP only, whatever --grpc-host and --grpc-port say")
      ->group(group);
}

absl::StatusOr<std::optional<BoundPort>> bind_grpc(const GrpcServeOptions& options, bool any_port) {
  if (options.off) return std::nullopt;
  const uint16_t port = any_port && !options.port_given ? uint16_t{0} : options.grpc.port;
  absl::StatusOr<BoundPort> bound =
      BoundPort::bind(options.grpc.host, port, {"--grpc-host", "--grpc-port"});
  if (!bound.ok()) return bound.status();
  return std::optional<BoundPort>(*std::move(bound));
}

absl::StatusOr<std::unique_ptr<GrpcServer>> listen_grpc(GrpcOptions options,
                                                        std::optional<BoundPort> port,
                                                        Services& services) {
  if (!port) return std::unique_ptr<GrpcServer>();
  options.limits.write_stall = services.limits.write_stall;
  return GrpcServer::listen(options, *std::move(port), services);
}

}  // namespace deltaserve
