// One table of parameters, through JSON and through protobuf: both fronts read the same typed
// parameters, and refuse the same values with the same words, each under its own name.
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "models/tokenizer/load_tokenizer.h"
#include "server/grpc/call.h"
#include "server/grpc/request_convert.h"
#include "server/openai/chat_api.h"
#include "server/openai/completions_api.h"
#include "server/openai/json_parameters.h"
#include "tests/server/service/chat_model.h"

namespace deltaserve {
namespace {

ServedModel model_of(const Tokenizer* tokenizer) {
  ServedModel model;
  model.name = "m";
  model.vocab_size = 100;
  model.hidden_size = 4;
  model.slots = 8;
  model.tokenizer = tokenizer;
  return model;
}

// A parameter as a front read it.
struct Read {
  Parameters parameters;
  std::optional<ApiError> error;  // of the reader, or of validate()
};

class Fronts : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto loaded = load_tokenizer(DELTASERVE_SOURCE_DIR "/models/bundled/tokenizer.model");
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    tokenizer_ = loaded->release();
  }
  static void TearDownTestSuite() { delete tokenizer_; }

  // `members`: JSON without its braces.
  Read from_json(const std::string& members, Interface interface) const {
    Read read;
    RequestBody body;
    const std::vector<ParameterRule> rules = parameter_rules(interface, {});
    read.error = read_request_body("{" + members + "}", {rules, {}, ""}, limits_, &body);
    if (read.error) return read;
    FieldReader fields(body.fields, limits_);
    read_parameters(fields, interface, {}, &read.parameters);
    read.error = fields.error();
    if (!read.error) read.error = validate(read.parameters, interface, model_, limits_);
    return read;
  }

  // `fields`: a message in protobuf's text format.
  Read from_protobuf(const std::string& fields) const {
    Read read;
    v1::GenerateRequest message;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(fields, &message)) << fields;
    read.error = read_parameters(message, Interface::kGrpc, limits_, &read.parameters);
    if (!read.error) read.error = validate(read.parameters, Interface::kGrpc, model_, limits_);
    return read;
  }

  static inline const Tokenizer* tokenizer_ = nullptr;
  const ServedModel model_ = model_of(tokenizer_);
  const ServerLimits limits_;
};

struct Row {
  const char* name;
  const char* json;
  const char* protobuf;
};

// A value of every parameter that both fronts have.
constexpr Row kGood[] = {
    {"model", R"("m")", R"(model: "m")"},
    {"max_tokens", "0", "max_tokens: 0"},
    {"min_tokens", "3", "min_tokens: 3"},
    {"stop", R"(["a","b"])", R"(stop: ["a", "b"])"},
    {"stop_token_ids", "[0,99]", "stop_token_ids: [0, 99]"},
    {"include_stop_str_in_output", "true", "include_stop_str_in_output: true"},
    {"ignore_eos", "true", "ignore_eos: true"},
    {"n", "128", "n: 128"},
    {"temperature", "0", "temperature: 0"},
    {"top_p", "0.5", "top_p: 0.5"},
    {"top_k", "-1", "top_k: -1"},
    {"min_p", "0.25", "min_p: 0.25"},
    {"seed", "-9223372036854775808", "seed: -9223372036854775808"},
    {"presence_penalty", "-2", "presence_penalty: -2"},
    {"frequency_penalty", "2", "frequency_penalty: 2"},
    {"repetition_penalty", "1.5", "repetition_penalty: 1.5"},
    {"logit_bias", R"({"7":-1.5})", "logit_bias { key: 7 value: -1.5 }"},
    {"structured_outputs", R"({"json":{"type":"object"}})",
     R"(structured_outputs { json: "{\"type\":\"object\"}" })"},
    {"structured_outputs", R"({"json":true})", R"(structured_outputs { json: " true" })"},
    {"structured_outputs", R"({"regex":"a+"})", R"(structured_outputs { regex: "a+" })"},
    {"structured_outputs", R"({"choice":["a","b"]})",
     R"(structured_outputs { choice { texts: ["a", "b"] } })"},
    {"structured_outputs", R"({"grammar":"root ::= \"a\""})",
     R"(structured_outputs { grammar: "root ::= \"a\"" })"},
    {"structured_outputs", R"({"json_object":true})", "structured_outputs { json_object: true }"},
    {"logprobs", "20", "logprobs: 20"},
    {"split_special_tokens", "false", "split_special_tokens: false"},
    {"prompt_logprobs", "20", "prompt_logprobs: 20"},
    {"priority", "-2147483648", "priority: -2147483648"},
    {"cache_salt", R"("s")", R"(cache_salt: "s")"},
    {"user", R"("me")", R"(user: "me")"},
};

