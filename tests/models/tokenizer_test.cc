#include "models/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <sstream>
#include <string>

#include "models/sentencepiece_wrapper.h"
#include "models/text_splitter.h"
#include "temp_folder.h"

namespace deltaserve {
namespace {

const std::string kModelFile = std::string(DELTASERVE_BUNDLED_MODEL) + "/tokenizer.model";

class TokenizerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto loaded = Tokenizer::load(kModelFile);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    tokenizer_ = *std::move(loaded);
  }

  // What a client sees that joins the tokens' bytes.
  std::string joined(const std::vector<int32_t>& tokens) const {
    std::string text;
    for (const int32_t token : tokens) text += tokenizer_->vocabulary().bytes(token);
    return text;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_F(TokenizerTest, RoundTrips) {
  const std::string texts[] = {"",
                               "hello world",
                               " leading",
                               "trailing ",
                               "  two  spaces  ",
                               "a\nb\n\nc\td\r\n",
                               "日本語 и русский",
                               "emoji \xf0\x9f\x99\x82\xf0\x9f\x91\x8d\xf0\x9f\x8f\xbd",
                               "combining e\xcc\x81",
                               std::string("nul \0 byte", 10),
                               "\x01\x02\x7f",
                               "<0x0A> is not a byte"};
  for (const std::string& text : texts) {
    const std::vector<int32_t> tokens = tokenizer_->encode(text);
    EXPECT_EQ(joined(tokens), text);
    EXPECT_EQ(tokenizer_->decode(tokens), text);
  }
}

TEST_F(TokenizerTest, ByteFallbackGivesPartsOfCharacters) {
  const std::vector<int32_t> tokens = tokenizer_->encode("日");
  ASSERT_EQ(tokens.size(), 3u);
  EXPECT_EQ(tokenizer_->vocabulary().bytes(tokens[0]), "\xe6");
  EXPECT_EQ(tokenizer_->vocabulary().bytes(tokens[1]), "\x97");
  EXPECT_EQ(tokenizer_->piece(tokens[2]), "<0xA5>");
  EXPECT_EQ(tokenizer_->decode({tokens[0]}), "\xef\xbf\xbd");
}

TEST_F(TokenizerTest, UserDefinedPiecesMatchAndControlPiecesDoNot) {
  const int32_t assistant = tokenizer_->piece_id("<|assistant|>");
  EXPECT_EQ(assistant, 4);
  const std::vector<int32_t> tokens = tokenizer_->encode("hi<|assistant|>yo");
  EXPECT_EQ(std::count(tokens.begin(), tokens.end(), assistant), 1);
  EXPECT_EQ(tokenizer_->vocabulary().bytes(assistant), "<|assistant|>");

  const int32_t eos = tokenizer_->piece_id("</s>");
  EXPECT_EQ(eos, 2);
  for (const char* text : {"</s>", "<s>", "<unk>", "a</s>b"}) {
    for (const int32_t token : tokenizer_->encode(text)) EXPECT_GT(token, 2) << text;
    EXPECT_EQ(tokenizer_->decode(tokenizer_->encode(text)), text);
  }
  EXPECT_EQ(tokenizer_->vocabulary().bytes(eos), "");
}

TEST_F(TokenizerTest, VocabularyBytes) {
  EXPECT_EQ(tokenizer_->size(), 4096);
  EXPECT_EQ(tokenizer_->vocabulary().bytes(0), " \xe2\x81\x87 ");
  EXPECT_EQ(tokenizer_->vocabulary().bytes(7), std::string_view("\0", 1));
  EXPECT_EQ(tokenizer_->vocabulary().bytes(tokenizer_->piece_id("\xe2\x96\x81world")), " world");
  EXPECT_EQ(tokenizer_->vocabulary().bytes(-1), "");
  EXPECT_EQ(tokenizer_->vocabulary().bytes(4096), "");
  EXPECT_EQ(tokenizer_->piece(4096), "");
  EXPECT_EQ(tokenizer_->piece(-1), "");
  EXPECT_EQ(tokenizer_->piece_id("no such piece"), -1);
  EXPECT_EQ(tokenizer_->piece_id("<unk>"), 0);
}

TEST_F(TokenizerTest, EveryIdDecodes) {
  for (int32_t id = -2; id < 4098; ++id) {
    const std::string text = tokenizer_->decode({id});
    if (id < 0 || id >= 4096) {
      EXPECT_EQ(text, "");
    }
  }
  EXPECT_EQ(tokenizer_->decode({-1, 1867, 5000}), "llo");
}

// Long texts are cut; the whole at once must give the same tokens.
TEST_F(TokenizerTest, LongTextEncodesAsAWhole) {
  const auto bytes = std::string(
      (std::ostringstream() << std::ifstream(kModelFile, std::ios::binary).rdbuf()).str());
  std::string error;
  const auto model = SentencePieceModel::parse(bytes, &error);
  ASSERT_NE(model, nullptr) << error;
  const TextSplitter splitter(bytes, *model);
  EXPECT_TRUE(splitter.can_split());
  const char* const words[] = {"the",  " ",  "  ", "\n",    "and", " Once", "é",  "<|end|>", ".",
                               " a b", "\t", "日", " upon", "x",   "</s>",  "\"", " time",   "▁"};
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (int i = 0; i < 60; ++i) text += words[random() % std::size(words)];
    std::vector<int32_t> pieced;
    const size_t part_bytes = random() % 40;
    for (const std::string_view part : splitter.split(text, part_bytes)) {
      for (const int32_t token : model->encode(part)) pieced.push_back(token);
    }
    ASSERT_EQ(pieced, model->encode(text)) << text;
  }
  std::string text;
  while (text.size() < 100'000) text += std::string(" ") + words[random() % std::size(words)];
  EXPECT_EQ(tokenizer_->encode(text), model->encode(text));
}

TEST_F(TokenizerTest, ArbitraryBytesDoNotCrash) {
  std::mt19937 random(2);
  for (int round = 0; round < 300; ++round) {
    std::string text(random() % 200, '\0');
    for (char& c : text) c = static_cast<char>(random());
    tokenizer_->decode(tokenizer_->encode(text));
  }
}

TEST(TokenizerLoad, Errors) {
  TempFolder temp;
  EXPECT_TRUE(absl::IsNotFound(Tokenizer::load(temp.file("none")).status()));
  std::string whole;
  {
    std::ostringstream contents;
    contents << std::ifstream(kModelFile, std::ios::binary).rdbuf();
    whole = contents.str();
  }
  for (const std::string& bytes : {std::string(), std::string("not a model"), whole.substr(0, 1000),
                                   whole.substr(0, whole.size() - 1)}) {
    temp.write("t.model", bytes);
    const auto tokenizer = Tokenizer::load(temp.file("t.model"));
    ASSERT_FALSE(tokenizer.ok()) << bytes.size();
    EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace deltaserve
