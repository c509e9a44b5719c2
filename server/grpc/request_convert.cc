#include "server/grpc/request_convert.h"

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernels/base/check.h"
#include "server/base/request_json.h"
#include "server/grpc/chat_convert.h"
#include "server/grpc/message_io.h"
#include "server/service/embeddings.h"

namespace deltaserve {
namespace {

namespace protobuf = google::protobuf;
using Field = protobuf::FieldDescriptor;

// Reads the fields of a message by their names. One overload of read() for each type of a parameter
// that a message may have.
class ParameterReader {
 public:
  ParameterReader(const protobuf::Message& message, Interface interface, const ServerLimits& limits)
      : message_(message),
        reflection_(*message.GetReflection()),
        interface_(interface),
        limits_(limits) {}

  template <class Value>
  void operator()(const ParameterNames& names, std::optional<Value>& out) {
    if constexpr (requires(const Field* field, Value* value) { read(field, value); }) {
      const std::string_view name = names.of(interface_);
      if (name.empty() || error_) return;
      const Field* field = message_.GetDescriptor()->FindFieldByName(std::string(name));
      if (field == nullptr) {
        // A chat over HTTP does not have this parameter either.
        DS_CHECK(interface_ == Interface::kGrpcChat && names.chat.empty());
        return;
      }
      if (is_set(field)) read(field, &out.emplace());
    } else {
      DS_CHECK(names.of(interface_).empty());  // messages have no parameter of this type
    }
  }

  std::optional<ApiError> error() { return std::move(error_); }

 private:
  bool is_set(const Field* field) const {
    return field->is_repeated() ? reflection_.FieldSize(message_, field) > 0
                                : reflection_.HasField(message_, field);
  }

  void read(const Field* field, std::string* out) { *out = reflection_.GetString(message_, field); }

  void read(const Field* field, bool* out) { *out = reflection_.GetBool(message_, field); }

  void read(const Field* field, double* out) {
    *out = static_cast<double>(reflection_.GetFloat(message_, field));
  }

  void read(const Field* field, Integer* out) {
    const bool narrow = field->cpp_type() == Field::CPPTYPE_INT32;
    *out = narrow ? reflection_.GetInt32(message_, field) : reflection_.GetInt64(message_, field);
  }

  void read(const Field* field, std::vector<std::string>* out) {
    for (int i = 0; i < reflection_.FieldSize(message_, field); ++i) {
      out->push_back(reflection_.GetRepeatedString(message_, field, i));
    }
  }

  void read(const Field* field, std::vector<Integer>* out) {
    for (int i = 0; i < reflection_.FieldSize(message_, field); ++i) {
      out->push_back(reflection_.GetRepeatedInt32(message_, field, i));
    }
  }

  // A map is a list of messages with key and value.
  void read(const Field* field, LogitBias* out) {
    const protobuf::Descriptor* entries = field->message_type();
    for (int i = 0; i < reflection_.FieldSize(message_, field); ++i) {
      const protobuf::Message& entry = reflection_.GetRepeatedMessage(message_, field, i);
      out->emplace_back(entry.GetReflection()->GetInt32(entry, entries->map_key()),
                        entry.GetReflection()->GetFloat(entry, entries->map_value()));
    }
  }

  void read(const Field* field, StructuredForms* out) {
    const auto& outputs = protobuf::DynamicCastToGenerated<v1::StructuredOutputs>(
        &reflection_.GetMessage(message_, field));
    DS_CHECK(outputs != nullptr);
    switch (outputs->constraint_case()) {
      case v1::StructuredOutputs::kJson: return read_schema(field, outputs->json(), out);
      case v1::StructuredOutputs::kJsonObject: out->json_object = outputs->json_object(); break;
      case v1::StructuredOutputs::kRegex: out->regex = outputs->regex(); break;
      case v1::StructuredOutputs::kChoice:
        out->choice.emplace(outputs->choice().texts().begin(), outputs->choice().texts().end());
        break;
      case v1::StructuredOutputs::kGrammar: out->grammar = outputs->grammar(); break;
      case v1::StructuredOutputs::CONSTRAINT_NOT_SET: break;
    }
  }

