#include "server/grpc/request_convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "models/tokenizer/load_tokenizer.h"
#include "server/grpc/call.h"
#include "server/grpc/response_convert.h"

namespace deltaserve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using testing::UnorderedElementsAre;

class Convert : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto loaded = load_tokenizer(DELTASERVE_SOURCE_DIR "/models/bundled/tokenizer.model");
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    tokenizer_ = loaded->release();
  }
  static void TearDownTestSuite() { delete tokenizer_; }

  Convert() {
    model_.name = "m";
    model_.vocab_size = tokenizer_->size();
    model_.tokenizer = tokenizer_;
    model_.bos_to_prepend = 1;
    model_.slots = 8;
    message_.set_prompt("Once");
  }

  // Reads the message and encodes its prompt.
  std::optional<ApiError> convert() {
    out_ = {};
    prompts_ = {};
    if (auto error = convert_request(&message_, model_, limits_, &out_)) return error;
    return encode_prompts(model_, limits_, &out_, &prompts_);
  }

  static inline const Tokenizer* tokenizer_ = nullptr;
  ServedModel model_;
  ServerLimits limits_;
  v1::GenerateRequest message_;
  GenerationRequest out_;
  EncodedPrompts prompts_;
};

// Sets `field` to something that is not its default.
void set_field(google::protobuf::Message* message, const google::protobuf::FieldDescriptor* field) {
  using Field = google::protobuf::FieldDescriptor;
  const google::protobuf::Reflection* reflection = message->GetReflection();
  if (field->is_map()) {
    auto* entry = reflection->AddMessage(message, field);
    entry->GetReflection()->SetInt32(entry, entry->GetDescriptor()->field(0), 3);
    entry->GetReflection()->SetFloat(entry, entry->GetDescriptor()->field(1), 1);
    return;
  }
  const bool list = field->is_repeated();
  switch (field->cpp_type()) {
    case Field::CPPTYPE_STRING:
      return list ? reflection->AddString(message, field, "x")
                  : reflection->SetString(message, field, "x");
    case Field::CPPTYPE_INT32:
      return list ? reflection->AddInt32(message, field, 1)
                  : reflection->SetInt32(message, field, 1);
    case Field::CPPTYPE_INT64: return reflection->SetInt64(message, field, 1);
    case Field::CPPTYPE_FLOAT: return reflection->SetFloat(message, field, 1);
    case Field::CPPTYPE_BOOL: return reflection->SetBool(message, field, true);
    case Field::CPPTYPE_MESSAGE: reflection->MutableMessage(message, field); return;
    default: FAIL() << field->name();
  }
}

// The names of the parameters that are there.
std::vector<std::string> given(const Parameters& parameters,
                               Interface interface = Interface::kGrpc) {
  std::vector<std::string> names;
  for_each_parameter(parameters, [&](const ParameterNames& one, const auto& member) {
    if (member.has_value()) names.emplace_back(one.of(interface));
  });
  return names;
}

// No field of the interface can be forgotten.
TEST_F(Convert, EveryFieldBecomesAParameter) {
  const google::protobuf::Descriptor* descriptor = v1::GenerateRequest::descriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const google::protobuf::FieldDescriptor* field = descriptor->field(i);
    if (field->name() == "prompt" || field->name() == "prompt_token_ids") continue;
    v1::GenerateRequest message;
    set_field(&message, field);
    if (field->name() == "structured_outputs") message.mutable_structured_outputs()->set_regex("x");
    Parameters parameters;
    ASSERT_FALSE(read_parameters(message, Interface::kGrpc, limits_, &parameters)) << field->name();
    EXPECT_EQ(given(parameters), std::vector<std::string>{field->name()});
  }
}

TEST_F(Convert, EveryFieldOfEmbedBecomesAParameter) {
  const google::protobuf::Descriptor* descriptor = v1::EmbedRequest::descriptor();
  int tried = 0;
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const google::protobuf::FieldDescriptor* field = descriptor->field(i);
    if (field->name().starts_with("input")) continue;
    v1::EmbedRequest message;
    set_field(&message, field);
    Parameters parameters;
    ASSERT_FALSE(read_parameters(message, Interface::kGrpcEmbed, limits_, &parameters));
    EXPECT_EQ(given(parameters, Interface::kGrpcEmbed), std::vector<std::string>{field->name()});
    ++tried;
  }
  EXPECT_EQ(tried, 9);
}

