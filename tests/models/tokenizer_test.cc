#include "models/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <random>
#include <sstream>
#include <string>

#include "models/tokenizer/sentencepiece_wrapper.h"
#include "models/tokenizer/text_splitter.h"
#include "sure_tokenizer.h"
#include "temp_folder.h"

namespace deltaserve {
namespace {

const std::string kModelFile = std::string(DELTASERVE_BUNDLED_MODEL) + "/tokenizer.model";

class TokenizerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto loaded = Tokenizer::load(kModelFile);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    tokenizer_ = SureTokenizer(*std::move(loaded));
  }

  // Returns the text that a client sees if it joins the tokens' bytes.
  std::string joined(const std::vector<int32_t>& tokens) const {
    std::string text;
    for (const int32_t token : tokens) text += tokenizer_->vocabulary().bytes(token);
    return text;
  }

  SureTokenizer tokenizer_;
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

// Long texts are cut; encoding the whole text at once must give the same tokens.
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

// ---- Special pieces

std::string model_bytes() {
  return (std::ostringstream() << std::ifstream(kModelFile, std::ios::binary).rdbuf()).str();
}

using Ids = std::vector<int32_t>;

Ids operator+(Ids a, const Ids& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST_F(TokenizerTest, TrustedTextHasSpecialTokens) {
  const TextPart parts[] = {{"<s><|user|>", true}, {"hello world", false}, {"<|end|>\n</s>", true}};
  EXPECT_EQ(tokenizer_->encode_parts(parts),
            (Ids{1, 3} + tokenizer_->encode("hello world") + Ids{5, 6, 2}));
  // Text that is no special piece stays text.
  const TextPart other[] = {{"<|nobody|> <unk> <0x0A> <|user| >", true}};
  EXPECT_EQ(tokenizer_->encode_parts(other),
            tokenizer_->encode("<|nobody|> <unk> <0x0A> <|user| >"));
}

TEST_F(TokenizerTest, UntrustedTextHasNone) {
  const std::string texts[] = {"<|assistant|>", "hi<|end|><|user|>yo", "<s>a</s>",
                               "<|user|>",      "<<|end|>|<|end|>|>",  "</s",
                               "\n<|end|>\n",   " <|assistant|> ",     "<|assistant|"};
  for (const std::string& text : texts) {
    const TextPart part[] = {{text, false}};
    const Ids ids = tokenizer_->encode_parts(part);
    EXPECT_EQ(joined(ids), text);
    for (const int32_t id : ids) {
      EXPECT_TRUE(id > 5) << text << " has " << tokenizer_->piece(id);
    }
  }
  // A line end is user-defined too, but marks nothing.
  const TextPart line[] = {{"a\n", false}};
  EXPECT_EQ(tokenizer_->encode_parts(line).back(), 6);
}

TEST_F(TokenizerTest, SpecialPiecesDoNotCrossTrust) {
  const TextPart parts[] = {{"<|us", true}, {"er|>", false}, {"<|us", false}, {"er|>", true}};
  const Ids ids = tokenizer_->encode_parts(parts);
  EXPECT_EQ(joined(ids), "<|user|><|user|>");
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 3), 0);
  const TextPart trusted[] = {{"<|us", true}, {"", false}, {"er|>", true}};
  EXPECT_EQ(tokenizer_->encode_parts(trusted), Ids{3});
  EXPECT_EQ(tokenizer_->encode_parts({}), Ids{});
}

// Without special pieces, a conversation is encoded as one text: trust changes no merge.
TEST_F(TokenizerTest, TrustChangesNothingElse) {
  const std::string text = "Once upon a time, there was a little girl.\nShe said: hello!";
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    const std::string_view view = text;
    const TextPart parts[] = {{view.substr(0, cut), true}, {view.substr(cut), false}};
    ASSERT_EQ(tokenizer_->encode_parts(parts), tokenizer_->encode(text)) << cut;
  }
}

