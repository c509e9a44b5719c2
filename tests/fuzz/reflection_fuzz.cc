// Fuzzes the questions to the reflection service. An answer has the question and files that a tool
// can read, or says what is wrong, and no question makes it large.
#include <google/protobuf/descriptor.pb.h>
#include <grpcpp/support/slice.h>

#include <cstddef>
#include <cstdint>

#include "kernels/base/check.h"
#include "server/grpc/limits.h"
#include "server/grpc/message_io.h"
#include "server/grpc/reflection.h"

namespace {

using namespace deltaserve;

constexpr size_t kMostBytes = 64 << 10;  // of an answer, beside its question

void check_files(const reflection::FileDescriptorResponse& files) {
  DS_CHECK(files.file_descriptor_proto_size() > 0);
  for (const std::string& bytes : files.file_descriptor_proto()) {
    google::protobuf::FileDescriptorProto file;
    DS_CHECK(file.ParseFromString(bytes) && !file.name().empty());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const grpc::Slice slice(data, size);
  grpc::ByteBuffer bytes(&slice, 1);
  WireBounds bounds;
  bounds.max_parameter_bytes = GrpcLimits().reflection_bytes;
  reflection::ServerReflectionRequest request;
  const absl::Status read = read_message(&bytes, bounds, &request);
  if (!read.ok()) {
    DS_CHECK(!read.message().empty());
    return 0;
  }
  const reflection::ServerReflectionResponse response = reflect(request);
  DS_CHECK(response.original_request().SerializeAsString() == request.SerializeAsString());
  DS_CHECK(response.ByteSizeLong() <= kMostBytes + 2 * GrpcLimits().reflection_bytes);
  if (response.has_error_response()) {
    DS_CHECK(response.error_response().error_code() != 0);
    DS_CHECK(!response.error_response().error_message().empty());
  } else if (response.has_file_descriptor_response()) {
    check_files(response.file_descriptor_response());
  } else {
    DS_CHECK(response.list_services_response().service_size() > 0);
  }
  DS_CHECK(write_message(response, &bytes).ok());
  return 0;
}