TEST_F(Fronts, ReadTheSameParameters) {
  std::set<std::string> covered;
  for (const Row& row : kGood) {
    covered.insert(row.name);
    const Read json =
        from_json("\"" + std::string(row.name) + "\":" + row.json, Interface::kCompletions);
    const Read protobuf = from_protobuf(row.protobuf);
    EXPECT_FALSE(json.error) << row.json << " " << json.error->message;
    EXPECT_FALSE(protobuf.error) << row.protobuf << " " << protobuf.error->message;
    EXPECT_TRUE(json.parameters == protobuf.parameters) << row.name;
    EXPECT_FALSE(json.parameters == Parameters()) << row.name;
  }
  // The table is complete.
  const Parameters parameters;
  for_each_parameter(parameters, [&](const ParameterNames& names, const auto&) {
    if (names.completions.empty() || names.grpc.empty()) return;
    EXPECT_EQ(names.completions, names.grpc);
    EXPECT_TRUE(covered.contains(std::string(names.grpc))) << names.grpc;
  });
}

constexpr Row kBad[] = {
    {"model", R"("another")", R"(model: "another")"},
    {"max_tokens", "-1", "max_tokens: -1"},
    {"max_tokens", "16777217", "max_tokens: 16777217"},
    {"min_tokens", "17", "min_tokens: 17"},  // above the default of max_tokens
    {"stop", R"([""])", R"(stop: "")"},
    {"stop", R"(["1","2","3","4","5","6","7","8","9","a","b","c","d","e","f","g","h"])",
     R"(stop: ["1","2","3","4","5","6","7","8","9","a","b","c","d","e","f","g","h"])"},
    {"stop_token_ids", "[100]", "stop_token_ids: 100"},
    {"stop_token_ids", "[-1]", "stop_token_ids: -1"},
    {"n", "0", "n: 0"},
    {"n", "129", "n: 129"},
    {"temperature", "2.5", "temperature: 2.5"},
    {"temperature", "-1", "temperature: -1"},
    {"temperature", "1e999", "temperature: inf"},
    {"top_p", "0", "top_p: 0"},
    {"top_p", "1.5", "top_p: 1.5"},
    {"top_k", "-2", "top_k: -2"},
    {"top_k", "101", "top_k: 101"},
    {"min_p", "1.5", "min_p: 1.5"},
    {"presence_penalty", "3", "presence_penalty: 3"},
    {"frequency_penalty", "-3", "frequency_penalty: -3"},
    {"repetition_penalty", "0", "repetition_penalty: 0"},
    {"logit_bias", R"({"100":1})", "logit_bias { key: 100 value: 1 }"},
    {"logit_bias", R"({"1":101})", "logit_bias { key: 1 value: 101 }"},
    {"structured_outputs", "{}", "structured_outputs { }"},
    {"structured_outputs", R"({"choice":[]})", "structured_outputs { choice { } }"},
    {"structured_outputs", R"({"choice":["a",""]})",
     R"(structured_outputs { choice { texts: ["a", ""] } })"},
    {"structured_outputs", R"({"json_object":false})", "structured_outputs { json_object: false }"},
    {"logprobs", "-1", "logprobs: -1"},
    {"logprobs", "21", "logprobs: 21"},
    {"prompt_logprobs", "21", "prompt_logprobs: 21"},
    {"cache_salt", R"("")", R"(cache_salt: "")"},
};

