// Bodies of POST /v1/completions: what is accepted, and for everything else which status and which
// parameter the error names.
#include "server/openai/completions_api.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <ctime>
#include <string>
#include <vector>

#include "models/tokenizer/load_tokenizer.h"
#include "server/openai/response.h"

namespace deltaserve {
namespace {

ServedModel test_model() {
  ServedModel model;
  model.name = "tiny";
  model.vocab_size = 100;
  model.slots = 8;
  return model;
}

struct Parsed {
  std::optional<ApiError> error;
  GenerationRequest request;
};

Parsed parse(const std::string& body, const ServerLimits& limits = {}) {
  static const ServedModel model = test_model();
  Parsed parsed;
  parsed.error = parse_completion_request(body, model, limits, &parsed.request);
  return parsed;
}

// `members` beside a valid prompt.
Parsed parse_with(const std::string& members) {
  return parse("{\"prompt\":[1,2]," + members + "}");
}

std::string describe(const Parsed& parsed) {
  return parsed.error ? parsed.error->message : "accepted";
}

TEST(CompletionsApi, Defaults) {
  const Parsed parsed = parse(R"({"prompt":[1,2,3]})");
  ASSERT_FALSE(parsed.error) << describe(parsed);
  const GenerationRequest& request = parsed.request;
  EXPECT_EQ(request.token_prompts, (std::vector<std::vector<int32_t>>{{1, 2, 3}}));
  EXPECT_EQ(request.parameters.generate.max_tokens, 16);
  EXPECT_EQ(request.parameters.generate.sampling.temperature, 1);
  EXPECT_EQ(request.parameters.generate.sampling.top_k, 0);
  EXPECT_EQ(request.parameters.generate.sampling.top_p, 1);
  EXPECT_EQ(request.parameters.generate.logprobs, -1);
  EXPECT_EQ(request.parameters.generate.prompt_logprobs, -1);
  EXPECT_FALSE(request.parameters.seed.has_value());
  EXPECT_FALSE(request.parameters.stream);
}

TEST(CompletionsApi, ReadsEveryParameter) {
  const Parsed parsed = parse(R"({"model":"tiny","prompt":[[1],[2,3]],"max_tokens":5,
      "temperature":0.5,"top_p":0.25,"top_k":7,"min_p":0.125,"seed":-3,"stop_token_ids":[4,5],
      "ignore_eos":true,"logprobs":2,"echo":true,"stream":true,
      "stream_options":{"include_usage":true,"continuous_usage_stats":true},"n":3,"user":"me",
      "return_token_ids":true,"suffix":null,"best_of":1,"logit_bias":{"7":-100,"3":0.5},
      "frequency_penalty":-2,"presence_penalty":1.5,"repetition_penalty":1.25,
      "prompt_logprobs":null,"stop":[],"min_tokens":2,"include_stop_str_in_output":true,
      "priority":-4,"deadline_ms":1500,"metadata":{"a":"b"},"response_format":{"type":"text"}})");
  ASSERT_FALSE(parsed.error) << describe(parsed);
  const GenerationRequest& request = parsed.request;
  const GenerationParameters& parameters = request.parameters;
  const GenerateRequest& generate = parameters.generate;
  EXPECT_EQ(request.token_prompts, (std::vector<std::vector<int32_t>>{{1}, {2, 3}}));
  EXPECT_EQ(generate.max_tokens, 5);
  EXPECT_EQ(generate.sampling.temperature, 0.5f);
  EXPECT_EQ(generate.sampling.top_p, 0.25f);
  EXPECT_EQ(generate.sampling.top_k, 7);
  EXPECT_EQ(generate.sampling.min_p, 0.125f);
  EXPECT_EQ(generate.sampling.frequency_penalty, -2);
  EXPECT_EQ(generate.sampling.presence_penalty, 1.5f);
  EXPECT_EQ(generate.sampling.repetition_penalty, 1.25f);
  EXPECT_EQ(generate.sampling.logit_bias,
            (std::vector<std::pair<int32_t, float>>{{3, 0.5f}, {7, -100.0f}}));
  EXPECT_EQ(parameters.seed, static_cast<uint64_t>(-3));
  EXPECT_EQ(parameters.n, 3);
  EXPECT_EQ(generate.stop_token_ids, (std::vector<int32_t>{4, 5}));
  EXPECT_TRUE(generate.ignore_eos && generate.include_stop);
  EXPECT_EQ(generate.min_tokens, 2);
  EXPECT_EQ(generate.priority, -4);
  EXPECT_EQ(parameters.deadline_ms, 1500);
  EXPECT_TRUE(parameters.echo && parameters.stream && parameters.return_token_ids);
  EXPECT_TRUE(parameters.include_usage && parameters.continuous_usage_stats);
  EXPECT_EQ(generate.logprobs, 2);
  EXPECT_EQ(generate.prompt_logprobs, 2);
  EXPECT_EQ(parameters.user, "me");
  EXPECT_EQ(parameters.metadata, R"({"a":"b"})");
  EXPECT_FALSE(parameters.structured.has_value());
}

TEST(CompletionsApi, TextPromptsAndStopsWithATokenizer) {
  auto tokenizer = load_tokenizer(DELTASERVE_SOURCE_DIR "/models/bundled/tokenizer.model");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  ServedModel model = test_model();
  model.vocab_size = 4096;
  model.tokenizer = tokenizer->get();
  model.bos_to_prepend = 1;
  GenerationRequest request;
  const ServerLimits limits;
  auto error = parse_completion_request(R"({"prompt":["one","\u00e4\ud83d\ude00",""],"stop":"x"})",
                                        model, limits, &request);
  ASSERT_FALSE(error) << error->message;
  EXPECT_EQ(request.text_prompts, (std::vector<std::string>{"one", "ä😀", ""}));
  EXPECT_EQ(request.parameters.generate.stop, std::vector<std::string>{"x"});
  EncodedPrompts prompts;
  error = encode_prompts(model, limits, &request, &prompts);
  ASSERT_FALSE(error) << error->message;
  ASSERT_EQ(prompts.ids.size(), 3u);
  EXPECT_EQ(prompts.ids[0].front(), 1);
  EXPECT_GT(prompts.ids[0].size(), 1u);
  EXPECT_EQ(prompts.ids[2], std::vector<int32_t>{1});  // nothing but BOS

  model.bos_to_prepend = -1;  // then an empty text has no tokens
  error = encode_prompts(model, limits, &request, &prompts);
  ASSERT_TRUE(error);
  EXPECT_EQ(error->param, "prompt");
}

struct BadBody {
  const char* body;
  int status;
  const char* param;
};

TEST(CompletionsApi, BadBodies) {
  const BadBody kTable[] = {
      {"", 400, ""},
      {" ", 400, ""},
      {"{", 400, ""},
      {"[]", 400, ""},
      {"null", 400, ""},
      {"\"prompt\"", 400, ""},
      {"12", 400, ""},
      {"{}", 400, "prompt"},
      {"\xef\xbb\xbf{\"prompt\":[1]}", 400, ""},
      {R"({"prompt":[1]} x)", 400, ""},
      {R"({"prompt":[1]}{})", 400, ""},
      {R"({"prompt":[1],})", 400, ""},
      {R"({"prompt":[1]/**/})", 400, ""},
      {R"({"prompt":[01]})", 400, ""},
      {R"({"prompt":null})", 400, "prompt"},
      {R"({"prompt":true})", 400, "prompt"},
      {R"({"prompt":3})", 400, "prompt"},
      {R"({"prompt":{}})", 400, "prompt"},
      {R"({"prompt":[]})", 400, "prompt"},
      {R"({"prompt":[[]]})", 400, "prompt"},
      {R"({"prompt":[[1],[]]})", 400, "prompt"},
      {R"({"prompt":[1,[2]]})", 400, "prompt"},
      {R"({"prompt":[[1],2]})", 400, "prompt"},
      {R"({"prompt":[[[1]]]})", 400, "prompt"},
      {R"({"prompt":[1,"a"]})", 400, "prompt"},
      {R"({"prompt":["a",1]})", 400, "prompt"},
      {R"({"prompt":["a",[1]]})", 400, "prompt"},
      {R"({"prompt":[["a"]]})", 400, "prompt"},
      {R"({"prompt":[null]})", 400, "prompt"},
      {R"({"prompt":[{}]})", 400, "prompt"},
      {R"({"prompt":[1.5]})", 400, "prompt"},
      {R"({"prompt":[-1]})", 400, "prompt"},
      {R"({"prompt":[100]})", 400, "prompt"},
      {R"({"prompt":[2147483648]})", 400, "prompt"},
      {R"({"prompt":[9223372036854775808]})", 400, "prompt"},
      {R"({"prompt":[1e400]})", 400, "prompt"},
      {R"({"prompt":"text"})", 400, "prompt"},  // no tokenizer
      {R"({"prompt":[1],"prompt":[1]})", 400, "prompt"},
      {R"({"prompt":[1],"seed":1,"seed":1})", 400, "seed"},
      {R"({"prompt":[1],"stream":true,"stream_options":{"include_usage":true,"include_usage":true}})",
       400, "stream_options"},
      {R"({"prompt":[1],"model":"other"})", 404, "model"},
      {R"({"prompt":[1],"model":3})", 400, "model"},
      {R"({"prompt":[1],"nonsense":3})", 400, "nonsense"},
      {R"({"prompt":[1],"":3})", 400, ""},
      {R"({"prompt":[1],"Seed":3})", 400, "Seed"},
      {R"({"prompt":[1],"n":129})", 400, "n"},
      {R"({"prompt":[1],"n":0})", 400, "n"},
      {R"({"prompt":[1],"best_of":2})", 400, "best_of"},
      {R"({"prompt":[1],"suffix":"x"})", 400, "suffix"},
      {R"({"prompt":[1],"logit_bias":{"100":2}})", 400, "logit_bias"},
      {R"({"prompt":[1],"logit_bias":{"-1":2}})", 400, "logit_bias"},
      {R"({"prompt":[1],"logit_bias":{"":2}})", 400, "logit_bias"},
      {R"({"prompt":[1],"logit_bias":{"a":2}})", 400, "logit_bias"},
      {R"({"prompt":[1],"logit_bias":{"1 ":2}})", 400, "logit_bias"},
      {R"({"prompt":[1],"logit_bias":{"1":2,"01":3}})", 400, "logit_bias"},
      {R"({"prompt":[1],"logit_bias":{"1":"2"}})", 400, "logit_bias"},
      {R"({"prompt":[1],"logit_bias":{"1":100.5}})", 400, "logit_bias"},
      {R"({"prompt":[1],"logit_bias":{"1":1e400}})", 400, "logit_bias"},
      {R"({"prompt":[1],"logit_bias":[]})", 400, "logit_bias"},
      {R"({"prompt":[1],"max_tokens":3,"min_tokens":4})", 400, "min_tokens"},
      {R"({"prompt":[1],"metadata":[]})", 400, "metadata"},
      {R"({"prompt":[1],"metadata":{"a":1}})", 400, "metadata"},
      {R"({"prompt":[1],"metadata":{"a":null}})", 400, "metadata"},
      {R"({"prompt":[1],"messages":[]})", 400, "messages"},
      {R"({"prompt":[1],"max_completion_tokens":3})", 400, "max_completion_tokens"},
      {R"({"prompt":[1],"presence_penalty":"0"})", 400, "presence_penalty"},
      {R"({"prompt":[1],"prompt_logprobs":21})", 400, "prompt_logprobs"},
      {R"({"prompt":[1],"stop":"x"})", 400, "stop"},  // no tokenizer
      {R"({"prompt":[1],"stop":""})", 400, "stop"},
      {R"({"prompt":[1],"stop":[1]})", 400, "stop"},
      {R"({"prompt":[1],"stop":{}})", 400, "stop"},
      {R"({"prompt":[1],"stop":["a","b","c","d","e","f","g","h","i","j","k","l","m","n","o","p","q"]})",
       400, "stop"},
      {R"({"prompt":[1],"stop_token_ids":[100]})", 400, "stop_token_ids"},
      {R"({"prompt":[1],"stop_token_ids":[-1]})", 400, "stop_token_ids"},
      {R"({"prompt":[1],"stop_token_ids":["1"]})", 400, "stop_token_ids"},
      {R"({"prompt":[1],"stop_token_ids":1})", 400, "stop_token_ids"},
      {R"({"prompt":[1],"echo":1})", 400, "echo"},
      {R"({"prompt":[1],"stream":"yes"})", 400, "stream"},
      {R"({"prompt":[1],"ignore_eos":0})", 400, "ignore_eos"},
      {R"({"prompt":[1],"return_token_ids":[]})", 400, "return_token_ids"},
      {R"({"prompt":[1],"user":{}})", 400, "user"},
      {R"({"prompt":[1],"stream_options":{"include_usage":true}})", 400, "stream_options"},
      {R"({"prompt":[1],"stream":true,"stream_options":[]})", 400, "stream_options"},
      {R"({"prompt":[1],"stream":true,"stream_options":{"include_usage":1}})", 400,
       "stream_options"},
      {R"({"prompt":[1],"stream":true,"stream_options":{"other":true}})", 400, "stream_options"},
      {R"({"prompt":[1],"temperature":1e400})", 400, "temperature"},
      {R"({"prompt":[1],"temperature":-0.001})", 400, "temperature"},
      {R"({"prompt":[1],"top_p":0})", 400, "top_p"},
      {R"({"prompt":[1],"top_p":-1e-60})", 400, "top_p"},
      {R"({"prompt":[1],"temperature":NaN})", 400, ""},
      {R"({"prompt":[1],"user":"\ud800"})", 400, ""},
      {R"({"prompt":["\ud800x"]})", 400, ""},
      {R"({"prompt":["\udc00"]})", 400, ""},
      {"{\"prompt\":[\"\xff\"]}", 400, ""},
      {"{\"prompt\":[\"\xc0\xaf\"]}", 400, ""},
      {"{\"prompt\":[\"\xed\xa0\x80\"]}", 400, ""},
      {"{\"prompt\":[\"a\nb\"]}", 400, ""},
  };
  for (const BadBody& row : kTable) {
    const Parsed parsed = parse(row.body);
    ASSERT_TRUE(parsed.error) << row.body;
    EXPECT_EQ(http_status(parsed.error->kind), row.status) << row.body;
    EXPECT_EQ(parsed.error->param, row.param) << row.body << "\n" << parsed.error->message;
    EXPECT_FALSE(parsed.error->message.empty()) << row.body;
  }
}

TEST(CompletionsApi, NamesAnUnknownParameterAndAMissingModel) {
  const Parsed unknown = parse_with("\"max_token\":3");
  ASSERT_TRUE(unknown.error);
  EXPECT_EQ(unknown.error->message,
            "Unrecognized request argument supplied: max_token; did you mean 'max_tokens'?");
  EXPECT_EQ(parse_with("\"topk\":3").error->message,
            "Unrecognized request argument supplied: topk; did you mean 'top_k'?");
  EXPECT_EQ(parse_with("\"zebra\":3").error->message,
            "Unrecognized request argument supplied: zebra");
  EXPECT_EQ(parse_with("\"messages\":[]").error->message,
            "Unrecognized request argument supplied: messages; it belongs to /v1/chat/completions");
  EXPECT_EQ(parse_with("\"text\":\"x\"").error->message,
            "Unrecognized request argument supplied: text; did you mean 'prompt'?");
  const Parsed nested = parse_with("\"stream\":true,\"stream_options\":{\"include_use\":true}");
  ASSERT_TRUE(nested.error);
  EXPECT_EQ(nested.error->message,
            "stream_options has an unknown key: 'include_use'; did you mean 'include_usage'?");
  const Parsed missing = parse_with("\"model\":\"gpt\"");
  ASSERT_TRUE(missing.error);
  EXPECT_EQ(missing.error->message, "The model `gpt` does not exist; this server serves `tiny`.");
  const boost::json::value error = boost::json::parse(error_json(*missing.error)).at("error");
  EXPECT_EQ(error.at("code").as_string(), "model_not_found");
}

TEST(CompletionsApi, EveryTruncationIsA400) {
  const std::string body =
      R"({"model":"tiny","prompt":[[1,2],[3]],"seed":-12,"top_p":0.5e0,"stop_token_ids":[1,2],)"
      R"("user":"\u00e4\ud83d\ude00ä","echo":true,"stop":null,"logit_bias":{"1":-0.5e1}})";
  ASSERT_FALSE(parse(body).error);
  for (size_t size = 0; size < body.size(); ++size) {
    const Parsed parsed = parse(body.substr(0, size));
    ASSERT_TRUE(parsed.error) << size;
    EXPECT_EQ(http_status(parsed.error->kind), 400) << size;
  }
}

TEST(CompletionsApi, EveryByteChangedIsHandled) {
  const std::string body = R"({"prompt":[[1,2],[3]],"seed":-12,"user":"\u00e4ä","stream":false})";
  for (size_t at = 0; at < body.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string changed = body;
      changed[at] = static_cast<char>(value);
      const Parsed parsed = parse(changed);
      EXPECT_EQ(parsed.error ? http_status(parsed.error->kind) : 400, 400);
    }
  }
}

