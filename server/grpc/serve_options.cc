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
  command->add_flag("--no-grpc", options->off, "Serve HTTP only")->group(group);
}

absl::StatusOr<std::unique_ptr<GrpcServer>> listen_grpc(GrpcServeOptions options,
                                                        Services& services) {
  if (options.off) return std::unique_ptr<GrpcServer>();
  if (!options.port_given && options.any_port) options.grpc.port = 0;
  options.grpc.limits.write_stall = services.limits.write_stall;
  return GrpcServer::listen(options.grpc, services);
}

}  // namespace deltaserve