TEST_F(Fronts, RefuseTheSameWithTheSameWords) {
  for (const Row& row : kBad) {
    const Read json =
        from_json("\"" + std::string(row.name) + "\":" + row.json, Interface::kCompletions);
    const Read protobuf = from_protobuf(row.protobuf);
    ASSERT_TRUE(json.error) << row.json;
    ASSERT_TRUE(protobuf.error) << row.protobuf;
    EXPECT_EQ(json.error->kind, protobuf.error->kind) << row.name;
    EXPECT_EQ(json.error->message, protobuf.error->message) << row.name;
    EXPECT_EQ(json.error->param, row.name) << json.error->message;
    EXPECT_EQ(protobuf.error->param, row.name) << protobuf.error->message;
  }
  const std::string user(513, 'u');
  for (const std::string name : {"user", "cache_salt"}) {
    const Read json = from_json("\"" + name + "\":\"" + user + "\"", Interface::kCompletions);
    const Read protobuf = from_protobuf(name + ": \"" + user + "\"");
    ASSERT_TRUE(json.error && protobuf.error) << name;
    EXPECT_EQ(json.error->message, protobuf.error->message);
    EXPECT_EQ(json.error->param, name);
  }
}

// An error inside a parameter: JSON names the member and the path in it, protobuf the field.
TEST_F(Fronts, NameWhatIsInsideAsTheyAreSpelled) {
  const Read schema = from_protobuf(R"(structured_outputs { json: "{" })");
  EXPECT_EQ(schema.error->param, "structured_outputs.json");
  const grpc::Status status = to_grpc(*schema.error);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message().find("structured_outputs.json"), 0u) << status.error_message();
  const Read format =
      from_json(R"("response_format":{"type":"json_schema","json_schema":{}})", Interface::kChat);
  EXPECT_EQ(format.error->param, "response_format");
  EXPECT_EQ(format.error->message, "response_format.json_schema.schema is required");
}

// The rest of a chat is spelled in its own way.
TEST_F(Fronts, AChatHasItsOwnNames) {
  const auto error_of = [&](const char* members) {
    return from_json(members, Interface::kChat).error.value_or(ApiError{}).param;
  };
  EXPECT_EQ(error_of(R"("max_tokens":1,"max_completion_tokens":2)"), "max_completion_tokens");
  EXPECT_EQ(error_of(R"("top_logprobs":2)"), "top_logprobs");
  EXPECT_EQ(error_of(R"("logprobs":true,"top_logprobs":21)"), "top_logprobs");
  EXPECT_EQ(error_of(R"("logprobs":true,"top_logprobs":20)"), "");
  EXPECT_EQ(error_of(R"("echo":true)"), "echo");  // of completions only
}

// A chat as a front read it; the error is of the reader, or of validate().
struct ReadChat {
  GenerationRequest request;
  std::optional<ApiError> error;
};

// Both begin with a message of the user and a tool.
ReadChat chat_from_json(const std::string& members, const ServedModel& model) {
  ReadChat read;
  const std::string body =
      R"({"tools":[{"type":"function","function":{"name":"f"}}],)" + members + "}";
  read.error = parse_chat_request(body, model, ServerLimits(), &read.request);
  return read;
}

ReadChat chat_from_protobuf(const std::string& fields, const ServedModel& model) {
  ReadChat read;
  v1::ChatRequest message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"(tools { function { name: "f" } } )" + fields, &message))
      << fields;
  read.error = convert_request(&message, model, ServerLimits(), &read.request);
  return read;
}

constexpr char kJsonMessages[] = R"("messages":[{"role":"user","content":"Hi"}])";
constexpr char kMessages[] = R"(messages { role: "user" content: "Hi" } )";

// The parameters of a chat that both fronts have, with values that are not their defaults.
constexpr Row kGoodOfChat[] = {
    {"parallel_tool_calls", "false", "parallel_tool_calls: false"},
    {"include_reasoning", "false", "include_reasoning: false"},
    {"separate_reasoning", "false", "separate_reasoning: false"},
    {"reasoning_effort", R"("medium")", R"(reasoning_effort: "medium")"},
    {"add_generation_prompt", "false", "add_generation_prompt: false"},
    {"continue_final_message", "false", "continue_final_message: false"},
};

// The choices that both fronts can spell.
constexpr Row kChoices[] = {
    {"tool_choice", R"("auto")", R"(tool_choice { mode: "auto" })"},
    {"tool_choice", R"("none")", R"(tool_choice { mode: "none" })"},
    {"tool_choice", R"("required")", R"(tool_choice { mode: "required" })"},
    {"tool_choice", R"({"type":"function","function":{"name":"f"}})",
     R"(tool_choice { function { name: "f" } })"},
};

