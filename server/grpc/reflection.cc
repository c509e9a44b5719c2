#include "server/grpc/reflection.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>
#include <grpcpp/support/status_code_enum.h>

#include <algorithm>
#include <string>
#include <vector>

#include "deltaserve.grpc.pb.h"
#include "health.pb.h"
#include "models/base/text.h"
#include "reflection.grpc.pb.h"
#include "reflection_v1.grpc.pb.h"

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

}  // namespace deltaserve
