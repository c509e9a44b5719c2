// The JSON that the server writes, read back by Boost.JSON.
#include "server/openai/response.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <limits>
#include <random>

#include "models/tokenizer/load_tokenizer.h"
#include "server/base/sse.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

std::string round_trip(std::string_view text) {
  std::string out;
  append_json_string(&out, text);
  return std::string(json::parse(out).as_string());
}

TEST(Response, StringsReadBack) {
  std::string all;
  for (int c = 0; c < 128; ++c) all.push_back(static_cast<char>(c));
  EXPECT_EQ(round_trip(all), all);
  EXPECT_EQ(round_trip("ä😀\u2028"), "ä😀\u2028");
  EXPECT_EQ(round_trip("a\xff\xe2\x82z"), "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz");
}

TEST(Response, EventsHaveNoLineBreaks) {
  std::string out;
  append_json_string(&out, "a\nb\rc\r\n");
  EXPECT_EQ(out.find_first_of("\r\n"), std::string::npos);
}

TEST(Response, FloatsReadBackExactly) {
  std::mt19937 random(7);
  for (int i = 0; i < 10000; ++i) {
    const float value =
        -std::ldexp(static_cast<float>(random()), static_cast<int>(random() % 60) - 60);
    std::string out;
    append_json_number(&out, value);
    EXPECT_EQ(static_cast<float>(json::parse(out).to_number<double>()), value) << out;
  }
  for (const float value : {-std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::infinity(), std::nanf("")}) {
    std::string out;
    append_json_number(&out, value);
    EXPECT_EQ(out, "-9999");
  }
}

TEST(Response, Logprobs) {
  const ServedModel model;  // no tokenizer
  CompletionLogprobs builder;
  builder.add({model}, {.token = 5, .logprob = 0, .top = {}}, /*known=*/false);
  builder.add({model}, {.token = 7, .logprob = -2, .top = {{8, -0.5f}, {9, -1.0f}}}, true);
  const json::value value = json::parse(builder.take());
  EXPECT_EQ(json::serialize(value.at("tokens")), R"(["token_id:5","token_id:7"])");
  EXPECT_TRUE(value.at("token_logprobs").at(0).is_null());
  EXPECT_TRUE(value.at("top_logprobs").at(0).is_null());
  EXPECT_EQ(value.at("token_logprobs").at(1).to_number<double>(), -2);
  const json::object& top = value.at("top_logprobs").at(1).as_object();
  EXPECT_EQ(top.size(), 3u);  // the chosen token is always there
  EXPECT_EQ(top.at("token_id:8").to_number<double>(), -0.5);
  EXPECT_EQ(top.at("token_id:7").to_number<double>(), -2);
  EXPECT_TRUE(builder.empty());
}

TEST(Response, LogprobsWithATokenizer) {
  auto tokenizer = load_tokenizer(DELTASERVE_SOURCE_DIR "/models/bundled/tokenizer.model");
  ASSERT_TRUE(tokenizer.ok());
  ServedModel model;
  model.tokenizer = tokenizer->get();
  EXPECT_EQ(token_label({model}, 1), "");
  EXPECT_EQ(token_label({model, /*show_control_tokens=*/true}, 1), "<s>");
  EXPECT_EQ(token_label({model, true, /*ids=*/true}, 1), "token_id:1");
  EXPECT_EQ(token_label({model}, 1 << 20), "token_id:1048576");
  const int32_t byte = (*tokenizer)->piece_id("<0xE2>");
  ASSERT_GE(byte, 0);
  EXPECT_EQ(token_label({model}, byte), "bytes:\\xe2");

  // Offsets count characters and go on from one take to the next.
  CompletionLogprobs builder;
  const std::vector<int32_t> ids = (*tokenizer)->encode("Once upon a time").value();
  int64_t total = 0;
  for (const int32_t id : ids) {
    builder.add({model}, {.token = id, .logprob = -1, .top = {}}, true);
    const json::value value = json::parse(builder.take());
    EXPECT_EQ(value.at("text_offset").at(0).as_int64(), total);
    total += static_cast<int64_t>((*tokenizer)->vocabulary().bytes(id).size());
  }
}