TEST_F(Fronts, ReadTheSameParametersOfAChat) {
  // The request brings no template, and the model's shows no format of tool calls.
  ServedModel model = test_chat_model().served;
  model.chat_conventions = nullptr;
  const auto read_both = [&](const Row& row) {
    const std::string member = ",\"" + std::string(row.name) + "\":" + row.json;
    ReadChat json = chat_from_json(kJsonMessages + member, model);
    ReadChat protobuf = chat_from_protobuf(std::string(kMessages) + row.protobuf, model);
    EXPECT_FALSE(json.error) << row.json << " " << json.error->message;
    EXPECT_FALSE(protobuf.error) << row.protobuf << " " << protobuf.error->message;
    return std::pair(*std::move(json.request.chat), *std::move(protobuf.request.chat));
  };
  std::set<std::string> covered;
  for (const Row& row : kGoodOfChat) {
    covered.insert(row.name);
    const auto [json, protobuf] = read_both(row);
    std::vector<std::string> given;
    for_each_chat_parameter(json, [&](const ParameterNames& names, const auto& member) {
      if (member) given.emplace_back(names.chat);
      for_each_chat_parameter(protobuf, [&](const ParameterNames& others, const auto& other) {
        if (names.chat != others.chat) return;
        if constexpr (std::is_same_v<decltype(member), decltype(other)>) {
          EXPECT_EQ(member, other) << row.name;
        }
      });
    });
    EXPECT_EQ(given, std::vector<std::string>{row.name});
  }
  const ChatPrompt prompt;
  for_each_chat_parameter(prompt, [&](const ParameterNames& names, const auto&) {
    if (names.grpc.empty()) return;
    EXPECT_EQ(names.chat, names.grpc);
    EXPECT_TRUE(covered.contains(std::string(names.grpc))) << names.grpc;
  });
  for (const Row& row : kChoices) {
    const auto [json, protobuf] = read_both(row);
    EXPECT_EQ(json.tool_choice, protobuf.tool_choice) << row.json;
    EXPECT_EQ(with_defaults(json).tool_choice, with_defaults(protobuf).tool_choice) << row.json;
  }
}

struct BadChat {
  const char* param;
  const char* json;
  const char* protobuf;
  const char* spelled = "";  // the place in the message's errors, if it is another
};

