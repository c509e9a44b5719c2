#include "server/grpc/chat_convert.h"

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <set>
#include <string>

#include "models/base/json_numbers.h"
#include "server/grpc/request_convert.h"
#include "server/grpc/response_convert.h"
#include "tests/server/service/chat_model.h"

namespace deltaserve {
namespace {

v1::ChatRequest request_with(const std::string& content) {
  v1::ChatRequest request;
  v1::ChatMessage* message = request.add_messages();
  message->set_role("user");
  message->set_content(content);
  return request;
}

std::string refusal_of(v1::ChatRequest request) {
  GenerationRequest converted;
  const std::optional<ApiError> error =
      convert_request(&request, test_chat_model().served, ServerLimits(), &converted);
  return error ? error->message : "none";
}

TEST(ChatConvert, EveryParameterOfGenerateIsOneOfChat) {
  const std::set<std::string> kOfGenerate = {"prompt", "prompt_token_ids", "split_special_tokens"};
  const google::protobuf::Descriptor* generate = v1::GenerateRequest::descriptor();
  const google::protobuf::Descriptor* chat = v1::ChatRequest::descriptor();
  for (int i = 0; i < generate->field_count(); ++i) {
    const google::protobuf::FieldDescriptor* field = generate->field(i);
    if (kOfGenerate.contains(field->name())) continue;
    const google::protobuf::FieldDescriptor* same = chat->FindFieldByName(field->name());
    ASSERT_NE(same, nullptr) << field->name();
    EXPECT_EQ(same->number(), field->number()) << field->name();
    EXPECT_EQ(same->type(), field->type()) << field->name();
  }
}

TEST(ChatConvert, AConversationIsThatOfTheJson) {
  v1::ChatRequest request = request_with("Hi");
  v1::ChatMessage* answer = request.add_messages();
  answer->set_role("assistant");
  answer->set_reasoning_content("hm");
  v1::ToolCall* call = answer->add_tool_calls();
  call->set_id("1");
  call->mutable_function()->set_name("f");
  call->mutable_function()->set_arguments("{\"a\":1}");
  v1::ChatMessage* result = request.add_messages();
  result->set_role("tool");
  result->set_content("");
  result->set_tool_call_id("1");
  v1::Tool* tool = request.add_tools();
  tool->mutable_function()->set_name("f");
  tool->mutable_function()->set_parameters("{\"type\":\"object\"}");
  request.mutable_tool_choice()->mutable_function()->set_name("f");
  request.set_chat_template_kwargs("{\"x\":1}");
  request.set_parallel_tool_calls(false);
  GenerationRequest converted;
  const std::optional<ApiError> error =
      convert_request(&request, test_chat_model().served, ServerLimits(), &converted);
  ASSERT_FALSE(error) << error->message;
  const ChatPrompt& prompt = *converted.chat;
  const ChatOptions options = with_defaults(prompt);
  EXPECT_EQ(boost::json::serialize(prompt.messages),
            R"([{"role":"user","content":"Hi"},{"role":"assistant","reasoning_content":"hm",)"
            R"("tool_calls":[{"id":"1","type":"function","function":{"name":"f",)"
            R"("arguments":"{\"a\":1}"}}]},{"role":"tool","content":"","tool_call_id":"1"}])");
  EXPECT_EQ(boost::json::serialize(prompt.tools),
            R"([{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}])");
  EXPECT_EQ(options.tool_choice, (ToolChoice{ToolChoice::Mode::kNamed, {"f"}}));
  EXPECT_EQ(boost::json::serialize(prompt.variables), "{\"x\":1}");
  EXPECT_FALSE(options.parallel_tool_calls);
  EXPECT_TRUE(options.include_reasoning);
}

TEST(ChatConvert, NumbersStayAsTheyCame) {
  const std::string numbers = R"({"a":123456789012345678901234567890,"b":[1.0,1e+22,1e-07,-0.0]})";
  v1::ChatRequest request = request_with("Hi");
  v1::ChatMessage* answer = request.add_messages();
  answer->set_role("assistant");
  v1::ToolCall* call = answer->add_tool_calls();
  call->mutable_function()->set_name("f");
  call->mutable_function()->set_arguments(numbers);
  v1::Tool* tool = request.add_tools();
  tool->mutable_function()->set_name("f");
  tool->mutable_function()->set_parameters(numbers);
  request.set_chat_template_kwargs(numbers);
  ChatPrompt prompt;
  ASSERT_FALSE(convert_chat(&request, ServerLimits(), &prompt));
  EXPECT_EQ(exact_json(prompt.variables), numbers);
  EXPECT_EQ(exact_json(prompt.tools.at(0).at("function").at("parameters")), numbers);
  EXPECT_EQ(prompt.messages[1].at("tool_calls").at(0).at("function").at("arguments"),
            boost::json::value(numbers));
  request = request_with("Hi");
  request.set_chat_template_kwargs("{\"a\":" + std::string(4301, '9') + "}");
  EXPECT_TRUE(refusal_of(request).find("4300 digits") != std::string::npos);
}

