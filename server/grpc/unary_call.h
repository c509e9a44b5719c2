// A call with one message in and one out. Its work runs on a worker, and the time to send its reply
// is bounded.
#pragma once
#include <grpcpp/grpcpp.h>

#include <functional>

#include "server/grpc/grpc_context.h"

namespace deltaserve {

// Turns the bytes of the request into those of the reply. Runs on a worker.
using UnaryWork = std::function<grpc::Status(const GrpcContext&, grpc::ByteBuffer* request,
                                             grpc::ByteBuffer* reply)>;

// Starts a call; the library's handlers call this function with their name as `method`. The call
// takes over `request`, fills `reply`, and deletes itself at the end.
grpc::ServerUnaryReactor* start_unary_call(GrpcContext& context, const char* method,
                                           grpc::CallbackServerContext* rpc,
                                           const grpc::ByteBuffer* request, grpc::ByteBuffer* reply,
                                           UnaryWork work);

// Moves the bytes out of `request`, because the library keeps it until the call ends and would hold
// them twice.
grpc::ByteBuffer take_bytes(const grpc::ByteBuffer* request);

}  // namespace deltaserve