  // The schema comes as text.
  void read_schema(const Field* field, const std::string& text, StructuredForms* out) {
    const std::string name = field->name() + ".json";
    boost::json::value& schema = out->json.emplace();
    error_ = read_json_value(text, name, limits_, &schema);
    if (!error_ && schema.is_null()) {
      error_ = invalid_parameter(name, name + " must not be null");
    }
  }

  const protobuf::Message& message_;
  const protobuf::Reflection& reflection_;
  const Interface interface_;
  const ServerLimits& limits_;
  std::optional<ApiError> error_;
};

std::optional<ApiError> take_prompt(v1::GenerateRequest* message, GenerationRequest* request) {
  switch (message->input_case()) {
    case v1::GenerateRequest::kPrompt:
      request->text_prompts.push_back(std::move(*message->mutable_prompt()));
      break;
    case v1::GenerateRequest::kPromptTokenIds: {
      const auto& ids = message->prompt_token_ids().ids();
      request->token_prompts.emplace_back(ids.begin(), ids.end());
      break;
    }
    case v1::GenerateRequest::INPUT_NOT_SET:
      return invalid_parameter("prompt", "prompt or prompt_token_ids is required");
  }
  message->clear_input();
  return std::nullopt;
}

std::optional<ApiError> take_inputs(v1::EmbedRequest* message, GenerationRequest* request) {
  const bool texts = message->input_size() > 0;
  if (texts == (message->input_token_ids_size() > 0)) {
    return invalid_parameter("input",
                             texts ? "input and input_token_ids must not both be given"
                                   : "input or input_token_ids is required and must not be empty");
  }
  for (std::string& text : *message->mutable_input()) {
    request->text_prompts.push_back(std::move(text));
  }
  for (const v1::TokenIds& list : message->input_token_ids()) {
    request->token_prompts.emplace_back(list.ids().begin(), list.ids().end());
  }
  message->clear_input();
  message->clear_input_token_ids();
  return std::nullopt;
}

}  // namespace

absl::Status read_generate_request(grpc::ByteBuffer* bytes, const ServerLimits& limits,
                                   const GrpcLimits& grpc_limits, v1::GenerateRequest* message) {
  WireBounds bounds;
  bounds.text_field = v1::GenerateRequest::kPromptFieldNumber;
  bounds.ids_field = v1::GenerateRequest::kPromptTokenIdsFieldNumber;
  bounds.ids_name = "prompt_token_ids";
  bounds.max_ids = limits.prompt_tokens;
  bounds.max_parameter_bytes = grpc_limits.parameter_bytes;
  return read_message(bytes, bounds, message);
}

absl::Status read_tokenize_request(grpc::ByteBuffer* bytes, const GrpcLimits& grpc_limits,
                                   v1::TokenizeRequest* message) {
  WireBounds bounds;
  bounds.text_field = v1::TokenizeRequest::kPromptFieldNumber;
  bounds.max_parameter_bytes = grpc_limits.parameter_bytes;
  return read_message(bytes, bounds, message);
}

absl::Status read_detokenize_request(grpc::ByteBuffer* bytes, const ServerLimits& limits,
                                     const GrpcLimits& grpc_limits,
                                     v1::DetokenizeRequest* message) {
  WireBounds bounds;
  bounds.ids_field = v1::DetokenizeRequest::kTokensFieldNumber;
  bounds.ids_name = "tokens";
  bounds.max_ids = limits.prompt_tokens;
  bounds.max_parameter_bytes = grpc_limits.parameter_bytes;
  return read_message(bytes, bounds, message);
}

absl::Status read_chat_request(grpc::ByteBuffer* bytes, const ServerLimits& limits,
                               const GrpcLimits& grpc_limits, v1::ChatRequest* message) {
  WireBounds bounds;
  bounds.messages_field = v1::ChatRequest::kMessagesFieldNumber;
  bounds.message_texts = {v1::ChatMessage::kContentFieldNumber,
                          v1::ChatMessage::kReasoningContentFieldNumber};
  bounds.max_messages = limits.messages;
  bounds.max_parameter_bytes = grpc_limits.parameter_bytes;
  return read_message(bytes, bounds, message);
}

absl::Status read_embed_request(grpc::ByteBuffer* bytes, const ServerLimits& limits,
                                const GrpcLimits& grpc_limits, v1::EmbedRequest* message) {
  WireBounds bounds;
  bounds.text_field = v1::EmbedRequest::kInputFieldNumber;
  bounds.ids_field = v1::EmbedRequest::kInputTokenIdsFieldNumber;
  bounds.ids_name = "input_token_ids";
  bounds.max_ids = limits.prompt_tokens;
  bounds.max_prompts = limits.embedding_inputs;
  bounds.prompts_name = "input";
  bounds.max_parameter_bytes = grpc_limits.parameter_bytes;
  return read_message(bytes, bounds, message);
}

std::optional<ApiError> read_parameters(const protobuf::Message& message, Interface interface,
                                        const ServerLimits& limits, Parameters* parameters) {
  ParameterReader reader(message, interface, limits);
  for_each_parameter(*parameters, reader);
  return reader.error();
}

std::optional<ApiError> convert_request(v1::GenerateRequest* message, const ServedModel& model,
                                        const ServerLimits& limits, GenerationRequest* request) {
  Parameters given;
  if (auto error = read_parameters(*message, Interface::kGrpc, limits, &given)) return error;
  request->interface = Interface::kGrpc;
  request->ids_name = "prompt_token_ids";
  request->answer_is_held = false;
  if (auto error = take_prompt(message, request)) return error;
  return complete_request(std::move(given), model, limits, request);
}

std::optional<ApiError> convert_request(v1::ChatRequest* message, const ServedModel& model,
                                        const ServerLimits& limits, GenerationRequest* request) {
  Parameters given;
  if (auto error = read_parameters(*message, Interface::kGrpcChat, limits, &given)) return error;
  request->interface = Interface::kGrpcChat;
  request->answer_is_held = false;
  ChatPrompt& chat = request->chat.emplace();
  for_each_chat_parameter(chat, ParameterReader(*message, Interface::kGrpcChat, limits));
  if (auto error = convert_chat(message, limits, &chat)) return error;
  return complete_request(std::move(given), model, limits, request);
}

std::optional<ApiError> convert_request(v1::EmbedRequest* message, const ServedModel& model,
                                        const ServerLimits& limits, GenerationRequest* request) {
  Parameters given;
  if (auto error = read_parameters(*message, Interface::kGrpcEmbed, limits, &given)) return error;
  request->interface = Interface::kGrpcEmbed;
  request->text_name = "input";
  request->ids_name = "input_token_ids";
  request->prompts_are_listed = true;
  if (auto error = take_inputs(message, request)) return error;
  return complete_embedding_request(std::move(given), model, limits, request);
}

TokenizeRequest convert_request(v1::TokenizeRequest* message) {
  TokenizeRequest request;
  request.model = model_name(message->model());
  request.prompt = std::move(*message->mutable_prompt());
  if (message->has_add_special_tokens()) request.add_special_tokens = message->add_special_tokens();
  if (message->has_split_special_tokens()) {
    request.split_special_tokens = message->split_special_tokens();
  }
  return request;
}

DetokenizeRequest convert_request(v1::DetokenizeRequest* message) {
  DetokenizeRequest request;
  request.model = model_name(message->model());
  request.tokens.assign(message->tokens().begin(), message->tokens().end());
  message->clear_tokens();
  return request;
}

std::optional<std::string> model_name(const std::string& field) {
  return field.empty() ? std::nullopt : std::optional(field);
}

}  // namespace deltaserve
