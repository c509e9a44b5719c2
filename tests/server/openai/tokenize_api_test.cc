#include "server/openai/tokenize_api.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "models/base/text.h"
#include "server/openai/response.h"
#include "tests/server/service/chat_model.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

json::value answer(const std::variant<std::string, ApiError>& result) {
  if (const ApiError* error = std::get_if<ApiError>(&result)) {
    EXPECT_EQ(http_status(error->kind), 400);
    return json::value({{"param", error->param}});
  }
  return json::parse(std::get<0>(result));
}

json::value tokenized(std::string_view body) {
  return answer(tokenize(body, test_chat_model().served, {}));
}

json::value detokenized(std::string_view body) {
  return answer(detokenize(body, test_chat_model().served, {}));
}

TEST(TokenizeApi, ThereAndBack) {
  const json::value made =
      tokenized(R"({"prompt":"Once upon a time","return_token_strs":true,"model":"tiny"})");
  const json::array& tokens = made.at("tokens").as_array();
  EXPECT_EQ(made.at("count").as_int64(), static_cast<int64_t>(tokens.size()));
  EXPECT_EQ(made.at("token_strs").as_array().size(), tokens.size());
  EXPECT_EQ(made.at("token_strs").at(0).as_string(), "<s>");
  EXPECT_TRUE(made.at("max_model_len").is_null());
  EXPECT_EQ(tokens.front().as_int64(), 1);
  const std::string request = "{\"tokens\":" + json::serialize(tokens);
  EXPECT_EQ(detokenized(request + "}").at("prompt").as_string(), "<s>Once upon a time");
  EXPECT_EQ(detokenized(request + ",\"skip_special_tokens\":true}").at("prompt").as_string(),
            "Once upon a time");

  const json::value bare = tokenized(R"({"prompt":"Once","add_special_tokens":false})");
  EXPECT_NE(bare.at("tokens").at(0).as_int64(), 1);
  EXPECT_TRUE(bare.at("token_strs").is_null());
  EXPECT_EQ(tokenized(R"({"prompt":"","add_special_tokens":false})").at("count").as_int64(), 0);
  EXPECT_EQ(detokenized(R"({"tokens":[]})").at("prompt").as_string(), "");
}

TEST(TokenizeApi, SpecialTokensAreSplitWhereTheRequestSaysSo) {
  const auto count = [](std::string_view more) {
    return tokenized(str_cat(R"({"prompt":"<|user|>","add_special_tokens":false)", more, "}"))
        .at("count")
        .as_int64();
  };
  EXPECT_EQ(count(""), 1);
  EXPECT_EQ(count(R"(,"split_special_tokens":false)"), 1);
  EXPECT_GT(count(R"(,"split_special_tokens":true)"), 1);
}

TEST(TokenizeApi, MessagesAsAChatWouldReadThem) {
  const json::value made =
      tokenized(R"({"messages":[{"role":"user","content":"Hi"}],"return_token_strs":true})");
  const json::array& pieces = made.at("token_strs").as_array();
  EXPECT_EQ(pieces.front().as_string(), "<s>");
  EXPECT_EQ(pieces.at(1).as_string(), "<|user|>");
  EXPECT_EQ(pieces.back().as_string(), "<|assistant|>");
}

TEST(TokenizeApi, BadBodies) {
  const std::pair<const char*, const char*> kTokenize[] = {
      {"{}", "prompt"},
      {R"({"prompt":["a"]})", "prompt"},
      {R"({"prompt":[1]})", "prompt"},
      {R"({"prompt":3})", "prompt"},
      {R"({"prompt":"a","messages":[{"role":"user","content":"x"}]})", "prompt"},
      {R"({"messages":[]})", "messages"},
      {R"({"messages":[{"role":"bad","content":"x"}]})", "messages"},
      {R"({"prompt":"a","add_special_tokens":1})", "add_special_tokens"},
      {R"({"prompt":"a","split_special_tokens":1})", "split_special_tokens"},
      {R"({"messages":[{"role":"user","content":"x"}],"split_special_tokens":true})",
       "split_special_tokens"},
      {R"({"prompt":"a","temperature":1})", "temperature"},
      {"[", ""},
  };
  for (const auto& [body, param] : kTokenize) {
    EXPECT_EQ(tokenized(body).at("param").as_string(), param) << body;
  }
  const std::pair<const char*, const char*> kDetokenize[] = {
      {"{}", "tokens"},
      {R"({"tokens":"a"})", "tokens"},
      {R"({"tokens":[[1]]})", "tokens"},
      {R"({"tokens":[1.5]})", "tokens"},
      {R"({"tokens":[-1]})", "tokens"},
      {R"({"tokens":[4096]})", "tokens"},
      {R"({"tokens":null})", "tokens"},
      {R"({"prompt":"a"})", "prompt"},
  };
  for (const auto& [body, param] : kDetokenize) {
    EXPECT_EQ(detokenized(body).at("param").as_string(), param) << body;
  }
}

}  // namespace
}  // namespace deltaserve
