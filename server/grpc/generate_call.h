// The calls that generate: they submit a request to the engine and send its streams to the client,
// one message at a time.
#pragma once
#include <grpcpp/grpcpp.h>

#include "server/grpc/grpc_context.h"

namespace deltaserve {

// The library's handlers call these functions. A call takes over `request` and deletes itself at
// its end.
grpc::ServerWriteReactor<grpc::ByteBuffer>* start_generate_call(GrpcContext& context,
                                                                grpc::CallbackServerContext* rpc,
                                                                const grpc::ByteBuffer* request);
grpc::ServerWriteReactor<grpc::ByteBuffer>* start_chat_call(GrpcContext& context,
                                                            grpc::CallbackServerContext* rpc,
                                                            const grpc::ByteBuffer* request);

}  // namespace deltaserve
