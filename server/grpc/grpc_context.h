// All calls of the gRPC front share this context.
#pragma once
#include <atomic>
#include <boost/asio/io_context.hpp>

#include "server/grpc/limits.h"
#include "server/grpc/peer_addresses.h"
#include "server/service/services.h"

namespace deltaserve {

struct GrpcContext {
  Services& services;
  const GrpcLimits limits;
  PeerAddresses peers{};
  std::atomic<int> calls{0};     // from arrival to OnDone
  boost::asio::io_context io{};  // writes, timers and signals; each call has a strand
};

}  // namespace deltaserve