constexpr BadChat kBadOfChat[] = {
    {"tool_choice", R"("tool_choice":"any",)", R"(tool_choice { mode: "any" })",
     "tool_choice.mode"},
    {"tool_choice", R"("tool_choice":"",)", R"(tool_choice { mode: "" })", "tool_choice.mode"},
    {"tool_choice", R"("tool_choice":{"type":"function","function":{"name":"g"}},)",
     R"(tool_choice { function { name: "g" } })"},
    {"reasoning_effort", R"("reasoning_effort":"much",)", R"(reasoning_effort: "much")"},
    {"continue_final_message", R"("continue_final_message":true,)", "continue_final_message: true"},
    {"continue_final_message", R"("continue_final_message":true,"add_generation_prompt":true,)",
     "continue_final_message: true add_generation_prompt: true"},
    {"chat_template_kwargs", R"("chat_template_kwargs":{"tools":1},)",
     R"(chat_template_kwargs: "{\"tools\":1}")"},
    {"n", R"("n":0,)", "n: 0"},
    {"messages", R"("messages":[{"role":"","content":"a"}],)",
     R"(messages { role: "" content: "a" })"},
    {"messages", R"("messages":[{"role":"user"}],)", R"(messages { role: "user" })"},
};

TEST_F(Fronts, RefuseTheSameOfAChat) {
  const ServedModel& model = test_chat_model().served;
  const auto compare = [&](const BadChat& row, const std::string& members,
                           const std::string& fields) {
    const ReadChat json = chat_from_json(members, model);
    const ReadChat protobuf = chat_from_protobuf(fields, model);
    ASSERT_TRUE(json.error) << row.json;
    ASSERT_TRUE(protobuf.error) << row.protobuf;
    EXPECT_EQ(json.error->kind, protobuf.error->kind);
    EXPECT_EQ(json.error->param, row.param) << json.error->message;
    EXPECT_EQ(protobuf.error->param, row.param) << protobuf.error->message;
    if (*row.spelled == '\0') {
      EXPECT_EQ(json.error->message, protobuf.error->message);
    } else {
      EXPECT_TRUE(protobuf.error->message.starts_with(row.spelled)) << protobuf.error->message;
      EXPECT_TRUE(json.error->message.starts_with(row.param)) << json.error->message;
    }
  };
  for (const BadChat& row : kBadOfChat) {
    const bool own = std::string_view(row.param) == "messages";
    std::string members = own ? row.json : row.json + std::string(kJsonMessages) + ",";
    members.pop_back();
    compare(row, members, own ? row.protobuf : kMessages + std::string(row.protobuf));
  }
  const std::string role(ServerLimits().role_bytes + 1, 'r');
  const std::string json = R"("messages":[{"role":")" + role + R"(","content":"a"}])";
  const std::string message = "messages { role: \"" + role + "\" content: \"a\" }";
  compare({"messages", "a long role", "a long role"}, json, message);
}

// A parameter without a value is one that is not there, and has its default.
TEST_F(Fronts, NullOfAChatIsAbsentIsUnset) {
  const ServedModel& model = test_chat_model().served;
  std::string members = std::string(kJsonMessages) + ",\"tool_choice\":null";
  const ChatPrompt prompt;
  for_each_chat_parameter(prompt, [&](const ParameterNames& names, const auto&) {
    members += ",\"" + std::string(names.chat) + "\":null";
  });
  const ReadChat json = chat_from_json(members, model);
  const ReadChat protobuf = chat_from_protobuf(std::string(kMessages) + "tool_choice { }", model);
  for (const ReadChat* read : {&json, &protobuf}) {
    ASSERT_FALSE(read->error) << read->error->message;
    EXPECT_FALSE(read->request.chat->tool_choice);
    for_each_chat_parameter(*read->request.chat, [&](const ParameterNames& names, const auto& one) {
      EXPECT_FALSE(one) << names.chat;
    });
    const ChatOptions options = with_defaults(*read->request.chat);
    EXPECT_EQ(options.tool_choice, ToolChoice());
    EXPECT_TRUE(options.add_generation_prompt && options.parallel_tool_calls);
    EXPECT_TRUE(options.separate_reasoning && options.include_reasoning);
    EXPECT_TRUE(options.stream_reasoning);
    EXPECT_FALSE(options.continue_final_message);
  }
}

// Absent, null and unset are one thing, for every parameter.
TEST_F(Fronts, NullIsAbsentIsUnset) {
  int tried = 0;
  const auto try_null = [&](std::string_view name, Interface interface) {
    if (name.empty()) return;
    ++tried;
    const Read read = from_json("\"" + std::string(name) + "\":null", interface);
    EXPECT_FALSE(read.error) << name << " " << read.error->message;
    EXPECT_TRUE(read.parameters == Parameters()) << name;
  };
  const Parameters parameters;
  for_each_parameter(parameters, [&](const ParameterNames& names, const auto&) {
    try_null(names.completions, Interface::kCompletions);
    try_null(names.chat, Interface::kChat);
  });
  EXPECT_GT(tried, 50);
  EXPECT_TRUE(from_json("", Interface::kCompletions).parameters == Parameters());
  EXPECT_TRUE(from_protobuf("").parameters == Parameters());

  // A field that was set and is cleared again.
  for (const Row& row : kGood) {
    v1::GenerateRequest message;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(row.protobuf, &message));
    message.GetReflection()->ClearField(&message,
                                        message.GetDescriptor()->FindFieldByName(row.name));
    Parameters cleared;
    ASSERT_FALSE(read_parameters(message, Interface::kGrpc, limits_, &cleared));
    EXPECT_TRUE(cleared == Parameters()) << row.name;
  }
}

// The names of chat's and the completions' members and of the fields are each of one parameter.
TEST_F(Fronts, NamesAreDistinct) {
  for (const Interface interface :
       {Interface::kCompletions, Interface::kChat, Interface::kEmbeddings, Interface::kGrpc,
        Interface::kGrpcEmbed}) {
    std::set<std::string_view> seen;
    const Parameters parameters;
    for_each_parameter(parameters, [&](const ParameterNames& names, const auto&) {
      const std::string_view name = names.of(interface);
      if (name.empty()) return;
      EXPECT_TRUE(seen.insert(name).second) << name;
    });
  }
}

