#include "models/tokenizer/base/tokenizer_settings.h"

#include <gtest/gtest.h>

#include <string>

namespace deltaserve {
namespace {

absl::StatusOr<TokenizerSettings> parse(const std::string& tokenizer_config,
                                        const std::string& special_tokens_map = "",
                                        const std::string& added_tokens = "") {
  TokenizerFiles files;
  files.tokenizer_config = tokenizer_config;
  files.special_tokens_map = special_tokens_map;
  files.added_tokens = added_tokens;
  return parse_tokenizer_settings(files);
}

using Texts = std::vector<std::string>;

TEST(TokenizerSettings, AbsentFilesAndKeys) {
  for (const char* text : {"", "{}"}) {
    const auto settings = parse(text, text, text);
    ASSERT_TRUE(settings.ok()) << settings.status();
    EXPECT_FALSE(settings->add_bos_token);
    EXPECT_TRUE(settings->legacy);
    EXPECT_TRUE(settings->chat_template.empty());
    EXPECT_TRUE(settings->special_tokens.empty());
  }
}

TEST(TokenizerSettings, LlamaTokenizersAddBosUnlessToldOtherwise) {
  EXPECT_TRUE(parse(R"({"tokenizer_class": "LlamaTokenizerFast"})")->add_bos_token);
  EXPECT_TRUE(
      parse(R"({"tokenizer_class": "LlamaTokenizer", "add_bos_token": null})")->add_bos_token);
  EXPECT_FALSE(
      parse(R"({"tokenizer_class": "LlamaTokenizer", "add_bos_token": false})")->add_bos_token);
}

TEST(TokenizerSettings, SpecialTokensOfTheConfig) {
  const auto settings = parse(R"({
      "bos_token":"<s>","eos_token":{"content":"</s>","lstrip":false},"unk_token":"<unk>",
      "additional_special_tokens":["<|user|>",{"content":"<|end|>"}],
      "extra_special_tokens":{"image_token":"<image>"},
      "added_tokens_decoder":{"3":{"content":"<|user|>","special":true},
                              "7":{"content":"<tool>","special":true,"rstrip":true},
                              "8":{"content":"plain","special":false,"single_word":true}}})");
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->named("bos_token"), "<s>");
  EXPECT_EQ(settings->named("eos_token"), "</s>");
  EXPECT_EQ(settings->named("image_token"), "<image>");
  EXPECT_EQ(settings->additional_special_tokens, (Texts{"<|user|>", "<|end|>"}));
  EXPECT_EQ(settings->special_tokens,
            (Texts{"</s>", "<image>", "<s>", "<tool>", "<unk>", "<|end|>", "<|user|>"}));
  ASSERT_EQ(settings->added_tokens.size(), 3u);
  EXPECT_EQ(settings->added_tokens[1].id, 7);
  EXPECT_TRUE(settings->added_tokens[1].special && settings->added_tokens[1].strip_right);
  EXPECT_TRUE(!settings->added_tokens[2].special && settings->added_tokens[2].whole_word);
  EXPECT_TRUE(parse(R"({"bos_token":null})")->named_tokens.empty());
}

TEST(TokenizerSettings, ExtraSpecialTokensAreAListToday) {
  const auto settings = parse(R"({"extra_special_tokens":["[INST]"]})");
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->special_tokens, Texts{"[INST]"});
}

// Case M08, and which file wins.
TEST(TokenizerSettings, SpecialTokensOfTheMap) {
  const char* map = R"({"bos_token": {"content": "<b>"}, "pad_token": "<p>"})";
  EXPECT_EQ(parse("", map)->named("bos_token"), "<b>");
  EXPECT_EQ(parse(R"({"bos_token": "<s>"})", map)->named("bos_token"), "<b>");
  const auto newer = parse(R"({"bos_token": "<s>", "added_tokens_decoder": {}})", map);
  EXPECT_EQ(newer->named("bos_token"), "<s>");
  EXPECT_EQ(newer->named("pad_token"), "<p>");
}