TEST_F(Convert, InputsOfEmbed) {
  model_.hidden_size = 64;
  model_.embedding_pooling = Pooling::kMean;
  const auto error_of = [&](const v1::EmbedRequest& given) {
    v1::EmbedRequest message = given;
    out_ = {};
    prompts_ = {};
    auto error = convert_request(&message, model_, limits_, &out_);
    if (!error) error = encode_prompts(model_, limits_, &out_, &prompts_);
    return error ? std::string(to_grpc(*error).error_message()) : "";
  };
  v1::EmbedRequest message;
  EXPECT_EQ(error_of(message), "input or input_token_ids is required and must not be empty");
  message.add_input("Once");
  message.add_input("Once upon");
  EXPECT_EQ(error_of(message), "");
  EXPECT_EQ(prompts_.ids.size(), 2u);
  EXPECT_EQ(prompts_.ids[0].front(), 1);
  EXPECT_EQ(out_.parameters.generate.pooling, Pooling::kMean);
  EXPECT_EQ(out_.parameters.generate.max_tokens, 0);
  message.set_dimensions(64);
  message.set_add_special_tokens(false);
  EXPECT_EQ(error_of(message), "");
  EXPECT_NE(prompts_.ids[0].front(), 1);
  message.set_dimensions(32);
  EXPECT_THAT(error_of(message), HasSubstr("dimensions must be 64"));
  message.clear_dimensions();
  message.set_truncation_side("middle");
  EXPECT_THAT(error_of(message), HasSubstr("truncation_side"));
  message.clear_truncation_side();
  message.add_input_token_ids()->add_ids(3);
  EXPECT_EQ(error_of(message), "input and input_token_ids must not both be given");
  message.clear_input();
  EXPECT_EQ(error_of(message), "");
  EXPECT_THAT(prompts_.ids, ElementsAre(ElementsAre(3)));
  message.add_input_token_ids()->add_ids(-1);
  EXPECT_THAT(error_of(message), HasSubstr("input_token_ids[1]"));
  message.mutable_input_token_ids(1)->clear_ids();
  EXPECT_EQ(error_of(message), "input_token_ids[1] must not be empty");
  limits_.embedding_numbers = 100;
  message.mutable_input_token_ids(1)->add_ids(4);
  EXPECT_THAT(error_of(message), HasSubstr("input has 2 texts"));
}

TEST_F(Convert, EveryConstraintBecomesAParameter) {
  const google::protobuf::OneofDescriptor* kinds =
      v1::StructuredOutputs::descriptor()->oneof_decl(0);
  for (int i = 0; i < kinds->field_count(); ++i) {
    v1::GenerateRequest message;
    set_field(message.mutable_structured_outputs(), kinds->field(i));
    if (kinds->field(i)->name() == "json") message.mutable_structured_outputs()->set_json("{}");
    Parameters parameters;
    ASSERT_FALSE(read_parameters(message, Interface::kGrpc, limits_, &parameters));
    const StructuredForms& forms = *parameters.structured_outputs;
    const std::pair<const char*, bool> kForms[] = {{"json", forms.json.has_value()},
                                                   {"json_object", forms.json_object.has_value()},
                                                   {"regex", forms.regex.has_value()},
                                                   {"choice", forms.choice.has_value()},
                                                   {"grammar", forms.grammar.has_value()}};
    for (const auto& [name, is_given] : kForms) {
      EXPECT_EQ(is_given, kinds->field(i)->name() == name) << name;
    }
  }
}

TEST_F(Convert, AbsentMeansTheDefault) {
  ASSERT_FALSE(convert());
  const GenerateRequest defaults;
  EXPECT_EQ(out_.parameters.n, 1);
  EXPECT_EQ(out_.parameters.generate.max_tokens, limits_.default_max_tokens);
  EXPECT_EQ(out_.parameters.generate.sampling.temperature, 1);
  EXPECT_EQ(out_.parameters.generate.sampling.top_p, 1);
  EXPECT_EQ(out_.parameters.generate.sampling.repetition_penalty, 1);
  EXPECT_EQ(out_.parameters.generate.logprobs, -1);
  EXPECT_EQ(out_.parameters.generate.prompt_logprobs, -1);
  EXPECT_FALSE(out_.parameters.structured.has_value());
  std::vector<int32_t> ids = tokenizer_->encode("Once").value();
  ids.insert(ids.begin(), 1);
  EXPECT_EQ(prompts_.ids[0], ids);
}