TEST(ChatConvert, RefusalsNameThePlace) {
  EXPECT_EQ(refusal_of(v1::ChatRequest()), "messages is required");
  v1::ChatRequest request = request_with("Hi");
  EXPECT_EQ(refusal_of(request), "none");
  request.mutable_tool_choice()->set_mode("any");
  EXPECT_EQ(refusal_of(request), R"(tool_choice.mode must be "auto", "none" or "required")");
  request = request_with("Hi");
  request.add_messages()->set_role("assistant");
  EXPECT_EQ(refusal_of(request), "messages[1].content is required");
  v1::ToolCall* call = request.mutable_messages(1)->add_tool_calls();
  EXPECT_EQ(refusal_of(request), "messages[1].tool_calls[0] must have a function with a name");
  call->mutable_function()->set_name("f");
  EXPECT_EQ(refusal_of(request), "none");
  call->mutable_function()->set_arguments("[]");
  EXPECT_EQ(refusal_of(request),
            "messages[1].tool_calls[0].function.arguments must be the text of a JSON object");
  request = request_with("Hi");
  request.mutable_messages(0)->clear_role();
  EXPECT_TRUE(refusal_of(request).starts_with("messages[0].role must"));
  request = request_with("Hi");
  request.set_chat_template_kwargs("{");
  EXPECT_TRUE(refusal_of(request).starts_with("chat_template_kwargs"));
}

grpc::ByteBuffer bytes_of(const std::string& text) {
  const grpc::Slice slice(text);
  return {&slice, 1};
}

TEST(ChatConvert, OnlyTheTextsOfMessagesAreUnbounded) {
  GrpcLimits limits;
  limits.parameter_bytes = 1000;
  const auto read = [&](const v1::ChatRequest& request) {
    grpc::ByteBuffer bytes = bytes_of(request.SerializeAsString());
    v1::ChatRequest message;
    return std::string(read_chat_request(&bytes, ServerLimits(), limits, &message).message());
  };
  v1::ChatRequest request = request_with(std::string(10'000, 'x'));
  EXPECT_EQ(read(request), "");
  request.mutable_messages(0)->set_name(std::string(2'000, 'x'));
  EXPECT_EQ(read(request), "the parameters have more than 1000 bytes");
  request = request_with("x");
  for (int i = 0; i < 1000; ++i) request.mutable_messages(0)->add_tool_calls();
  EXPECT_EQ(read(request), "the parameters have more than 1000 bytes");
  request = request_with("x");
  while (request.messages_size() <= ServerLimits().messages) request.add_messages();
  EXPECT_EQ(read(request), "messages has more than 4096 entries");
  request = request_with("x");
  const google::protobuf::Message& message = request.messages(0);
  message.GetReflection()->MutableUnknownFields(request.mutable_messages(0))->AddVarint(99, 1);
  EXPECT_NE(read(request).find("unknown field number 99 in ChatMessage"), std::string::npos);
}

TEST(ChatConvert, DeltasAreOneMessage) {
  using Kind = AnswerDelta::Kind;
  PendingPart pending;
  pending.first = true;
  pending.part.update.finish = FinishReason::kStop;
  pending.part.stopped_for_calls = true;
  pending.part.deltas = {{Kind::kReasoning, "r"},          {Kind::kContent, "c"},
                         {Kind::kCallBegin, "f", 0, "id"}, {Kind::kArguments, "{}", 0},
                         {Kind::kCallEnd, "", 0},          {Kind::kArguments, "x", 1}};
  v1::ChatResponse response;
  ASSERT_TRUE(next_response(ServedModel(), 10, &pending, &response));
  EXPECT_EQ(response.delta().ShortDebugString(),
            R"(role: "assistant" content: "c" reasoning_content: "r" )"
            R"(tool_calls { id: "id" type: "function" )"
            R"(function { name: "f" arguments: "{}" } } )"
            R"(tool_calls { index: 1 function { arguments: "x" } })");
  EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_TOOL_CALLS);
}

}  // namespace
}  // namespace deltaserve