TEST(TokenizerSettings, ClassesHaveDefaults) {
  const auto gemma = parse(R"({"tokenizer_class": "GemmaTokenizerFast"})");
  EXPECT_EQ(gemma->named("bos_token"), "<bos>");
  EXPECT_EQ(gemma->named("eos_token"), "<eos>");
  const auto llama = parse(R"({"tokenizer_class": "LlamaTokenizer", "bos_token": null})");
  EXPECT_EQ(llama->named("bos_token"), "");
  EXPECT_EQ(llama->named("eos_token"), "</s>");
}

TEST(TokenizerSettings, OlderFilesListAddedTokensByText) {
  const auto settings = parse(R"({"additional_special_tokens": ["<|im_start|>"]})", "",
                              R"({"<think>": 11, "<|im_start|>": 10})");
  ASSERT_TRUE(settings.ok()) << settings.status();
  ASSERT_EQ(settings->added_tokens.size(), 2u);
  EXPECT_EQ(settings->added_tokens[0].text, "<|im_start|>");
  EXPECT_TRUE(settings->added_tokens[0].special);
  EXPECT_FALSE(settings->added_tokens[1].special);
}

// Cases T07 and T08.
TEST(TokenizerSettings, ChatTemplates) {
  EXPECT_EQ(parse(R"({"chat_template": "{{ x }}"})")->chat_template, "{{ x }}");
  TokenizerFiles files;
  files.tokenizer_config = R"({"chat_template": [{"name": "tool_use", "template": "a"},
                                {"name": "default", "template": "b"}]})";
  const auto named = parse_tokenizer_settings(files);
  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_EQ(named->chat_template, "b");
  EXPECT_EQ(named->tool_chat_template, "a");
  files.chat_template = "own file";
  const auto own = parse_tokenizer_settings(files);
  EXPECT_EQ(own->chat_template, "own file");
  EXPECT_EQ(own->tool_chat_template, "");
  EXPECT_EQ(own->chat_template_origin, "chat_template.jinja");
  files.tool_chat_template = "with tools";
  EXPECT_EQ(parse_tokenizer_settings(files)->tool_chat_template, "with tools");
}

TEST(TokenizerSettings, ChatTemplatesWithoutADefault) {
  TokenizerFiles files;
  files.tokenizer_config = R"({"chat_template": [{"name": "tool_use", "template": "a"},
                                {"name": "rag", "template": "b"}]})";
  const auto named = parse_tokenizer_settings(files);
  ASSERT_TRUE(named.ok()) << named.status();
  EXPECT_EQ(named->chat_template, "");
  EXPECT_EQ(named->tool_chat_template, "a");
  EXPECT_NE(named->no_chat_template.find("'default'"), std::string::npos);
  files.chat_template = "own file";
  EXPECT_EQ(parse_tokenizer_settings(files)->no_chat_template, "");
}

TEST(TokenizerSettings, Refusals) {
  const std::pair<const char*, const char*> texts[] = {
      {R"({"add_bos_token": 1})", "add_bos_token"},
      {R"({"legacy": "yes"})", "legacy"},
      {R"({"eos_token": 3})", "eos_token"},
      {R"({"additional_special_tokens": [3]})", "additional_special_tokens"},
      {R"({"extra_special_tokens": 3})", "extra_special_tokens"},
      {R"({"added_tokens_decoder": []})", "added_tokens_decoder"},
      {R"({"added_tokens_decoder": {"x": {"content": "a"}}})", "added_tokens_decoder: 'x'"},
      {R"({"added_tokens_decoder": {"-1": {"content": "a"}}})", "added_tokens_decoder: '-1'"},
      {R"({"added_tokens_decoder": {"9999999": {"content": "a"}}})", "9999999"},
      {R"({"added_tokens_decoder": {"1": "a"}})", "added_tokens_decoder: '1'"},
      {R"({"chat_template": 3})", "chat_template"},
      {R"({"chat_template": [4]})", "chat_template"}};
  for (const auto& [text, what] : texts) {
    const auto settings = parse(text);
    ASSERT_FALSE(settings.ok()) << text;
    const std::string message(settings.status().message());
    EXPECT_EQ(message.find("tokenizer_config.json: "), 0u) << message;
    EXPECT_NE(message.find(what), std::string::npos) << message;
  }
  EXPECT_FALSE(parse("", "[]").ok());
  EXPECT_FALSE(parse("", "", R"({"a": -1})").ok());
}

}  // namespace
}  // namespace deltaserve