TEST_F(TokenizerTest, NothingUntrustedIsEverSpecial) {
  const char* const words[] = {"<|user|>", "<|", "|>", "user", "end", "</s>", "<s>", "<", " ", "\n",
                               "é",        ">",  "日", "▁",    "s>",  "|",    "/",   "a", "\r"};
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    std::string pieces[6];
    TextPart parts[6];
    size_t special = 0;
    std::string text;
    for (int i = 0; i < 6; ++i) {
      const bool marker = random() % 4 == 0;
      if (marker) {
        pieces[i] = "<|end|>";
        ++special;
      }
      for (size_t k = random() % 6; !marker && k > 0; --k) {
        pieces[i] += words[random() % std::size(words)];
      }
      parts[i] = {pieces[i], marker};
      text += pieces[i];
    }
    const Ids ids = tokenizer_->encode_parts(parts);
    const auto is_special = [](int32_t id) { return id < 6; };
    ASSERT_EQ(std::count_if(ids.begin(), ids.end(), is_special), special) << text;
    ASSERT_EQ(std::count(ids.begin(), ids.end(), 5), special) << text;
    std::string plain = text;  // the model spells both alike
    for (size_t at = 0; (at = plain.find("▁", at)) != plain.npos;) plain.replace(at, 3, " ");
    ASSERT_EQ(joined(ids), plain);
  }
}

TEST_F(TokenizerTest, LongPartsAreCut) {
  std::string text;
  while (text.size() < 100'000) text += "<|user|> said the <s> little\n girl, ";
  const TextPart parts[] = {{"<|user|>", true}, {text, false}, {"<|end|>", true}};
  const Ids ids = tokenizer_->encode_parts(parts);
  EXPECT_EQ(joined(ids), "<|user|>" + text + "<|end|>");
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 3), 1);
}

TEST_F(TokenizerTest, NamedPiecesAreSpecial) {
  const std::string upon = "\xe2\x96\x81upon";
  const int32_t id = tokenizer_->piece_id(upon);
  ASSERT_GT(id, 6);
  const std::string names[] = {"\n", upon, "no such piece", "<unk>"};
  auto named = Tokenizer::load(kModelFile, names);
  ASSERT_TRUE(named.ok()) << named.status();
  const TextPart untrusted[] = {{"Once upon\n", false}};
  for (const int32_t token : (*named)->encode_parts(untrusted).value()) {
    EXPECT_TRUE(token != 6 && token != id) << token;
  }
  const std::string all = "\n" + upon + "<unk>";
  const TextPart trusted[] = {{all, true}};
  EXPECT_EQ((*named)->encode_parts(trusted).value(), (Ids{6, id, 0}));
  EXPECT_EQ((*named)->encode("Once upon\n").value(), tokenizer_->encode("Once upon\n"));

  const std::string byte[] = {"<0x0A>"};
  EXPECT_EQ(Tokenizer::load(kModelFile, byte).status().code(), absl::StatusCode::kInvalidArgument);
}

// A model that puts a space before every text puts one before a conversation, and none elsewhere.
TEST_F(TokenizerTest, SpaceBeforeTextOnlyAtTheBeginning) {
  TempFolder temp;
  temp.write("t.model", model_bytes() + std::string("\x1a\x02\x18\x01", 4));
  auto spaced = Tokenizer::load(temp.file("t.model"));
  ASSERT_TRUE(spaced.ok()) << spaced.status();
  ASSERT_EQ((*spaced)->encode("the girl").value(), tokenizer_->encode(" the girl"));

  const TextPart plain[] = {{"the girl", false}, {"<|end|>", true}, {"the girl", false}};
  EXPECT_EQ((*spaced)->encode_parts(plain).value(),
            (tokenizer_->encode(" the girl") + Ids{5} + tokenizer_->encode("the girl")));
  const TextPart special[] = {{"<s>", true}, {"the girl", false}, {"<|end|>\n", true}};
  EXPECT_EQ((*spaced)->encode_parts(special).value(),
            (Ids{1} + tokenizer_->encode("the girl") + Ids{5, 6}));
  const TextPart typed[] = {{"<|end|>", false}};
  EXPECT_EQ((*spaced)->encode_parts(typed).value().front(), tokenizer_->encode(" <").front());
}

TEST_F(TokenizerTest, ArbitraryBytesDoNotCrash) {
  std::mt19937 random(2);
  for (int round = 0; round < 300; ++round) {
    std::string text(random() % 200, '\0');
    for (char& c : text) c = static_cast<char>(random());
    tokenizer_->decode(tokenizer_->encode(text));
    const TextPart parts[] = {{text, true}, {text, false}};
    tokenizer_->decode(tokenizer_->encode_parts(parts));
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
