#include "server/grpc/reflection.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <string>
#include <vector>

#include "deltaserve.grpc.pb.h"
#include "health.pb.h"
#include "models/base/text.h"
#include "server/grpc/call.h"
#include "server/grpc/message_io.h"

namespace deltaserve {
namespace {

namespace protobuf = google::protobuf;

// Adds a file and everything that it imports, each file once.
void add_files(const protobuf::FileDescriptor* file, reflection::FileDescriptorResponse* response) {
  std::vector<const protobuf::FileDescriptor*> files = {file};
  for (size_t i = 0; i < files.size(); ++i) {
    protobuf::FileDescriptorProto proto;
    files[i]->CopyTo(&proto);
    response->add_file_descriptor_proto(proto.SerializeAsString());
    for (int d = 0; d < files[i]->dependency_count(); ++d) {
      const protobuf::FileDescriptor* next = files[i]->dependency(d);
      if (std::find(files.begin(), files.end(), next) == files.end()) files.push_back(next);
    }
  }
}

void fail(grpc::StatusCode code, const std::string& message,
          reflection::ServerReflectionResponse* response) {
  response->mutable_error_response()->set_error_code(code);
  response->mutable_error_response()->set_error_message(message);
}

// The call of one client; the next request is read after the answer to the last one is written.
class ReflectionCall final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  ReflectionCall(GrpcContext& context, grpc::CallbackServerContext* rpc)
      : context_(context), record_(context, rpc, "ServerReflectionInfo") {
    const grpc::Status admitted = record_.admit(*rpc);
    admitted.ok() ? StartRead(&request_) : finish(admitted);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return finish(grpc::Status::OK);
    WireBounds bounds;
    bounds.max_parameter_bytes = context_.limits.reflection_bytes;
    reflection::ServerReflectionRequest message;
    const absl::Status read = read_message(&request_, bounds, &message);
    if (!read.ok()) return finish(to_grpc(read));
    const grpc::Status written = write_message(reflect(message), &reply_);
    written.ok() ? StartWrite(&reply_) : finish(written);
  }

  void OnWriteDone(bool ok) override {
    ok ? StartRead(&request_) : finish({grpc::StatusCode::CANCELLED, "cancelled"});
  }

  void OnDone() override { delete this; }

 private:
  void finish(const grpc::Status& status) {
    record_.end(status);
    Finish(status);
  }

  GrpcContext& context_;
  CallRecord record_;
  grpc::ByteBuffer request_, reply_;
};

}  // namespace

reflection::ServerReflectionResponse reflect(const reflection::ServerReflectionRequest& request) {
  using Request = reflection::ServerReflectionRequest;
  reflection::ServerReflectionResponse response;
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  // The use of a message makes the linker include the file that describes the service.
  const std::string health =
      str_cat(grpc::health::v1::HealthCheckRequest::descriptor()->file()->package(), ".Health");
  const protobuf::DescriptorPool* pool = protobuf::DescriptorPool::generated_pool();
  const protobuf::FileDescriptor* file = nullptr;
  switch (request.message_request_case()) {
    case Request::kListServices:
      for (const char* name : {v1::DeltaServe::service_full_name(), health.c_str(),
                               grpc::reflection::v1::ServerReflection::service_full_name(),
                               reflection::ServerReflection::service_full_name()}) {
        response.mutable_list_services_response()->add_service()->set_name(name);
      }
      return response;
    case Request::kFileByFilename: file = pool->FindFileByName(request.file_by_filename()); break;
    case Request::kFileContainingSymbol:
      file = pool->FindFileContainingSymbol(request.file_containing_symbol());
      break;
    case Request::kFileContainingExtension:
    case Request::kAllExtensionNumbersOfType: break;  // our messages have none
    case Request::MESSAGE_REQUEST_NOT_SET:
      fail(grpc::StatusCode::INVALID_ARGUMENT, "the request asks for nothing", &response);
      return response;
  }
  if (file == nullptr) {
    fail(grpc::StatusCode::NOT_FOUND, "there is no such thing", &response);
  } else {
    add_files(file, response.mutable_file_descriptor_response());
  }
  return response;
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* new_reflection_call(
    GrpcContext& context, grpc::CallbackServerContext* rpc) {
  return new ReflectionCall(context, rpc);
}

}  // namespace deltaserve
