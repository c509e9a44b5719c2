#include "server/grpc/grpc_server.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server_posix.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/signal_set.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "server/grpc/grpc_context.h"
#include "server/grpc/listener.h"
#include "server/grpc/reflection_call.h"
#include "server/grpc/service.h"

namespace deltaserve {
namespace {

namespace asio = boost::asio;

int milliseconds(std::chrono::milliseconds duration) {
  return static_cast<int>(duration.count());
}

// Sets up the library once per process, before the first server.
void set_up_library() {
  static std::once_flag flag;
  std::call_once(flag, [] {
    grpc::EnableDefaultHealthCheckService(true);
    // Keeps the library from logging the errors of clients to standard error, unless the user has
    // set the variable.
    setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  });
}

void set_limits(const GrpcLimits& limits, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(limits.message_bytes);
  // A reply's size is bounded by what its request may ask for.
  builder->SetMaxSendMessageSize(-1);
  // A few kilobytes may decompress to gigabytes.
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  const std::pair<const char*, int> arguments[] = {
      {GRPC_ARG_MAX_CONCURRENT_STREAMS, limits.streams_per_connection},
      {GRPC_ARG_MAX_METADATA_SIZE, limits.metadata_bytes},
      {GRPC_ARG_KEEPALIVE_TIME_MS, milliseconds(limits.keepalive_time)},
      {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, milliseconds(limits.keepalive_timeout)},
      {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1},
      {GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0},  // FrameRates bounds the pings of clients
      {GRPC_ARG_MAX_CONNECTION_IDLE_MS, milliseconds(limits.idle)},
  };
  for (const auto& [name, value] : arguments) builder->AddChannelArgument(name, value);
  grpc::ResourceQuota quota("deltaserve");
  quota.Resize(limits.transport_bytes);
  builder->SetResourceQuota(quota);
}

class Server final : public GrpcServer {
 public:
  Server(const GrpcOptions& options, Services& services)
      : context_{services, options.limits},
        service_(&context_),
        reflection_(&context_),
        reflection_alpha_(&context_),
        listener_(context_, options.tls),
        signals_(context_.io),
        keep_running_(asio::make_work_guard(context_.io)) {}

  ~Server() override {
    context_.services.ports.set_observer(nullptr);
    shut_down();
    context_.io.stop();
    for (std::thread& thread : threads_) thread.join();
  }

  absl::Status open(const GrpcOptions& options, BoundPort port) {
    if (absl::Status status = listener_.open(std::move(port)); !status.ok()) {
      return status;
    }
    set_up_library();
    grpc::ServerBuilder builder;
    set_limits(options.limits, &builder);
    builder.RegisterService(&service_);
    builder.RegisterService(&reflection_);
    builder.RegisterService(&reflection_alpha_);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) return absl::InternalError("gRPC cannot be started");
    server_->GetHealthCheckService()->SetServingStatus(true);
    server_->GetHealthCheckService()->SetServingStatus(v1::DeltaServe::service_full_name(), true);
    context_.services.ports.set_observer([this](bool all_accept) { set_serving(all_accept); });
    signals_.add(SIGTERM);
    signals_.add(SIGINT);
    signals_.async_wait([this](const boost::system::error_code& ec, int) {
      if (!ec) drain();
    });
    listener_.start([this](int descriptor) { return take_connection(descriptor); });
    for (int i = 0; i < options.io_threads; ++i) threads_.emplace_back([this] { run_io(); });
    return absl::OkStatus();
  }

  std::string address() const override { return listener_.address(); }

  void drain() override {
    if (draining_.exchange(true)) return;
    context_.services.drain();
    set_serving(false);
  }

  void shut_down() override {
    const std::lock_guard lock(shut_down_mutex_);
    if (server_ == nullptr || std::exchange(shut_down_, true)) return;
    drain();
    listener_.close();
    {
      const std::lock_guard closing(closed_mutex_);
      closed_ = true;
    }
    const bool complete = context_.services.engine.drained();
    server_->Shutdown(std::chrono::system_clock::now() +
                      (complete ? context_.limits.flush : std::chrono::milliseconds(0)));
    // The library has written its last bytes; the listener must still pass them on.
    listener_.wait_until_empty(context_.limits.flush);
  }

 private:
  bool take_connection(int descriptor) {
    const std::lock_guard lock(closed_mutex_);
    if (closed_) {
      ::close(descriptor);
      return false;
    }
    grpc::AddInsecureChannelFromFd(server_.get(), descriptor);
    return true;
  }

  // Once the server drains, it stays NOT_SERVING, whatever the ports report.
  void set_serving(bool serving) {
    const std::lock_guard lock(health_mutex_);
    server_->GetHealthCheckService()->SetServingStatus(serving && !draining_);
  }

  void run_io() {
    while (!context_.io.stopped()) {
      try {
        context_.io.run();
      } catch (const std::exception&) {
        // If memory ran out in a handler, its call is lost and the others go on.
      }
    }
  }

  GrpcContext context_;
  DeltaServeService service_;
  ReflectionService<grpc::reflection::v1::ServerReflection> reflection_;
  ReflectionService<grpc::reflection::v1alpha::ServerReflection> reflection_alpha_;
  GrpcListener listener_;
  asio::signal_set signals_;
  asio::executor_work_guard<asio::io_context::executor_type> keep_running_;
  std::unique_ptr<grpc::Server> server_;
  std::atomic<bool> draining_{false};
  std::mutex health_mutex_;
  std::mutex shut_down_mutex_;
  bool shut_down_ = false;  // guarded by shut_down_mutex_
  std::mutex closed_mutex_;
  bool closed_ = false;  // the library takes no more connections; guarded by closed_mutex_
  std::vector<std::thread> threads_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::listen(const GrpcOptions& options,
                                                               BoundPort port, Services& services) {
  auto server = std::make_unique<Server>(options, services);
  absl::Status status = server->open(options, std::move(port));
  if (!status.ok()) return status;
  return server;
}

}  // namespace deltaserve