// Larger than any memory these may use: they must be refused where they begin.
TEST(CompletionsApi, BombsAreRefusedQuickly) {
  const auto repeated = [](const std::string& unit, size_t bytes) {
    const size_t whole = (bytes + unit.size() - 1) / unit.size() * unit.size();
    std::string out = unit;
    out.reserve(whole);
    while (out.size() < whole) out.append(out, 0, whole - out.size());
    return out;
  };
  constexpr size_t kBytes = 64u << 20;
  const std::string bodies[] = {
      repeated("[", kBytes),
      "{\"prompt\":" + repeated("[", kBytes),
      "{\"stop\":" + repeated("[", kBytes),
      "{\"stop\":[" + repeated("\"a\",", kBytes),
      "{\"stop\":[" + repeated("{},", kBytes),
      "{\"logit_bias\":" + repeated("{\"a\":", kBytes),
      "{\"prompt\":[" + repeated("[],", kBytes),
      "{\"prompt\":[" + repeated("\"\",", kBytes),
      "{\"user\":\"" + repeated("a", kBytes),
      "{\"" + repeated("a", kBytes),
      repeated("{\"a\":", kBytes),
      repeated(" ", kBytes),
      "{\"seed\":" + repeated("1", kBytes),
      "{\"prompt\":[" + repeated("1,", kBytes),  // more than the 1<<24 ids that are allowed
  };
  for (const std::string& body : bodies) {
    const std::clock_t start = std::clock();  // of the processor: other work does not count
    const Parsed parsed = parse(body);
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    ASSERT_TRUE(parsed.error) << body.substr(0, 20);
    EXPECT_EQ(http_status(parsed.error->kind), 400);
    EXPECT_LT(seconds, 5) << body.substr(0, 20);  // ten times what it takes
  }
}

