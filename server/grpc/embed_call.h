// The call for embeddings: it takes one message, and sends one when the engine has read all of its
// inputs.
#pragma once
#include <grpcpp/grpcpp.h>

#include "server/grpc/grpc_context.h"

namespace deltaserve {

// Starts a call; the library's handler calls this function. The call takes over `request`, fills
// `reply`, and deletes itself at its end.
grpc::ServerUnaryReactor* start_embed_call(GrpcContext& context, grpc::CallbackServerContext* rpc,
                                           const grpc::ByteBuffer* request,
                                           grpc::ByteBuffer* reply);

}  // namespace deltaserve
