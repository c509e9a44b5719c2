// The parameters that both APIs share, each tried with everything that a client might put there.
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "server/openai/chat_api.h"
#include "server/openai/completions_api.h"
#include "server/openai/response.h"
#include "tests/server/service/chat_model.h"

namespace deltaserve {
namespace {

// How one of the APIs reads a body with these members: the error's parameter, or "" and what it
// became.
struct Outcome {
  bool accepted = false;
  std::string param;
  std::string message;
  int status = 200;
};

Outcome outcome_of(const std::optional<ApiError>& error) {
  if (!error) return {.accepted = true, .param = "", .message = ""};
  return {false, error->param, error->message, http_status(error->kind)};
}

Outcome complete_with(const std::string& members) {
  GenerationRequest request;
  return outcome_of(parse_completion_request("{\"prompt\":[1,2]," + members + "}",
                                             test_chat_model().served, {}, &request));
}

Outcome chat_with(const std::string& members) {
  GenerationRequest request;
  return outcome_of(
      parse_chat_request(R"({"messages":[{"role":"user","content":"x"}],)" + members + "}",
                         test_chat_model().served, {}, &request));
}

struct NumericField {
  const char* name;
  bool integer;
  std::string low, high;            // accepted
  std::vector<std::string> beyond;  // refused
};

const std::string kInt64Max = "9223372036854775807";
const std::string kInt64Min = "-9223372036854775808";

const NumericField kSharedFields[] = {
    {"max_tokens", true, "0", "16777216", {"-1", "16777217"}},
    {"min_tokens", true, "0", "0", {"-1", "16777217"}},
    {"top_k", true, "-1", "4096", {"-2", "4097"}},
    {"seed", true, kInt64Min, kInt64Max, {"-9223372036854775809"}},
    {"n", true, "1", "128", {"-1", "0", "129"}},
    {"priority", true, "-2147483648", "2147483647", {"-2147483649", "2147483648"}},
    {"deadline_ms", true, "1", "86400000", {"-1", "0", "86400001"}},
    {"temperature", false, "0", "2", {"-1", "2.0001"}},
    {"top_p", false, "0.001", "1", {"-1", "0", "1.0001"}},
    {"min_p", false, "0", "1", {"-1", "1.0001"}},
    {"frequency_penalty", false, "-2", "2", {"-2.0001", "2.0001"}},
    {"presence_penalty", false, "-2", "2", {"-2.0001", "2.0001"}},
    {"repetition_penalty", false, "0.001", "10", {"-1", "0", "10.0001"}},
};
const NumericField kCompletionFields[] = {
    {"logprobs", true, "0", "20", {"-1", "21"}},
};
const NumericField kChatFields[] = {
    {"max_completion_tokens", true, "0", "16777216", {"-1", "16777217"}},
};

void try_field(const NumericField& field,
               const std::function<Outcome(const std::string&)>& parse_with) {
  const std::string key = "\"" + std::string(field.name) + "\":";
  for (const std::string& good : {field.low, field.high, std::string("null")}) {
    const Outcome outcome = parse_with(key + good);
    EXPECT_TRUE(outcome.accepted) << key << good << " " << outcome.message;
  }
  std::vector<std::string> bad = {"9223372036854775808", "1e400", "\"x\"", "[]", "{}", "true",
                                  "-9223372036854775809"};
  if (field.integer) bad.insert(bad.end(), {"1.5", "1e0"});
  bad.insert(bad.end(), field.beyond.begin(), field.beyond.end());
  for (const std::string& value : bad) {
    const Outcome outcome = parse_with(key + value);
    EXPECT_FALSE(outcome.accepted) << key << value;
    EXPECT_EQ(outcome.status, 400) << key << value;
    EXPECT_EQ(outcome.param, field.name) << key << value << " " << outcome.message;
    EXPECT_NE(outcome.message.find(field.name), std::string::npos) << outcome.message;
  }
}

TEST(Parameters, NumericFieldsAtTheirBounds) {
  for (const NumericField& field : kSharedFields) {
    try_field(field, complete_with);
    try_field(field, chat_with);
  }
  for (const NumericField& field : kCompletionFields) try_field(field, complete_with);
  for (const NumericField& field : kChatFields) try_field(field, chat_with);
}

TEST(Parameters, BooleansTakeNothingElse) {
  const std::vector<std::string> shared = {"stream", "ignore_eos", "return_token_ids",
                                           "include_stop_str_in_output"};
  const auto try_boolean = [](const std::string& name, const auto& parse_with) {
    for (const char* good : {"true", "false", "null"}) {
      EXPECT_TRUE(parse_with("\"" + name + "\":" + good).accepted) << name << good;
    }
    for (const char* bad : {"0", "1", "\"true\"", "[]", "{}", "1.0"}) {
      EXPECT_EQ(parse_with("\"" + name + "\":" + bad).param, name) << bad;
    }
  };
  for (const std::string& name : shared) {
    try_boolean(name, complete_with);
    try_boolean(name, chat_with);
  }
  try_boolean("echo", complete_with);
  try_boolean("split_special_tokens", complete_with);
  try_boolean("logprobs", chat_with);
  try_boolean("add_generation_prompt", chat_with);
}

TEST(Parameters, ACacheSaltHasALength) {
  for (const auto& parse_with : {complete_with, chat_with}) {
    const auto outcome_of_salt = [&](const std::string& value) {
      return parse_with("\"cache_salt\":" + value);
    };
    EXPECT_TRUE(outcome_of_salt("\"s\"").accepted);
    EXPECT_TRUE(outcome_of_salt("\"" + std::string(256, 's') + "\"").accepted);
    EXPECT_TRUE(outcome_of_salt("null").accepted);
    for (const std::string& bad : {std::string("\"\""), "\"" + std::string(257, 's') + "\""}) {
      EXPECT_EQ(outcome_of_salt(bad).param, "cache_salt");
      EXPECT_EQ(outcome_of_salt(bad).message, "cache_salt must have 1 to 256 bytes");
    }
    EXPECT_EQ(outcome_of_salt("3").param, "cache_salt");
  }
}

TEST(Parameters, WhatIsNotServedIsRefusedByName) {
  for (const char* members : {R"("best_of":2)", R"("best_of":0)", R"("best_of":"1")",
                              R"("suffix":"x")", R"("prompt_logprobs":1)"}) {
    const Outcome outcome = complete_with(members);
    EXPECT_FALSE(outcome.accepted) << members;
    EXPECT_NE(std::string(members).find("\"" + outcome.param + "\""), std::string::npos);
  }
  const char* const kChat[] = {R"("tool_choice":"auto")",
                               R"("tool_choice":{"type":"function","function":{"name":"f"}})",
                               R"("parallel_tool_calls":true)",
                               R"("functions":[])",
                               R"("function_call":"none")",
                               R"("modalities":["text","audio"])",
                               R"("audio":{})",
                               R"("prediction":{"type":"content","content":"x"})",
                               R"("reasoning_effort":"low")",
                               R"("service_tier":"flex")",
                               R"("store":true)",
                               R"("verbosity":"low")",
                               R"("web_search_options":{})",
                               R"("echo":true)",
                               R"("nonsense":1)"};
  for (const char* members : kChat) {
    const Outcome outcome = chat_with(members);
    EXPECT_FALSE(outcome.accepted) << members;
    EXPECT_EQ(outcome.status, 400) << members;
    EXPECT_NE(std::string(members).find("\"" + outcome.param + "\""), std::string::npos);
  }
  for (const char* neutral : {R"("tool_choice":"none")", R"("modalities":["text"])",
                              R"("service_tier":"auto")", R"("store":false)", R"("audio":null)"}) {
    EXPECT_TRUE(chat_with(neutral).accepted) << neutral;
  }
}

TEST(Parameters, LimitsOnMetadata) {
  const auto metadata = [](int pairs, size_t key_bytes, size_t value_bytes) {
    std::string out;
    for (int i = 0; i < pairs; ++i) {
      std::string key = std::to_string(i);
      key.resize(key_bytes, 'k');
      out += (i > 0 ? ",\"" : "\"") + key + "\":\"" + std::string(value_bytes, 'v') + "\"";
    }
    return "\"metadata\":{" + out + "}";
  };
  EXPECT_TRUE(complete_with(metadata(16, 64, 512)).accepted);
  EXPECT_EQ(complete_with(metadata(17, 2, 1)).param, "metadata");
  EXPECT_EQ(complete_with(metadata(1, 65, 1)).param, "metadata");
  EXPECT_EQ(complete_with(metadata(1, 1, 513)).param, "metadata");
}

TEST(Parameters, LimitsOnLogitBias) {
  const auto bias = [](int entries) {
    std::string out;
    for (int i = 0; i < entries; ++i) {
      out += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":" + std::to_string(i % 100);
    }
    return "\"logit_bias\":{" + out + "}";
  };
  EXPECT_TRUE(complete_with(bias(1024)).accepted);
  EXPECT_EQ(complete_with(bias(1025)).param, "logit_bias");
}

TEST(Parameters, ResponseFormats) {
  using Kind = StructuredOutput::Kind;
  const auto kind_of = [](const std::string& members) -> std::optional<Kind> {
    GenerationRequest request;
    const auto error = parse_completion_request("{\"prompt\":[1]," + members + "}",
                                                test_chat_model().served, {}, &request);
    EXPECT_FALSE(error) << members << " " << error->message;
    if (error || !request.parameters.structured) return std::nullopt;
    return request.parameters.structured->kind;
  };
  EXPECT_EQ(kind_of(R"("response_format":{"type":"text"})"), std::nullopt);
  EXPECT_EQ(kind_of(R"("response_format":null,"structured_outputs":null)"), std::nullopt);
  EXPECT_EQ(kind_of(R"("response_format":{"type":"json_object"})"), Kind::kJsonObject);
  EXPECT_EQ(kind_of(R"("response_format":{"type":"json_schema","json_schema":{"name":"n",
      "strict":true,"schema":{"type":"object"}}})"),
            Kind::kJsonSchema);
  EXPECT_EQ(kind_of(R"("structured_outputs":{"json":{"type":"object"}})"), Kind::kJsonSchema);
  EXPECT_EQ(kind_of(R"("structured_outputs":{"regex":"a+"})"), Kind::kRegex);
  EXPECT_EQ(kind_of(R"("structured_outputs":{"choice":["a","b"]})"), Kind::kChoice);
  EXPECT_EQ(kind_of(R"("structured_outputs":{"grammar":"root ::= \"a\"","regex":null})"),
            Kind::kGrammar);
  EXPECT_EQ(kind_of(R"("structured_outputs":{"json_object":true})"), Kind::kJsonObject);

  const char* const kBadFormats[] = {
      R"("response_format":"json")",
      R"("response_format":{})",
      R"("response_format":{"type":3})",
      R"("response_format":{"type":"xml"})",
      R"("response_format":{"type":"text","other":1})",
      R"("response_format":{"type":"text","json_schema":{}})",
      R"("response_format":{"type":"json_schema"})",
      R"("response_format":{"type":"json_schema","json_schema":{"name":"n"}})",
      R"("response_format":{"type":"json_schema","json_schema":{"schema":{},"x":1}})",
      R"("response_format":{"type":"json_schema","json_schema":{"schema":{},"strict":1}})",
      R"("response_format":{"type":"json_schema","json_schema":{"schema":{},"name":1}})",
  };
  for (const char* members : kBadFormats) {
    EXPECT_EQ(complete_with(members).param, "response_format") << members;
  }
  const char* const kBadOutputs[] = {
      R"("structured_outputs":[])",
      R"("structured_outputs":{})",
      R"("structured_outputs":{"regex":"a","choice":["a"]})",
      R"("structured_outputs":{"regex":1})",
      R"("structured_outputs":{"choice":[]})",
      R"("structured_outputs":{"choice":"a"})",
      R"("structured_outputs":{"choice":[1]})",
      R"("structured_outputs":{"choice":[""]})",
      R"("structured_outputs":{"json_object":false})",
      R"("structured_outputs":{"other":1})",
      R"("structured_outputs":{"regex":"a"},"response_format":{"type":"json_object"})",
  };
  for (const char* members : kBadOutputs) {
    EXPECT_EQ(complete_with(members).param, "structured_outputs") << members;
  }
}

TEST(Parameters, BothLengthsOfAChat) {
  EXPECT_TRUE(chat_with(R"("max_tokens":5,"max_completion_tokens":5)").accepted);
  EXPECT_EQ(chat_with(R"("max_tokens":5,"max_completion_tokens":6)").param,
            "max_completion_tokens");
  EXPECT_EQ(chat_with(R"("top_logprobs":3)").param, "top_logprobs");
  EXPECT_TRUE(chat_with(R"("top_logprobs":20,"logprobs":true)").accepted);
  EXPECT_EQ(chat_with(R"("top_logprobs":21,"logprobs":true)").param, "top_logprobs");
  GenerationRequest request;
  ASSERT_FALSE(parse_chat_request(R"({"messages":[{"role":"user","content":"x"}]})",
                                  test_chat_model().served, {}, &request));
  EXPECT_EQ(request.parameters.generate.max_tokens, ServerLimits().default_chat_max_tokens);
  EXPECT_EQ(request.parameters.generate.logprobs, -1);
}

}  // namespace
}  // namespace deltaserve