TEST(CompletionsApi, AMillionIdsAreAdmitted) {
  std::string body = "{\"prompt\":[";
  for (int i = 0; i < 1000000; ++i) body += "99,";
  body += "1]}";
  const Parsed parsed = parse(body);
  ASSERT_FALSE(parsed.error) << describe(parsed);
  EXPECT_EQ(parsed.request.token_prompts[0].size(), 1000001u);
}

TEST(CompletionsApi, LimitsOnPromptsAndLogprobs) {
  ServerLimits limits;
  limits.prompts = 2;
  limits.prompt_tokens = 4;
  EXPECT_FALSE(parse(R"({"prompt":[[1,1],[1,1]]})", limits).error);
  EXPECT_TRUE(parse(R"({"prompt":[[1],[1],[1]]})", limits).error);
  EXPECT_TRUE(parse(R"({"prompt":[[1,1],[1,1,1]]})", limits).error);

  limits.choices = 4;
  EXPECT_FALSE(parse(R"({"prompt":[[1],[1]],"n":2})", limits).error);
  const Parsed many = parse(R"({"prompt":[[1],[1]],"n":3})", limits);
  EXPECT_EQ(many.error ? many.error->param : "", "n");

  limits.logprob_entries = 10;
  const ServedModel model = test_model();
  for (const int max_tokens : {3, 4}) {
    GenerationRequest request;
    const std::string body = R"({"prompt":[1,1],"echo":true,"logprobs":1,"max_tokens":)" +
                             std::to_string(max_tokens) + "}";
    ASSERT_FALSE(parse_completion_request(body, model, limits, &request));
    EncodedPrompts prompts;
    const auto error = encode_prompts(model, limits, &request, &prompts);
    EXPECT_EQ(error.has_value(), max_tokens == 4);
    EXPECT_EQ(error ? error->param : "logprobs", "logprobs");
  }
}

}  // namespace
}  // namespace deltaserve
