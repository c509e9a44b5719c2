#include "server/grpc/message_io.h"

#include <dlfcn.h>
#include <gmock/gmock.h>
#include <google/protobuf/message.h>
#include <grpcpp/support/slice.h>
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "deltaserve.pb.h"
#include "models/tokenizer/load_tokenizer.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;

// In pieces, as they come from the network.
grpc::ByteBuffer bytes_of(const std::string& text, size_t piece = 7) {
  std::vector<grpc::Slice> slices;
  for (size_t at = 0; at < text.size(); at += piece) {
    slices.emplace_back(text.substr(at, piece));
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

WireBounds generate_bounds() {
  WireBounds bounds;
  bounds.text_field = v1::GenerateRequest::kPromptFieldNumber;
  bounds.ids_field = v1::GenerateRequest::kPromptTokenIdsFieldNumber;
  bounds.ids_name = "prompt_token_ids";
  bounds.max_ids = 1000;
  bounds.max_parameter_bytes = 4096;
  return bounds;
}

absl::Status read(const std::string& text, v1::GenerateRequest* message) {
  grpc::ByteBuffer bytes = bytes_of(text);
  return read_message(&bytes, generate_bounds(), message);
}

std::string error_of(const std::string& text) {
  v1::GenerateRequest message;
  const absl::Status status = read(text, &message);
  EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << status;
  return std::string(status.message());
}

TEST(MessageIo, ReadsWhatWasWritten) {
  v1::GenerateRequest message;
  message.set_prompt(std::string(100'000, 'a'));
  message.set_temperature(0);
  (*message.mutable_logit_bias())[7] = -1;
  message.mutable_structured_outputs()->mutable_choice()->add_texts("yes");
  grpc::ByteBuffer bytes;
  ASSERT_TRUE(write_message(message, &bytes).ok());
  EXPECT_EQ(bytes.Length(), message.ByteSizeLong());
  v1::GenerateRequest back;
  const absl::Status status = read_message(&bytes, generate_bounds(), &back);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(back.SerializeAsString(), message.SerializeAsString());
  EXPECT_TRUE(back.has_temperature());
  EXPECT_EQ(bytes.Length(), 0u);  // cleared
}

TEST(MessageIo, AnEmptyMessageIsOne) {
  grpc::ByteBuffer bytes;
  ASSERT_TRUE(write_message(v1::GenerateRequest(), &bytes).ok());
  EXPECT_TRUE(bytes.Valid());
  v1::GenerateRequest back;
  EXPECT_TRUE(read_message(&bytes, generate_bounds(), &back).ok());
}

TEST(MessageIo, RefusesWhatIsNoMessage) {
  v1::GenerateRequest message;
  message.set_prompt("Once upon a time");
  message.mutable_prompt_token_ids()->add_ids(300);
  message.set_user("someone");
  const std::string good = message.SerializeAsString();
  EXPECT_EQ(error_of(good), "");
  for (size_t size = 1; size < good.size(); ++size) {
    // A cut between two fields leaves a message.
    v1::GenerateRequest whole;
    if (whole.ParseFromString(good.substr(0, size))) continue;
    EXPECT_THAT(error_of(good.substr(0, size)), HasSubstr("not a valid protocol buffer")) << size;
  }
  EXPECT_THAT(error_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
              HasSubstr("not a valid protocol buffer"));
  EXPECT_THAT(error_of(std::string("\0", 1)), HasSubstr("not a valid protocol buffer"));
  EXPECT_THAT(error_of(std::string(3000, '\x0b')), HasSubstr("not a valid protocol buffer"));
  EXPECT_THAT(error_of("\x12\x02\xc3\x28"), HasSubstr("UTF-8"));
}

TEST(MessageIo, RefusesUnknownFields) {
  EXPECT_THAT(error_of("\xf8\x3f\x01"), HasSubstr("unknown field number 1023 in GenerateRequest"));
  // structured_outputs { field 9 = 1 }
  EXPECT_THAT(error_of(std::string("\xa2\x01\x02\x48\x01", 5)),
              HasSubstr("unknown field number 9 in StructuredOutputs"));
}

TEST(MessageIo, CountsTokenIdsBeforeItParses) {
  v1::GenerateRequest message;
  for (int i = 0; i < 990; ++i) message.mutable_prompt_token_ids()->add_ids(i * 1000);
  EXPECT_EQ(error_of(message.SerializeAsString()), "");
  for (int i = 0; i < 100; ++i) message.mutable_prompt_token_ids()->add_ids(1);
  EXPECT_EQ(error_of(message.SerializeAsString()), "prompt_token_ids: more than 1000 token ids");
  // The same list in many pieces of the same field, and one id a field.
  std::string pieces, singles;
  for (int i = 0; i < 600; ++i) pieces += std::string("\x1a\x02\x08\x01", 4);
  EXPECT_EQ(error_of(pieces), "prompt_token_ids: more than 1000 token ids");

  WireBounds bounds;
  bounds.ids_field = v1::DetokenizeRequest::kTokensFieldNumber;
  bounds.ids_name = "tokens";
  bounds.max_ids = 1000;
  for (int i = 0; i < 1001; ++i) singles += "\x10\x01";
  grpc::ByteBuffer bytes = bytes_of(singles);
  v1::DetokenizeRequest detokenize;
  EXPECT_THAT(std::string(read_message(&bytes, bounds, &detokenize).message()),
              HasSubstr("tokens: more than 1000"));
  bytes = bytes_of(singles.substr(2));
  EXPECT_TRUE(read_message(&bytes, bounds, &detokenize).ok());
  EXPECT_EQ(detokenize.tokens_size(), 1000);
}

// Each text and each list takes memory, however short it is.
TEST(MessageIo, CountsPromptsBeforeItParses) {
  WireBounds bounds;
  bounds.text_field = v1::EmbedRequest::kInputFieldNumber;
  bounds.ids_field = v1::EmbedRequest::kInputTokenIdsFieldNumber;
  bounds.ids_name = "input_token_ids";
  bounds.max_ids = 1000;
  bounds.max_prompts = 8;
  bounds.prompts_name = "input";
  bounds.max_parameter_bytes = 64;
  const auto error_of_embed = [&](int texts, int lists) {
    v1::EmbedRequest message;
    for (int i = 0; i < texts; ++i) message.add_input(std::string(1000, 'a'));
    for (int i = 0; i < lists; ++i) message.add_input_token_ids();
    grpc::ByteBuffer bytes = bytes_of(message.SerializeAsString());
    v1::EmbedRequest read;
    return std::string(read_message(&bytes, bounds, &read).message());
  };
  EXPECT_EQ(error_of_embed(8, 0), "");
  EXPECT_EQ(error_of_embed(0, 8), "");
  EXPECT_EQ(error_of_embed(9, 0), "input: more than 8 prompts in one request");
  EXPECT_EQ(error_of_embed(0, 9), "input: more than 8 prompts in one request");
  EXPECT_EQ(error_of_embed(4, 5), "input: more than 8 prompts in one request");
}

TEST(MessageIo, BoundsAllButThePrompt) {
  v1::GenerateRequest message;
  message.set_prompt(std::string(1 << 20, 'p'));
  for (int i = 0; i < 1000; ++i) message.add_stop("");
  EXPECT_EQ(error_of(message.SerializeAsString()), "");
  for (int i = 0; i < 1100; ++i) message.add_stop("");
  EXPECT_EQ(error_of(message.SerializeAsString()), "the parameters have more than 4096 bytes");
}

// Each change of a good message is read or refused, and never more than that.
TEST(MessageIo, ChangedBytesAreJudged) {
  v1::GenerateRequest message;
  message.set_prompt("Once");
  message.mutable_structured_outputs()->set_regex("a+");
  (*message.mutable_logit_bias())[3] = 2;
  message.add_stop("x");
  message.set_seed(-5);
  const std::string good = message.SerializeAsString();
  std::mt19937 random(1);
  int refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text = good;
    for (unsigned changes = 1 + random() % 4; changes > 0; --changes) {
      text[random() % text.size()] = static_cast<char>(random());
    }
    refused += error_of(text).empty() ? 0 : 1;
  }
  EXPECT_GT(refused, 1000);
  EXPECT_LT(refused, 20'000);
}

// Debian's libsentencepiece.so exports an older protobuf. Neither may see the other's.
TEST(MessageIo, TwoProtobufsInOneProcess) {
  auto tokenizer = load_tokenizer(DELTASERVE_SOURCE_DIR "/models/bundled/tokenizer.model");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  v1::TokenizeResponse message;
  const std::vector<int32_t> ids = (*tokenizer)->encode("Once upon a time").value();
  for (const int32_t id : ids) message.add_tokens(id);
  v1::TokenizeResponse back;
  ASSERT_TRUE(back.ParseFromString(message.SerializeAsString()));
  EXPECT_EQ((*tokenizer)
                ->decode({back.tokens().begin(), back.tokens().end()}, SpecialTokens::kSkip)
                .value(),
            "Once upon a time");

  Dl_info ours{}, theirs{};
  ASSERT_NE(dladdr(reinterpret_cast<void*>(&google::protobuf::internal::VerifyVersion), &ours), 0);
  void* found = dlsym(RTLD_DEFAULT, "_ZN6google8protobuf8internal13VerifyVersionEiiPKc");
  if (found == nullptr) return;  // a sentencepiece without a protobuf inside
  ASSERT_NE(dladdr(found, &theirs), 0);
  EXPECT_STRNE(ours.dli_fname, theirs.dli_fname);
}

}  // namespace
}  // namespace deltaserve
