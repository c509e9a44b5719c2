// A call with one message in and one out: its work runs on a worker, its reply is bounded in time.
#pragma once
#include <grpcpp/grpcpp.h>

#include <functional>

#include "server/grpc/grpc_context.h"

namespace deltaserve {

// Turns the bytes of the request into those of the reply. Runs on a worker.
using UnaryWork = std::function<grpc::Status(const GrpcContext&, grpc::ByteBuffer* request,
                                             grpc::ByteBuffer* reply)>;

// The library's handlers call it: `method` is their name. It takes `request`, fills `reply`, and
// deletes itself at the end.
grpc::ServerUnaryReactor* start_unary_call(GrpcContext& context, const char* method,
                                           grpc::CallbackServerContext* rpc,
                                           const grpc::ByteBuffer* request, grpc::ByteBuffer* reply,
                                           UnaryWork work);

// Takes the bytes: the library keeps a request until its call ends, and would hold it twice.
grpc::ByteBuffer take_bytes(const grpc::ByteBuffer* request);

}  // namespace deltaserve