TEST_F(Convert, PresentMeansItsValue) {
  message_.mutable_prompt_token_ids()->add_ids(5);
  message_.mutable_prompt_token_ids()->add_ids(6);
  message_.set_model("m");
  message_.set_max_tokens(0);
  message_.add_stop("END");
  message_.add_stop_token_ids(9);
  message_.set_include_stop_str_in_output(true);
  message_.set_ignore_eos(true);
  message_.set_n(3);
  message_.set_temperature(0);
  message_.set_top_p(0.5F);
  message_.set_top_k(-1);
  message_.set_min_p(0.25F);
  message_.set_seed(-1);
  message_.set_presence_penalty(-2);
  message_.set_frequency_penalty(2);
  message_.set_repetition_penalty(1.5F);
  (*message_.mutable_logit_bias())[4] = -100;
  (*message_.mutable_logit_bias())[2] = 1.5F;
  message_.set_logprobs(0);
  message_.set_prompt_logprobs(20);
  message_.set_priority(-7);
  const std::optional<ApiError> error = convert();
  ASSERT_FALSE(error) << error->message;
  const GenerateRequest& made = out_.parameters.generate;
  EXPECT_THAT(prompts_.ids[0], ElementsAre(5, 6));
  EXPECT_EQ(made.max_tokens, 0);
  EXPECT_THAT(made.stop, ElementsAre("END"));
  EXPECT_THAT(made.stop_token_ids, ElementsAre(9));
  EXPECT_TRUE(made.include_stop);
  EXPECT_TRUE(made.ignore_eos);
  EXPECT_EQ(out_.parameters.n, 3);
  EXPECT_EQ(made.sampling.temperature, 0);
  EXPECT_EQ(made.sampling.top_p, 0.5F);
  EXPECT_EQ(made.sampling.top_k, 0);
  EXPECT_EQ(made.sampling.min_p, 0.25F);
  EXPECT_EQ(out_.parameters.seed, ~uint64_t{0});
  EXPECT_EQ(made.sampling.presence_penalty, -2);
  EXPECT_EQ(made.sampling.frequency_penalty, 2);
  EXPECT_EQ(made.sampling.repetition_penalty, 1.5F);
  EXPECT_THAT(made.sampling.logit_bias, UnorderedElementsAre(Pair(4, -100), Pair(2, 1.5F)));
  EXPECT_EQ(made.logprobs, 0);
  EXPECT_EQ(made.prompt_logprobs, 20);
  EXPECT_EQ(made.priority, -7);
}

