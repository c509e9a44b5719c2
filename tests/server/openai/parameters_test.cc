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

// An Outcome says how one of the APIs reads a body with these members: the error's parameter, or ""
// and what it became.
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
    {"top_p", false, "5e-324", "1", {"-1", "0", "1.0001"}},
    {"min_p", false, "0", "1", {"-1", "1.0001"}},
    {"frequency_penalty", false, "-2", "2", {"-2.0001", "2.0001"}},
    {"presence_penalty", false, "-2", "2", {"-2.0001", "2.0001"}},
    {"repetition_penalty", false, "5e-324", "10", {"-1", "0", "10.0001"}},
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
  if (field.integer) bad.insert(bad.end(), {"1.5", "1e-1"});
  bad.insert(bad.end(), field.beyond.begin(), field.beyond.end());
  for (const std::string& value : bad) {
    const Outcome outcome = parse_with(key + value);
    EXPECT_FALSE(outcome.accepted) << key << value;
    EXPECT_EQ(outcome.status, 400) << key << value;
    EXPECT_EQ(outcome.param, field.name) << key << value << " " << outcome.message;
    EXPECT_NE(outcome.message.find(field.name), std::string::npos) << outcome.message;
  }
  for (const std::string& value : {std::string("9223372036854775808"), std::string("1e400")}) {
    EXPECT_EQ(parse_with(key + value).message.find("integer"), std::string::npos) << key << value;
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

// A number without a fraction is an integer, however it is spelled.
TEST(Parameters, IntegersHaveManySpellings) {
  for (const char* members : {R"("max_tokens":2.0)", R"("max_tokens":2e0)", R"("max_tokens":0.2E1)",
                              R"("max_tokens":20e-1)"}) {
    GenerationRequest request;
    const auto error =
        parse_completion_request(std::string(R"({"prompt":[1.0,2e1],)") + members + "}",
                                 test_chat_model().served, {}, &request);
    ASSERT_FALSE(error) << members << " " << error->message;
    EXPECT_EQ(request.parameters.generate.max_tokens, 2) << members;
    EXPECT_EQ(request.token_prompts, (std::vector<std::vector<int32_t>>{{1, 20}}));
  }
  EXPECT_TRUE(complete_with(R"("stop_token_ids":[1.0,2e1],"seed":-0.0,"n":1E0)").accepted);
}

struct Quote {
  const char* members;
  const char* message;
};

// An error about a value quotes it, and its place in a list or map.
TEST(Parameters, ErrorsQuoteTheValueAndItsPlace) {
  const Quote kQuotes[] = {
      {R"("max_tokens":-1)", "max_tokens must be between 0 and 16777216, not -1"},
      {R"("max_tokens":1.5)", "max_tokens must be an integer, not 1.5"},
      {R"("max_tokens":"7")", "max_tokens must be an integer, not \"7\""},
      {R"("max_tokens":18446744073709551616)",
       "max_tokens must be between 0 and 16777216, not 18446744073709551616"},
      {R"("temperature":3)", "temperature must be at least 0 and at most 2, not 3"},
      {R"("top_p":0)", "top_p must be above 0 and at most 1, not 0"},
      {R"("temperature":[])", "temperature must be a number, not []"},
      {R"("stream":1)", "stream must be true or false, not 1"},
      {R"("user":{"a":1})", "user must be a string, not {\"a\":1}"},
      {R"("logit_bias":{"7":1,"abc":1})", "logit_bias has the key \"abc\", which is no token id"},
      {R"("logit_bias":{"4097":1})",
       "logit_bias[\"4097\"]: the key must be a token id from 0 to 4095"},
      {R"("logit_bias":{"7":101})",
       "logit_bias[\"7\"] must be at least -100 and at most 100, not 101"},
      {R"("logit_bias":{"7":null})", "logit_bias[\"7\"] must be a number, not null"},
      {R"("stop":["a",3])", "stop[1] must be a string, not 3"},
      {R"("stop":["a",""])", "stop[1] must not be empty"},
      {R"("stop_token_ids":[1,"x"])", "stop_token_ids[1] must be a token id, not \"x\""},
      {R"("stop_token_ids":[1,5000])",
       "stop_token_ids[1] must be a token id from 0 to 4095, not 5000"},
      {R"("metadata":{"a":"b","c":1})", "metadata[\"c\"] must be a string, not 1"},
      {R"("guided_choice":["a",1])", "guided_choice[1] must be a string, not 1"},
      {R"("guided_choice":["a",""])", "guided_choice[1] must not be empty"},
      {R"("structured_outputs":{"choice":["a",1]})",
       "structured_outputs.choice[1] must be a string, not 1"},
      {R"("truncation_side":"top")", "truncation_side must be left or right, not \"top\""},
      {R"("use_beam_search":true)",
       "use_beam_search is not supported: only false or null is accepted, not true"},
  };
  for (const Quote& row : kQuotes) {
    EXPECT_EQ(complete_with(row.members).message, row.message);
    EXPECT_EQ(chat_with(row.members).message, row.message);
  }
  const auto prompt_error = [](const std::string& prompt) {
    GenerationRequest request;
    const auto error = parse_completion_request("{\"prompt\":" + prompt + "}",
                                                test_chat_model().served, {}, &request);
    return error ? error->message : "accepted";
  };
  EXPECT_EQ(prompt_error("[1,5000]"), "prompt[1] is 5000: token ids are from 0 to 4095");
  EXPECT_EQ(prompt_error("[[1],[2,5000]]"), "prompt[1][1] is 5000: token ids are from 0 to 4095");
  EXPECT_EQ(prompt_error("[[1],[2,-1]]"), "prompt[1][1] is -1, which is no token id");
  EXPECT_EQ(prompt_error("[1,1e400]").find("prompt[1] is "), 0u) << prompt_error("[1,1e400]");
  EXPECT_EQ(prompt_error("[1,1.5]").find("prompt[1] is 1.5: "), 0u) << prompt_error("[1,1.5]");
  EXPECT_EQ(prompt_error("[\"a\",{}]").find("prompt[1] is an object: "), 0u);
}

// A value that asks for nothing is accepted, whoever knows the parameter.
TEST(Parameters, NullsAndOthersDefaultsChangeNothing) {
  const char* const kEverywhere[] = {
      R"("nonsense":null)",
      R"("":null)",
      R"("use_beam_search":false)",
      R"("length_penalty":1)",
      R"("length_penalty":1.0)",
      R"("bad_words":[])",
      R"("spaces_between_special_tokens":true)",
      R"("truncate_prompt_tokens":-1)",
      R"("allowed_token_ids":null)",
      R"("vllm_xargs":{})",
      R"("request_id":"a")",
      R"("rid":["a","b"])",
      R"("no_stop_trim":false)",
      R"("stop_regex":null)",
      R"("return_hidden_states":false)",
      R"("session_params":null)",
      R"("top_k":-1)",
      R"("skip_special_tokens":true)",
      R"("prompt_cache_key":"k")",
      R"("model":"default")",
      R"("prompt_cache_retention":"24h")",
      R"("safety_identifier":"u")",
      R"("store":false)",
      R"("prompt_cache_options":{"mode":"x"})",
      R"("service_tier":"auto")",
      R"("service_tier":"default")",
      R"("guided_decoding_backend":"xgrammar")",
      R"("stream":true,"stream_options":{"include_obfuscation":false,"other":null})",
      R"("response_format":{"type":"text","json_schema":null,"other":null})",
      R"("structured_outputs":{"regex":"a","json":null,"disable_any_whitespace":false,"x":null})"};
  for (const char* members : kEverywhere) {
    EXPECT_TRUE(complete_with(members).accepted) << complete_with(members).message;
    EXPECT_TRUE(chat_with(members).accepted) << chat_with(members).message;
  }
  for (const char* members :
       {R"("echo":false)", R"("add_special_tokens":false)", R"("separate_reasoning":true)",
        R"("include_reasoning":true)", R"("stream_reasoning":true)", R"("verbosity":"medium")",
        R"("documents":[])", R"("parallel_tool_calls":true)", R"("mm_processor_kwargs":null)"}) {
    EXPECT_TRUE(chat_with(members).accepted) << chat_with(members).message;
  }
  for (const char* members : {R"("add_special_tokens":true)", R"("best_of":1)"}) {
    EXPECT_TRUE(complete_with(members).accepted) << complete_with(members).message;
  }
  for (const char* members :
       {R"("nonsense":false)", R"("nonsense":{})", R"("nonsense":[])", R"("nonsense":"")",
        R"("length_penalty":1.1)", R"("bad_words":["a"])", R"("vllm_xargs":{"a":1})"}) {
    EXPECT_FALSE(complete_with(members).accepted) << members;
    EXPECT_FALSE(chat_with(members).accepted) << members;
  }
}

// Clients that serialise all that they know send these.
TEST(Parameters, WholeRequestsOfOtherServersAreAccepted) {
  constexpr std::string_view kVllm = R"("frequency_penalty":0.0,"logit_bias":null,"n":1,
      "presence_penalty":0.0,"seed":null,"stop":[],"stream":false,"stream_options":null,
      "temperature":null,"top_p":null,"user":null,"use_beam_search":false,"top_k":null,
      "min_p":null,"repetition_penalty":null,"watermarking":null,"length_penalty":1.0,
      "stop_token_ids":[],"include_stop_str_in_output":false,"ignore_eos":false,"min_tokens":0,
      "skip_special_tokens":true,"spaces_between_special_tokens":true,
      "truncate_prompt_tokens":null,"truncation_side":null,"prompt_logprobs":null,
      "logprob_token_ids":null,"allowed_token_ids":null,"bad_words":[],"response_format":null,
      "structured_outputs":null,"priority":0,"request_id":"0123","session_id":null,
      "return_tokens_as_token_ids":null,"return_token_ids":null,"routed_experts_prompt_start":0,
      "return_token_offsets":false,"return_mm_kwargs":true,"cache_salt":null,
      "kv_transfer_params":null,"ec_transfer_params":null,"vllm_xargs":null,
      "repetition_detection":null,"thinking_token_budget":null,"stream_interval":null,
      "guided_json":null,"guided_regex":null,"guided_choice":null,"guided_grammar":null,
      "structural_tag":null,"guided_decoding_backend":null,"guided_whitespace_pattern":null)";
  constexpr std::string_view kSglang = R"("model":"default","frequency_penalty":0.0,"n":1,
      "presence_penalty":0.0,"seed":null,"stop":null,"stream":false,"temperature":1.0,"top_p":1.0,
      "return_hidden_states":false,"return_routed_experts":false,"routed_experts_start_len":0,
      "return_cached_tokens_details":false,"return_token_ids":false,"top_k":-1,"min_p":0.0,
      "min_tokens":0,"regex":null,"ebnf":null,"repetition_penalty":1.0,"stop_token_ids":null,
      "stop_regex":null,"no_stop_trim":false,"ignore_eos":false,"skip_special_tokens":true,
      "lora_path":null,"session_params":null,"custom_params":null,"custom_logit_processor":null,
      "images_config":null,"bootstrap_host":null,"bootstrap_port":null,"bootstrap_room":null,
      "routed_dp_rank":null,"disagg_prefill_dp_rank":null,"data_parallel_rank":null,"rid":null,
      "extra_key":null,"cache_salt":null,"ngram_corpus_id":null,"priority":null,
      "custom_labels":null)";
  const auto accepted = [](const Outcome& outcome) {
    EXPECT_TRUE(outcome.accepted) << outcome.message;
  };
  accepted(complete_with(std::string(kVllm) + R"(,"echo":false,"logprobs":null,"max_tokens":16,
      "suffix":null,"prompt_embeds":null,"add_special_tokens":true)"));
  accepted(complete_with(std::string(kSglang) + R"(,"echo":false,"logprobs":null,"max_tokens":16,
      "suffix":null,"best_of":null,"json_schema":null)"));
  accepted(chat_with(std::string(kVllm) + R"(,"logprobs":false,"top_logprobs":0,"max_tokens":null,
      "max_completion_tokens":null,"tools":null,"tool_choice":"none","reasoning_effort":null,
      "include_reasoning":true,"parallel_tool_calls":true,"echo":false,
      "add_generation_prompt":true,"continue_final_message":false,"add_special_tokens":false,
      "documents":null,"chat_template":null,"chat_template_kwargs":null,"media_io_kwargs":null,
      "mm_processor_kwargs":null,"return_prompt_text":null)"));
  accepted(chat_with(std::string(kSglang) + R"(,"logprobs":false,"top_logprobs":null,
      "tools":null,"tool_choice":"auto","parallel_tool_calls":true,"return_meta_info":false,
      "return_prompt_token_ids":false,"reasoning_effort":null,"task":null,
      "continue_final_message":false,"separate_reasoning":true,"stream_reasoning":true,
      "chat_template_kwargs":null,"max_dynamic_patch":null,"min_dynamic_patch":null,
      "use_audio_in_video":false,"input_ids":null)"));
}

TEST(Parameters, FormsHaveOtherNames) {
  using Kind = StructuredOutput::Kind;
  struct Row {
    const char* members;
    Kind kind;
    const char* param;
  };
  const Row kRows[] = {
      {R"("guided_json":{"type":"object"})", Kind::kJsonSchema, "guided_json"},
      {R"("guided_json":"{\"type\":\"object\"}")", Kind::kJsonSchema, "guided_json"},
      {R"("json_schema":"{\"type\":\"object\"}")", Kind::kJsonSchema, "json_schema"},
      {R"("guided_regex":"a+")", Kind::kRegex, "guided_regex"},
      {R"("regex":"a+")", Kind::kRegex, "regex"},
      {R"("guided_choice":["a","b"])", Kind::kChoice, "guided_choice"},
      {R"("guided_grammar":"root ::= \"a\"")", Kind::kGrammar, "guided_grammar"},
      {R"("ebnf":"root ::= \"a\"")", Kind::kGrammar, "ebnf"},
      {R"("structured_outputs":{"json":"{\"type\":\"object\"}"})", Kind::kJsonSchema,
       "structured_outputs"},
  };
  for (const Row& row : kRows) {
    GenerationRequest request;
    const auto error = parse_completion_request("{\"prompt\":[1]," + std::string(row.members) + "}",
                                                test_chat_model().served, {}, &request);
    ASSERT_FALSE(error) << row.members << " " << error->message;
    ASSERT_TRUE(request.parameters.structured) << row.members;
    EXPECT_EQ(request.parameters.structured->kind, row.kind) << row.members;
    EXPECT_EQ(request.parameters.structured->param, row.param);
    if (row.kind == Kind::kJsonSchema) {
      EXPECT_TRUE(request.parameters.structured->schema.is_object()) << row.members;
    }
  }
  for (const auto& [members, param] : std::vector<std::pair<std::string, std::string>>{
           {R"("regex":"a","ebnf":"b")", "ebnf"},
           {R"("regex":"a","structured_outputs":{"regex":"a"})", "regex"},
           {R"("regex":"a","response_format":{"type":"json_object"})", "regex"},
           {R"("guided_json":"{")", "guided_json"},
           {R"("guided_json":"\"x\"")", "guided_json"},
           {R"("guided_regex":3)", "guided_regex"}}) {
    EXPECT_EQ(complete_with(members).param, param) << complete_with(members).message;
  }
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
                              R"("suffix":"x")", R"("prompt_logprobs":1,"stream":true)"}) {
    const Outcome outcome = complete_with(members);
    EXPECT_FALSE(outcome.accepted) << members;
    EXPECT_NE(std::string(members).find("\"" + outcome.param + "\""), std::string::npos);
  }
  const char* const kChat[] = {R"("tool_choice":"any")",
                               R"("tool_choice":"required")",
                               R"("tool_choice":{"type":"function","function":{"name":"f"}})",
                               R"("parallel_tool_calls":1)",
                               R"("functions":[])",
                               R"("function_call":"none")",
                               R"("modalities":["text","audio"])",
                               R"("audio":{})",
                               R"("prediction":{"type":"content","content":"x"})",
                               R"("reasoning_effort":"much")",
                               R"("include_reasoning":"no")",
                               R"("service_tier":"flex")",
                               R"("store":true)",
                               R"("verbosity":"x")",
                               R"("web_search_options":{})",
                               R"("echo":true)",
                               R"("nonsense":1)"};
  for (const char* members : kChat) {
    const Outcome outcome = chat_with(members);
    EXPECT_FALSE(outcome.accepted) << members;
    EXPECT_EQ(outcome.status, 400) << members;
    EXPECT_NE(std::string(members).find("\"" + outcome.param + "\""), std::string::npos);
  }
  for (const char* neutral :
       {R"("tool_choice":"none")", R"("tool_choice":"auto")", R"("parallel_tool_calls":true)",
        R"("reasoning_effort":"medium")", R"("modalities":["text"])", R"("service_tier":"auto")",
        R"("store":false)", R"("audio":null)"}) {
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
  for (const char* type : {"json_object", "json_schema"}) {
    EXPECT_EQ(kind_of(std::string(R"("response_format":{"type":")") + type + R"(","schema":{}})"),
              Kind::kJsonSchema);
  }
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
      R"("response_format":{"type":"text","schema":{}})",
      R"("response_format":{"type":"json_schema","schema":{},"json_schema":{"schema":{}}})",
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
