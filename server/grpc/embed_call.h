// The call for embeddings: one message in, and one out when the engine has read all of its inputs.
#pragma once
#include <grpcpp/grpcpp.h>

#include "server/grpc/grpc_context.h"

namespace deltaserve {

// The library's handler calls it. The call takes `request`, fills `reply`, and deletes itself at
// its end.
grpc::ServerUnaryReactor* start_embed_call(GrpcContext& context, grpc::CallbackServerContext* rpc,
                                           const grpc::ByteBuffer* request,
                                           grpc::ByteBuffer* reply);

}  // namespace deltaserve