TEST(Response, ChoiceAndError) {
  ServedModel model;
  model.name = "m\"x";
  model.fingerprint = "fp_1";
  std::string out = reply_prefix("cmpl-1", "text_completion", 3, model);
  ChoicePart part;
  part.index = 2;
  const AnswerDelta said{AnswerDelta::Kind::kContent, "hi"};
  part.deltas = {&said, 1};
  part.finish = FinishReason::kStop;
  part.stop_reason = "7";
  append_choice(&out, part);
  out += "]}";
  const json::value value = json::parse(out);
  const json::value& choice = value.at("choices").at(0);
  EXPECT_EQ(value.at("model").as_string(), "m\"x");
  EXPECT_EQ(value.at("system_fingerprint").as_string(), "fp_1");
  EXPECT_EQ(choice.at("index").as_int64(), 2);
  EXPECT_EQ(choice.at("finish_reason").as_string(), "stop");
  EXPECT_EQ(choice.at("stop_reason").as_int64(), 7);
  EXPECT_TRUE(choice.at("logprobs").is_null());
  EXPECT_FALSE(choice.as_object().contains("token_ids"));

  const json::value error = json::parse(error_json(invalid_parameter("top_p", "no"))).at("error");
  EXPECT_EQ(error.at("param").as_string(), "top_p");
  EXPECT_EQ(error.at("type").as_string(), "invalid_request_error");
  EXPECT_TRUE(error.at("code").is_null());
}

TEST(Response, ChatLogprobs) {
  auto tokenizer = load_tokenizer(DELTASERVE_SOURCE_DIR "/models/bundled/tokenizer.model");
  ASSERT_TRUE(tokenizer.ok());
  ServedModel model;
  model.tokenizer = tokenizer->get();
  const int32_t byte = (*tokenizer)->piece_id("<0xE2>");
  ChatLogprobs builder;
  builder.add({model}, {.token = byte, .logprob = -2, .top = {{byte, -2.0f}, {1, -3.0f}}}, true);
  builder.add({model}, {.token = 1, .logprob = -1, .top = {}}, true);
  const json::value value = json::parse(builder.take());
  ASSERT_EQ(value.at("content").as_array().size(), 2u);
  EXPECT_TRUE(value.at("refusal").is_null());
  const json::value& first = value.at("content").at(0);
  EXPECT_EQ(first.at("token").as_string(), "bytes:\\xe2");
  EXPECT_EQ(json::serialize(first.at("bytes")), "[226]");
  EXPECT_EQ(first.at("logprob").to_number<double>(), -2);
  ASSERT_EQ(first.at("top_logprobs").as_array().size(), 2u);
  EXPECT_EQ(first.at("top_logprobs").at(1).at("token").as_string(), "");
  EXPECT_TRUE(first.at("top_logprobs").at(1).at("bytes").is_null());
  EXPECT_EQ(json::serialize(value.at("content").at(1).at("top_logprobs")), "[]");
  EXPECT_TRUE(builder.empty());
}

TEST(Response, ChatChoices) {
  ChoicePart part;
  part.index = 1;
  const AnswerDelta said{AnswerDelta::Kind::kContent, "hi"};
  part.deltas = {&said, 1};
  part.finish = FinishReason::kLength;
  std::string out;
  append_chat_choice(&out, part);
  const json::value whole = json::parse(out);
  EXPECT_EQ(json::serialize(whole.at("message")),
            R"({"role":"assistant","content":"hi","refusal":null})");
  EXPECT_EQ(whole.at("finish_reason").as_string(), "length");

  const auto delta = [](const char* text, bool first) {
    const AnswerDelta content{AnswerDelta::Kind::kContent, text};
    ChoicePart chunk;
    if (*text != '\0') chunk.deltas = {&content, 1};
    std::string json_text;
    append_chat_delta(&json_text, chunk, first);
    const json::value value = json::parse(json_text);
    EXPECT_TRUE(value.at("finish_reason").is_null());
    return json::serialize(value.at("delta"));
  };
  EXPECT_EQ(delta("", true), R"({"role":"assistant","content":""})");
  EXPECT_EQ(delta("a", false), R"({"content":"a"})");
  EXPECT_EQ(delta("", false), "{}");
}

TEST(Response, Usage) {
  std::string out;
  append_usage(&out, {.prompt_tokens = 300,
                      .completion_tokens = 4,
                      .reasoning_tokens = 3,
                      .cached_prompt_tokens = 256});
  const json::value usage = json::parse(out);
  EXPECT_EQ(usage.at("total_tokens").as_int64(), 304);
  EXPECT_EQ(usage.at("prompt_tokens_details").at("cached_tokens").as_int64(), 256);
  EXPECT_EQ(usage.at("completion_tokens_details").at("reasoning_tokens").as_int64(), 3);
}

TEST(Response, Timings) {
  std::string out;
  append_timings(&out, {.time_to_first_token = 0.0125, .decode = 2});
  EXPECT_EQ(out, R"({"time_to_first_token_ms":12.500,"decode_ms":2000.000})");
  out.clear();
  append_timings(&out, {});
  EXPECT_EQ(out, R"({"time_to_first_token_ms":null,"decode_ms":null})");
}

TEST(Response, Framing) {
  std::string out;
  append_http_chunk(&out, std::string(26, 'x'));
  EXPECT_EQ(out, "1a\r\n" + std::string(26, 'x') + "\r\n");
}

}  // namespace
}  // namespace deltaserve