// Embeddings have the same parameters over both, but for those that a call has anyway.
TEST_F(Fronts, EmbeddingsHaveTheSameParameters) {
  const Parameters parameters;
  for_each_parameter(parameters, [&](const ParameterNames& names, const auto&) {
    if (names.embeddings == "deadline_ms" || names.embeddings == "metadata") return;
    EXPECT_EQ(names.embeddings, names.grpc_embed);
  });
  constexpr Row kRows[] = {
      {"truncate_prompt_tokens", "0", "truncate_prompt_tokens: 0"},
      {"truncate_prompt_tokens", "-2", "truncate_prompt_tokens: -2"},
      {"dimensions", "3", "dimensions: 3"},
      {"dimensions", "-1", "dimensions: -1"},
      {"truncation_side", R"("up")", R"(truncation_side: "up")"},
      {"model", R"("another")", R"(model: "another")"},
      {"cache_salt", R"("")", R"(cache_salt: "")"},
  };
  for (const Row& row : kRows) {
    const Read json =
        from_json("\"" + std::string(row.name) + "\":" + row.json, Interface::kEmbeddings);
    v1::EmbedRequest message;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(row.protobuf, &message));
    Parameters given;
    ASSERT_FALSE(read_parameters(message, Interface::kGrpcEmbed, limits_, &given));
    const auto error = validate(given, Interface::kGrpcEmbed, model_, limits_);
    ASSERT_TRUE(json.error && error) << row.name;
    EXPECT_EQ(json.error->message, error->message);
    EXPECT_EQ(json.error->kind, error->kind);
  }
}

// Whole requests: the same bytes for the engine.
TEST_F(Fronts, GiveTheEngineTheSame) {
  const auto json_request = [&](const std::string& members) {
    GenerationRequest request;
    const auto error =
        parse_completion_request("{\"prompt\":[1,2]" + members + "}", model_, limits_, &request);
    EXPECT_FALSE(error) << error->message;
    return request;
  };
  const auto message_request = [&](const std::string& fields) {
    v1::GenerateRequest message;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
        "prompt_token_ids { ids: [1, 2] } " + fields, &message));
    GenerationRequest request;
    const auto error = convert_request(&message, model_, limits_, &request);
    EXPECT_FALSE(error) << error->message;
    return request;
  };
  std::string members, fields;
  std::set<std::string> used;
  for (const Row& row : kGood) {
    if (std::string_view(row.name) == "min_tokens" || !used.insert(row.name).second) continue;
    members += ",\"" + std::string(row.name) + "\":" + row.json;
    fields += std::string(row.protobuf) + " ";
  }
  for (const bool all : {false, true}) {
    const GenerationRequest json = json_request(all ? members : "");
    const GenerationRequest message = message_request(all ? fields : "");
    EXPECT_EQ(json.token_prompts, message.token_prompts);
    const GenerationParameters &a = json.parameters, &b = message.parameters;
    EXPECT_EQ(a.n, b.n);
    EXPECT_EQ(a.seed, b.seed);
    EXPECT_EQ(a.user, b.user);
    EXPECT_EQ(a.structured.has_value(), b.structured.has_value());
    EXPECT_EQ(a.generate.max_tokens, b.generate.max_tokens);
    EXPECT_EQ(a.generate.stop, b.generate.stop);
    EXPECT_EQ(a.generate.stop_token_ids, b.generate.stop_token_ids);
    EXPECT_EQ(a.generate.include_stop, b.generate.include_stop);
    EXPECT_EQ(a.generate.ignore_eos, b.generate.ignore_eos);
    EXPECT_EQ(a.generate.priority, b.generate.priority);
    EXPECT_EQ(a.generate.reuse.salt, b.generate.reuse.salt);
    EXPECT_EQ(a.generate.reuse.salt, all ? "s" : "");
    EXPECT_EQ(a.generate.logprobs, b.generate.logprobs);
    const SamplingParams &x = a.generate.sampling, &y = b.generate.sampling;
    EXPECT_EQ(x.temperature, y.temperature);
    EXPECT_EQ(x.top_k, y.top_k);
    EXPECT_EQ(x.top_p, y.top_p);
    EXPECT_EQ(x.min_p, y.min_p);
    EXPECT_EQ(x.presence_penalty, y.presence_penalty);
    EXPECT_EQ(x.frequency_penalty, y.frequency_penalty);
    EXPECT_EQ(x.repetition_penalty, y.repetition_penalty);
    EXPECT_EQ(x.logit_bias, y.logit_bias);
  }
}

}  // namespace
}  // namespace deltaserve
