#include "server/grpc/message_io.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/unknown_field_set.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>
#include <grpcpp/support/proto_buffer_writer.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "models/base/text.h"

namespace deltaserve {
namespace {

namespace protobuf = google::protobuf;
using protobuf::internal::WireFormatLite;

absl::Status malformed() {
  return absl::InvalidArgumentError(
      "the message is not a valid protocol buffer, or a text in it is not UTF-8");
}

// Counts the varints in the next `length` bytes by their last bytes. Returns false if the input
// ends before.
bool count_varints(protobuf::io::CodedInputStream* input, int length, int64_t* count) {
  while (length > 0) {
    const void* data = nullptr;
    int available = 0;
    if (!input->GetDirectBufferPointer(&data, &available)) return false;
    const int used = std::min(available, length);
    const auto* bytes = static_cast<const uint8_t*>(data);
    *count += std::count_if(bytes, bytes + used, [](uint8_t byte) { return byte < 0x80; });
    if (!input->Skip(used)) return false;
    length -= used;
  }
  return true;
}

// Walks the fields of a message within a message, and adds the bytes of all fields that are not
// texts.
bool walk_message(protobuf::io::CodedInputStream* input, const WireBounds& bounds,
                  size_t* parameter_bytes) {
  int length = 0;
  if (!input->ReadVarintSizeAsInt(&length)) return false;
  const auto limit = input->PushLimit(length);
  while (input->BytesUntilLimit() > 0) {
    const int start = input->CurrentPosition();
    const uint32_t tag = input->ReadTag();
    if (tag == 0 || !WireFormatLite::SkipField(input, tag)) return false;
    const int field = WireFormatLite::GetTagFieldNumber(tag);
    const auto& texts = bounds.message_texts;
    if (std::find(texts.begin(), texts.end(), field) == texts.end()) {
      *parameter_bytes += static_cast<size_t>(input->CurrentPosition() - start);
    }
  }
  input->PopLimit(limit);
  return true;
}

// Walks the fields without keeping any.
absl::Status check_wire(grpc::ByteBuffer* bytes, const WireBounds& bounds) {
  grpc::ProtoBufferReader reader(bytes);
  if (!reader.status().ok()) return malformed();
  protobuf::io::CodedInputStream input(&reader);
  input.SetTotalBytesLimit(std::numeric_limits<int>::max());
  int64_t ids = 0;
  size_t parameter_bytes = 0;
  int messages = 0;
  int prompts = 0;
  for (;;) {
    const int start = input.CurrentPosition();
    const uint32_t tag = input.ReadTag();
    if (tag == 0) return input.ConsumedEntireMessage() ? absl::OkStatus() : malformed();
    const int field = WireFormatLite::GetTagFieldNumber(tag);
    const bool delimited =
        WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
    if (field == bounds.ids_field && delimited) {
      int length = 0;
      if (!input.ReadVarintSizeAsInt(&length) || !count_varints(&input, length, &ids)) {
        return malformed();
      }
    } else if (field == bounds.messages_field && delimited) {
      if (!walk_message(&input, bounds, &parameter_bytes)) return malformed();
      if (++messages > bounds.max_messages) {
        return invalid_argument("messages has more than ", bounds.max_messages, " entries");
      }
    } else {
      if (!WireFormatLite::SkipField(&input, tag)) return malformed();
      if (field == bounds.ids_field) {
        ++ids;
      } else if (field != bounds.text_field) {
        parameter_bytes += static_cast<size_t>(input.CurrentPosition() - start);
      }
    }
    prompts += field == bounds.text_field || field == bounds.ids_field ? 1 : 0;
    if (bounds.max_prompts > 0 && prompts > bounds.max_prompts) {
      return invalid_argument(bounds.prompts_name, ": more than ", bounds.max_prompts,
                              " prompts in one request");
    }
    if (ids > bounds.max_ids) {
      return invalid_argument(bounds.ids_name, ": more than ", bounds.max_ids, " token ids");
    }
    if (parameter_bytes > bounds.max_parameter_bytes) {
      return invalid_argument("the parameters have more than ", bounds.max_parameter_bytes,
                              " bytes");
    }
  }
}

// Messages have a small, fixed depth, and the size of parameters is already limited.
absl::Status check_known(const protobuf::Message& message) {
  const protobuf::Reflection& reflection = *message.GetReflection();
  const protobuf::UnknownFieldSet& unknown = reflection.GetUnknownFields(message);
  if (!unknown.empty()) {
    return invalid_argument("unknown field number ", unknown.field(0).number(), " in ",
                            message.GetDescriptor()->name(),
                            ": this server does not have the option that it stands for");
  }
  std::vector<const protobuf::FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  absl::Status status;
  for (const protobuf::FieldDescriptor* field : fields) {
    if (field->cpp_type() != protobuf::FieldDescriptor::CPPTYPE_MESSAGE || field->is_map()) {
      continue;
    }
    if (!field->is_repeated()) {
      status.Update(check_known(reflection.GetMessage(message, field)));
      continue;
    }
    for (int i = 0; i < reflection.FieldSize(message, field) && status.ok(); ++i) {
      status.Update(check_known(reflection.GetRepeatedMessage(message, field, i)));
    }
  }
  return status;
}

// Keeps the library from reporting bad messages of clients on standard error.
void silence_library() {
#if GOOGLE_PROTOBUF_VERSION < 4000000  // newer ones do not log
  static const bool done = (protobuf::SetLogHandler(nullptr), true);
  static_cast<void>(done);
#endif
}

}  // namespace

absl::Status read_message(grpc::ByteBuffer* bytes, const WireBounds& bounds,
                          protobuf::Message* message) {
  silence_library();
  absl::Status status = check_wire(bytes, bounds);
  if (!status.ok()) return status;
  {
    grpc::ProtoBufferReader reader(bytes);
    if (!reader.status().ok() || !message->ParseFromZeroCopyStream(&reader)) return malformed();
  }
  bytes->Clear();
  return check_known(*message);
}

grpc::Status write_message(const protobuf::Message& message, grpc::ByteBuffer* bytes) {
  constexpr int kBlockBytes = 1 << 20;
  const size_t size = message.ByteSizeLong();
  if (size <= static_cast<size_t>(std::numeric_limits<int>::max())) {
    bytes->Clear();
    const int total = static_cast<int>(size);
    if (total == 0) {
      const grpc::Slice nothing;
      *bytes = grpc::ByteBuffer(&nothing, 1);
      return grpc::Status::OK;
    }
    grpc::ProtoBufferWriter writer(bytes, std::min(total, kBlockBytes), total);
    if (message.SerializeToZeroCopyStream(&writer)) return grpc::Status::OK;
  }
  return {grpc::StatusCode::INTERNAL, "the reply is too large"};
}

}  // namespace deltaserve