TEST_F(Convert, NamesTheFieldThatCannotBeServed) {
  using Message = v1::GenerateRequest;
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  struct Case {
    const char* field;
    std::function<void(Message*)> change;
  };
  const Case cases[] = {
      {"model", [](Message* m) { m->set_model(std::string(1000, 'm')); }},
      {"prompt", [](Message* m) { m->clear_input(); }},
      {"prompt_token_ids", [](Message* m) { m->mutable_prompt_token_ids(); }},
      {"prompt_token_ids", [](Message* m) { m->mutable_prompt_token_ids()->add_ids(-1); }},
      {"prompt_token_ids", [](Message* m) { m->mutable_prompt_token_ids()->add_ids(1 << 30); }},
      {"max_tokens", [](Message* m) { m->set_max_tokens(-1); }},
      {"max_tokens", [](Message* m) { m->set_max_tokens(int64_t{1} << 62); }},
      {"min_tokens", [](Message* m) { m->set_min_tokens(-1); }},
      {"min_tokens", [](Message* m) { m->set_min_tokens(17); }},
      {"stop", [](Message* m) { m->add_stop(""); }},
      {"stop", [](Message* m) { m->add_stop(std::string(10'000, 's')); }},
      {"stop",
       [](Message* m) {
         for (int i = 0; i < 100; ++i) m->add_stop("s");
       }},
      {"stop_token_ids", [](Message* m) { m->add_stop_token_ids(-1); }},
      {"stop_token_ids", [](Message* m) { m->add_stop_token_ids(1 << 30); }},
      {"n", [](Message* m) { m->set_n(0); }},
      {"n", [](Message* m) { m->set_n(129); }},
      {"temperature", [](Message* m) { m->set_temperature(-0.5F); }},
      {"temperature", [](Message* m) { m->set_temperature(kNan); }},
      {"temperature", [](Message* m) { m->set_temperature(kInf); }},
      {"top_p", [](Message* m) { m->set_top_p(0); }},
      {"top_p", [](Message* m) { m->set_top_p(1.5F); }},
      {"top_k", [](Message* m) { m->set_top_k(-2); }},
      {"top_k", [](Message* m) { m->set_top_k(std::numeric_limits<int32_t>::max()); }},
      {"min_p", [](Message* m) { m->set_min_p(kNan); }},
      {"min_p", [](Message* m) { m->set_min_p(2); }},
      {"presence_penalty", [](Message* m) { m->set_presence_penalty(2.5F); }},
      {"frequency_penalty", [](Message* m) { m->set_frequency_penalty(-kInf); }},
      {"repetition_penalty", [](Message* m) { m->set_repetition_penalty(0); }},
      {"logit_bias", [](Message* m) { (*m->mutable_logit_bias())[-1] = 0; }},
      {"logit_bias", [](Message* m) { (*m->mutable_logit_bias())[1] = 101; }},
      {"logit_bias", [](Message* m) { (*m->mutable_logit_bias())[1] = kNan; }},
      {"logit_bias",
       [](Message* m) {
         for (int i = 0; i < 2000; ++i) (*m->mutable_logit_bias())[i] = 1;
       }},
      {"structured_outputs", [](Message* m) { m->mutable_structured_outputs(); }},
      {"structured_outputs.json",
       [](Message* m) { m->mutable_structured_outputs()->set_json("{\"type\":"); }},
      {"structured_outputs.json",
       [](Message* m) { m->mutable_structured_outputs()->set_json("{}, \"json\": {}"); }},
      {"structured_outputs.json",
       [](Message* m) { m->mutable_structured_outputs()->set_json("{}, \"x\": {}"); }},
      {"structured_outputs.json",
       [](Message* m) { m->mutable_structured_outputs()->set_json("{}} {"); }},
      {"structured_outputs.json",
       [](Message* m) { m->mutable_structured_outputs()->set_json("null"); }},
      {"structured_outputs.json",
       [](Message* m) { m->mutable_structured_outputs()->set_json(std::string(10'000, '[')); }},
      {"structured_outputs",
       [](Message* m) { m->mutable_structured_outputs()->set_json_object(false); }},
      {"structured_outputs", [](Message* m) { m->mutable_structured_outputs()->mutable_choice(); }},
      {"logprobs", [](Message* m) { m->set_logprobs(-1); }},
      {"logprobs", [](Message* m) { m->set_logprobs(21); }},
      {"prompt_logprobs", [](Message* m) { m->set_prompt_logprobs(21); }},
      {"user", [](Message* m) { m->set_user(std::string(10'000, 'u')); }},
  };
  for (const Case& test : cases) {
    message_.Clear();
    message_.set_prompt("Once");
    test.change(&message_);
    const std::optional<ApiError> error = convert();
    ASSERT_TRUE(error) << test.field << ": " << message_.ShortDebugString().substr(0, 200);
    EXPECT_EQ(error->param, test.field) << error->message;
    const grpc::Status status = to_grpc(*error);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr(test.field));
  }
}

TEST_F(Convert, AnotherModelIsNotFound) {
  message_.set_model("other");
  const std::optional<ApiError> error = convert();
  ASSERT_TRUE(error);
  EXPECT_EQ(to_grpc(*error).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(Convert, WithoutATokenizerOnlyIds) {
  model_.tokenizer = nullptr;
  std::optional<ApiError> error = convert();
  ASSERT_TRUE(error);
  EXPECT_EQ(error->param, "prompt");
  message_.mutable_prompt_token_ids()->add_ids(5);
  error = convert();
  EXPECT_FALSE(error) << error->message;
}

TEST_F(Convert, StatusKeepsTheCodeAndCutsTheText) {
  EXPECT_EQ(to_grpc(absl::ResourceExhaustedError("full")).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(to_grpc(absl::UnavailableError("later")).error_message(), "later");
  EXPECT_EQ(to_grpc(absl::InvalidArgumentError(std::string(5000, 'x'))).error_message().size(),
            1024u);
}

TEST_F(Convert, AnUpdateIsOneMessage) {
  PendingPart pending;
  pending.part.choice = 3;
  pending.part.update.text = "one two";
  pending.part.update.tokens = {7, 8};
  TokenLogprob logprob;
  logprob.token = 7;
  logprob.logprob = -0.5F;
  logprob.top = {{7, -0.5F}, {9, -1.5F}};
  pending.part.update.logprobs = {logprob, logprob};
  pending.part.update.prompt_tokens_read = 12;
  pending.part.update.finish = FinishReason::kStop;
  pending.part.update.stop_token = 8;
  v1::GenerateResponse response;
  response.set_stop_string("of the message before");
  ASSERT_TRUE(next_response(model_, 100, &pending, &response));
  EXPECT_EQ(response.index(), 3);
  EXPECT_EQ(response.text(), "one two");
  EXPECT_THAT(response.token_ids(), ElementsAre(7, 8));
  ASSERT_EQ(response.logprobs_size(), 2);
  EXPECT_EQ(response.logprobs(0).token(), tokenizer_->vocabulary().bytes(7));
  EXPECT_EQ(response.logprobs(0).top(1).token_id(), 9);
  EXPECT_EQ(response.logprobs(0).top(1).logprob(), -1.5F);
  EXPECT_EQ(response.prompt_tokens_read(), 12);
  EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_STOP);
  EXPECT_EQ(response.stop_token_id(), 8);
  EXPECT_FALSE(response.has_stop_string());
}

TEST_F(Convert, UsageAndTimings) {
  v1::Usage usage;
  fill_usage({.prompt_tokens = 300, .completion_tokens = 4, .cached_prompt_tokens = 256}, &usage);
  EXPECT_EQ(usage.prompt_tokens(), 300);
  EXPECT_EQ(usage.total_tokens(), 304);
  EXPECT_EQ(usage.cached_prompt_tokens(), 256);
  v1::Timings timings;
  fill_timings({}, &timings);
  EXPECT_FALSE(timings.has_time_to_first_token_ms());
  EXPECT_FALSE(timings.has_decode_ms());
  fill_timings({.time_to_first_token = 0.5, .decode = 0.25}, &timings);
  EXPECT_EQ(timings.time_to_first_token_ms(), 500);
  EXPECT_EQ(timings.decode_ms(), 250);
}

TEST_F(Convert, ManyPromptLogprobsAreSeveralMessages) {
  PendingPart pending;
  for (int32_t token = 0; token < 100; ++token) {
    TokenLogprob logprob;
    logprob.token = token;
    logprob.top.assign(20, {1, -1.0F});
    pending.part.update.prompt_logprobs.push_back(logprob);
  }
  pending.part.update.text = "x";
  pending.part.update.finish = FinishReason::kLength;
  std::vector<int32_t> tokens;
  v1::GenerateResponse response;
  int messages = 1;
  while (!next_response(model_, 210, &pending, &response)) {
    ++messages;
    EXPECT_EQ(response.prompt_logprobs_size(), 10);
    EXPECT_EQ(response.text(), "");
    EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_UNSPECIFIED);
    for (const auto& logprob : response.prompt_logprobs()) tokens.push_back(logprob.token_id());
  }
  for (const auto& logprob : response.prompt_logprobs()) tokens.push_back(logprob.token_id());
  EXPECT_EQ(messages, 10);
  ASSERT_EQ(tokens.size(), 100u);
  for (int32_t token = 0; token < 100; ++token)
    EXPECT_EQ(tokens[static_cast<size_t>(token)], token);
  EXPECT_EQ(response.text(), "x");
  EXPECT_EQ(response.finish_reason(), v1::FINISH_REASON_LENGTH);
}

}  // namespace
}  // namespace deltaserve
