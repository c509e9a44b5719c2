// Parses and serializes messages. Reading takes bounded memory: a protobuf of many small fields
// takes twenty times its size, so the bytes are checked before they are parsed.
#pragma once
#include <google/protobuf/message.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"

namespace deltaserve {

// WireBounds limits what a message may hold on the wire.
struct WireBounds {
  int text_field = 0;              // number of a string field without a bound of its own; 0 = none
  int max_prompts = 0;             // limits the repetitions of text_field and ids_field; 0 = they
                                   // are not repeated
  const char* prompts_name = "";   // for errors
  int messages_field = 0;          // of messages; 0 = none. In them ...
  std::vector<int> message_texts;  // ... these are strings without a bound of their own
  int max_messages = 0;
  int ids_field = 0;               // number of a field of token ids, or of a message with nothing
                                   // else
  const char* ids_name = "";       // for errors
  int64_t max_ids = 0;             // token ids
  size_t max_parameter_bytes = 0;  // all other fields together
};

// Parses `bytes` and clears them. Returns INVALID_ARGUMENT if they are malformed, exceed `bounds`,
// or have fields that `message` does not have. Thread-safe.
absl::Status read_message(grpc::ByteBuffer* bytes, const WireBounds& bounds,
                          google::protobuf::Message* message);

// Returns INTERNAL if the message has more than 2 GiB.
grpc::Status write_message(const google::protobuf::Message& message, grpc::ByteBuffer* bytes);

}  // namespace deltaserve
