// The Generate call: a request to the engine, and its streams back to the client, one message at a
// time.
#pragma once
#include <grpcpp/grpcpp.h>

#include "server/grpc/grpc_context.h"

namespace deltaserve {

// The library's handler calls it. It takes `request` and deletes itself at the end of the call.
grpc::ServerWriteReactor<grpc::ByteBuffer>* start_generate_call(GrpcContext& context,
                                                                grpc::CallbackServerContext* rpc,
                                                                const grpc::ByteBuffer* request);

}  // namespace deltaserve
