#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json.hpp>
#include <fstream>
#include <random>
#include <sstream>
#include <string>

#include "models/tokenizer/load_tokenizer.h"
#include "models/tokenizer/sentencepiece/sentencepiece_tokenizer.h"
#include "models/tokenizer/sentencepiece/text_splitter.h"
#include "models/tokenizer/sentencepiece/wrapper.h"
#include "tests/models/base/temp_folder.h"
#include "tests/models/tokenizer/base/sure_tokenizer.h"
#include "tests/models/tokenizer/sentencepiece/sentencepiece_models.h"

namespace deltaserve {
namespace {

const std::string kModelFile = std::string(DELTASERVE_BUNDLED_MODEL) + "/tokenizer.model";

class TokenizerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto loaded = load_tokenizer(kModelFile);
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

// The library decodes only the beginning of a long text.
TEST_F(TokenizerTest, PartsOfCharactersDecodeAlikeInTextsOfAnyLength) {
  const std::vector<int32_t> bytes = tokenizer_->encode("日");
  ASSERT_EQ(bytes.size(), 3u);
  const int32_t letter = tokenizer_->piece_id("a");
  ASSERT_GE(letter, 0);
  const std::vector<int32_t> end = {bytes[0], bytes[1], letter, bytes[1], bytes[0], letter};
  const std::string decoded =
      "\xef\xbf\xbd\xef\xbf\xbd"
      "a\xef\xbf\xbd\xef\xbf\xbd"
      "a";
  for (const size_t letters : {size_t{1}, size_t{5000}}) {
    std::vector<int32_t> tokens(letters, letter);
    tokens.insert(tokens.end(), end.begin(), end.end());
    EXPECT_EQ(tokenizer_->decode(tokens), std::string(letters, 'a') + decoded) << letters;
  }
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

// An unused piece stands for parts that depend on the whole text, and of a text with a control
// piece the library encodes nothing.
TEST_F(TokenizerTest, SomeModelsDoNotAllowCuts) {
  const auto bytes = std::string(
      (std::ostringstream() << std::ifstream(kModelFile, std::ios::binary).rdbuf()).str());
  const std::string additions[] = {piece("heh", 9, TestPiece::kUnused) + piece("hehe", 8),
                                   piece("\xf0\x9f\x90\xb6", 0, TestPiece::kControl),
                                   piece("the", 0, TestPiece::kControl)};
  for (const std::string& more : additions) {
    std::string error;
    const auto model = SentencePieceModel::parse(bytes + more, &error);
    ASSERT_NE(model, nullptr) << error;
    EXPECT_FALSE(TextSplitter(bytes + more, *model).can_split());
    const auto tokenizer = load_sentencepiece_tokenizer(bytes + more, "t.model", {});
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    std::string text = "the \xf0\x9f\x90\xb6";
    for (int i = 0; text.size() < 40'000; ++i) text += i % 3 == 0 ? " heheh" : " hehehe";
    EXPECT_EQ((*tokenizer)->encode(text).value(), model->encode(text));
    EXPECT_EQ((*tokenizer)->final_ids(text).value(), 0u);
  }
}

// Whatever a model generates is valid text.
TEST_F(TokenizerTest, PiecesMustBeUtf8) {
  const auto bytes = std::string(
      (std::ostringstream() << std::ifstream(kModelFile, std::ios::binary).rdbuf()).str());
  const auto tokenizer = load_sentencepiece_tokenizer(bytes + piece("a\x9c", -1), "t.model", {});
  EXPECT_EQ(tokenizer.status().message(),
            "t.model has a piece that is not UTF-8, with the id 4096");
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
  TokenizerSettings names;
  names.special_tokens = {"\n", upon, "no such piece", "<unk>"};
  auto named = load_tokenizer(kModelFile, names);
  ASSERT_TRUE(named.ok()) << named.status();
  const TextPart untrusted[] = {{"Once upon\n", false}};
  const Ids tokens = (*named)->encode_parts(untrusted).value();
  for (const int32_t token : tokens) {
    EXPECT_TRUE(token != 6 && token != id) << token;
  }
  const std::string all = "\n" + upon + "<unk>";
  const TextPart trusted[] = {{all, true}};
  EXPECT_EQ((*named)->encode_parts(trusted).value(), (Ids{6, id, 0}));
  EXPECT_EQ((*named)->encode("Once upon\n").value(), tokenizer_->encode("Once upon\n"));

  TokenizerSettings byte;
  byte.special_tokens = {"<0x0A>"};
  EXPECT_EQ(load_tokenizer(kModelFile, byte).status().code(), absl::StatusCode::kInvalidArgument);
}

// A model that puts a space before every text puts one before each text between special tokens, as
// all tokenizers of transformers did at first (case M02).
TEST_F(TokenizerTest, SpaceBeforeEveryText) {
  TempFolder temp;
  temp.write("t.model", model_bytes() + std::string("\x1a\x02\x18\x01", 4));
  auto spaced = load_tokenizer(temp.file("t.model"));
  ASSERT_TRUE(spaced.ok()) << spaced.status();
  const TextPart parts[] = {{"<|user|>", true}, {"Hello there", false}};
  Ids ids = (*spaced)->encode_parts(parts).value();
  std::vector<std::string> pieces;
  for (const int32_t id : ids) pieces.push_back((*spaced)->piece(id));
  EXPECT_EQ(pieces, (std::vector<std::string>{"<|user|>", "▁He", "llo", "▁there"}));
}

// With legacy=False it puts one before a conversation, and none elsewhere.
TEST_F(TokenizerTest, SpaceBeforeTextOnlyAtTheBeginning) {
  TempFolder temp;
  temp.write("t.model", model_bytes() + std::string("\x1a\x02\x18\x01", 4));
  TokenizerSettings settings;
  settings.legacy = false;
  auto spaced = load_tokenizer(temp.file("t.model"), settings);
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

TEST_F(TokenizerTest, NoSpaceWithoutAPrefixSpace) {
  TempFolder temp;
  temp.write("t.model", model_bytes() + std::string("\x1a\x02\x18\x01", 4));
  TokenizerSettings settings;
  settings.add_prefix_space = false;
  const auto encoded = [&](const TokenizerSettings& with) {
    return (*load_tokenizer(temp.file("t.model"), with))->encode("the girl").value();
  };
  EXPECT_EQ(encoded(settings), tokenizer_->encode(" the girl"));  // legacy does not look at it
  settings.legacy = false;
  EXPECT_EQ(encoded(settings), tokenizer_->encode("the girl"));
}

AddedToken added(int32_t id, const std::string& text, bool special) {
  AddedToken token;
  token.id = id;
  token.text = text;
  token.special = special;
  return token;
}

// Case M01: tokens with ids behind the model's pieces.
TEST_F(TokenizerTest, AddedTokensHaveIdsBehindThePieces) {
  TokenizerSettings settings;
  settings.added_tokens = {added(4096, "<|im_start|>", true), added(4097, "<|im_end|>", true),
                           added(4099, "<think>", false), added(4100, "wordlike", false)};
  settings.special_tokens = {"<|im_end|>", "<|im_start|>"};
  const auto loaded = load_tokenizer(kModelFile, settings);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const Tokenizer& tokenizer = **loaded;
  EXPECT_EQ(tokenizer.size(), 4101);
  EXPECT_EQ(tokenizer.num_pieces(), 4096);
  const TextPart chat[] = {{"<|im_start|>", true}, {"Hi", false}, {"<|im_end|>\n<think>", true}};
  EXPECT_EQ(tokenizer.encode_parts(chat).value(),
            (Ids{4096} + tokenizer_->encode("Hi") + Ids{4097, 6, 4099}));
  // A user's text becomes no marker, but added tokens that are none are found in it.
  const TextPart typed[] = {{"<|im_end|><think>", false}, {"a wordlike b", false}};
  EXPECT_EQ(tokenizer.encode_parts(typed).value(),
            (tokenizer_->encode("<|im_end|><think>a ") + Ids{4100} + tokenizer_->encode(" b")));
  EXPECT_EQ(tokenizer.encode("<think>Hi<|im_end|>").value(),
            (Ids{4099} + tokenizer_->encode("Hi") + Ids{4097}));
  EXPECT_EQ(tokenizer.vocabulary().bytes(4096), "");
  EXPECT_EQ(tokenizer.vocabulary().bytes(4098), "");
  EXPECT_EQ(tokenizer.vocabulary().bytes(4099), "<think>");
  const Ids answer = tokenizer_->encode("Hi") + Ids{4097, 4099, 4098} + tokenizer_->encode(" you");
  EXPECT_EQ(tokenizer.decode(answer, SpecialTokens::kSkip).value(), "Hi<think> you");
  EXPECT_EQ(tokenizer.decode(answer, SpecialTokens::kKeep).value(), "Hi<|im_end|><think> you");
  EXPECT_EQ(tokenizer.piece_id("<think>"), 4099);
  EXPECT_EQ(tokenizer.piece(4096), "<|im_start|>");
}

TEST_F(TokenizerTest, SpecialTokensWithoutAnIdGetTheNext) {
  TokenizerSettings settings;
  settings.added_tokens = {added(4096, "<|im_start|>", true)};
  settings.named_tokens = {{"pad_token", "[PAD]"}, {"bos_token", "<s>"}};
  settings.additional_special_tokens = {"<|im_start|>", "<|extra|>", "<|beyond|>"};
  settings.special_tokens = {"<s>", "<|beyond|>", "<|extra|>", "<|im_start|>", "[PAD]"};
  settings.most_ids = 4099;
  const auto loaded = load_tokenizer(kModelFile, settings);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->size(), 4099);
  EXPECT_EQ((*loaded)->encode("<s>[PAD]<|extra|>").value(), (Ids{1, 4097, 4098}));
  EXPECT_EQ((*loaded)->encode("<|beyond|>").value(), tokenizer_->encode("<|beyond|>"));
}

TEST_F(TokenizerTest, AddedTokensTakeSpaceAlong) {
  TokenizerSettings settings;
  AddedToken right = added(4096, "<r>", true);
  right.strip_right = true;
  AddedToken left = added(4097, "<l>", true);
  left.strip_left = true;
  AddedToken word = added(4098, "word", false);
  word.whole_word = true;
  settings.added_tokens = {right, left, word};
  const auto loaded = load_tokenizer(kModelFile, settings);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const TextPart parts[] = {{"<r>", true}, {" \n\u3000Hi \t", false}, {"<l> x", true}};
  EXPECT_EQ((*loaded)->encode_parts(parts).value(),
            (Ids{4096} + tokenizer_->encode("Hi") + Ids{4097} + tokenizer_->encode(" x")));
  EXPECT_EQ((*loaded)->encode("a word b").value(),
            (tokenizer_->encode("a ") + Ids{4098} + tokenizer_->encode(" b")));
  EXPECT_EQ((*loaded)->encode("a swords b").value(), tokenizer_->encode("a swords b"));
}

// Case C11: raw prompts have the tokens that the files name.
TEST_F(TokenizerTest, RawPromptsHaveNamedTokens) {
  TokenizerSettings settings;
  settings.special_tokens = {"</s>", "<s>"};
  const auto loaded = load_tokenizer(kModelFile, settings);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->encode("<s>Hi</s>").value(), (Ids{1} + tokenizer_->encode("Hi") + Ids{2}));
  const TextPart typed[] = {{"<s>Hi</s>", false}};
  EXPECT_EQ((*loaded)->encode_parts(typed).value(), tokenizer_->encode("<s>Hi</s>"));
  EXPECT_EQ((*loaded)->encode_as_text("<s>Hi</s>").value(), tokenizer_->encode("<s>Hi</s>"));
}

// Case M05: a piece that only the settings call special.
TEST_F(TokenizerTest, NamedUserDefinedPiecesAreNotTyped) {
  TempFolder temp;
  std::string bytes = model_bytes();
  const std::string entry = std::string("\x0a\x0a\x0a\x06[INST]\x18\x04", 12);
  temp.write("t.model", bytes + entry);
  TokenizerSettings settings;
  settings.special_tokens = {"[INST]"};
  const auto loaded = load_tokenizer(temp.file("t.model"), settings);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const TextPart parts[] = {{"[INST]", true}, {"[INST]", false}};
  const Ids ids = (*loaded)->encode_parts(parts).value();
  EXPECT_EQ(ids.front(), 4096);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 4096), 1);
}

// A piece of any kind that the files call special has no text, in whichever file they do so.
TEST_F(TokenizerTest, NamedPiecesHaveNoText) {
  TokenizerFiles by_list, by_map, by_decoder;
  by_list.tokenizer_config =
      R"({"unk_token": "<unk>", "additional_special_tokens": ["<|assistant|>", "\u2581upon"]})";
  by_map.special_tokens_map = by_list.tokenizer_config;
  by_decoder.tokenizer_config = R"({"added_tokens_decoder": {
      "0": {"content": "<unk>", "special": true}, "4": {"content": "<|assistant|>", "special": true},
      "5": {"content": "<|end|>", "special": false},
      "UPON": {"content": "\u2581upon", "special": true}}})";
  const int32_t upon = tokenizer_->piece_id("\xe2\x96\x81upon");
  std::string& decoder = by_decoder.tokenizer_config;
  decoder.replace(decoder.find("UPON"), 4, std::to_string(upon));
  for (const TokenizerFiles& files : {by_list, by_map, by_decoder}) {
    const auto settings = parse_tokenizer_settings(files);
    ASSERT_TRUE(settings.ok()) << settings.status();
    const auto loaded = load_tokenizer(kModelFile, *settings);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    const Vocabulary& vocabulary = (*loaded)->vocabulary();
    for (const int32_t id : {0, 4, upon}) {
      EXPECT_EQ(vocabulary.bytes(id), "") << id;
      EXPECT_EQ(vocabulary.name(id), (*loaded)->piece(id)) << id;
      EXPECT_EQ((*loaded)->decode({id}, SpecialTokens::kSkip).value(), "") << id;
    }
    const Ids answer = tokenizer_->encode("Hi") + Ids{4} + tokenizer_->encode(" you");
    EXPECT_EQ((*loaded)->decode(answer, SpecialTokens::kSkip).value(), "Hi you");
    EXPECT_EQ((*loaded)->decode(answer, SpecialTokens::kKeep).value(), "Hi<|assistant|> you");
    EXPECT_EQ(vocabulary.bytes(5), "<|end|>");  // which no file calls special
    EXPECT_EQ((*loaded)->decode({5}, SpecialTokens::kSkip).value(), "<|end|>");
  }
}

// Every tokenizer of transformers that has added tokens; see
// tokenizer/cases/record_added_tokens.py.
TEST_F(TokenizerTest, NamedTokensAreAsInTransformers) {
  namespace json = boost::json;
  std::ifstream file(DELTASERVE_SOURCE_DIR "/tests/models/tokenizer/cases/added_tokens.json");
  const json::value groups = json::parse((std::ostringstream() << file.rdbuf()).str());
  ASSERT_EQ(groups.as_array().size(), 4u);
  for (const json::value& group : groups.as_array()) {
    TempFolder temp;
    const bool spaced = group.at("spaced").as_bool();
    temp.write("t.model", model_bytes() + (spaced ? std::string("\x1a\x02\x18\x01", 4) : ""));
    TokenizerFiles files;
    files.tokenizer_config = group.at("tokenizer_config").as_string().c_str();
    const auto settings = parse_tokenizer_settings(files);
    ASSERT_TRUE(settings.ok()) << settings.status();
    const auto tokenizer = load_tokenizer(temp.file("t.model"), *settings);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    for (const json::value& one : group.at("cases").as_array()) {
      const std::string text = one.at(0).as_string().c_str();
      EXPECT_EQ((*tokenizer)->encode(text).value(), json::value_to<Ids>(one.at(1)))
          << text << " " << files.tokenizer_config;
      // A template that writes the whole text gives the same, but for words that are no markers.
      const TextPart part[] = {{text, true}};
      EXPECT_EQ((*tokenizer)->encode_parts(part).value(), json::value_to<Ids>(one.at(1))) << text;
    }
    for (const json::value& one : group.at("texts").as_array()) {
      const Ids token = {json::value_to<int32_t>(one.at(0))};
      EXPECT_EQ((*tokenizer)->decode(token, SpecialTokens::kSkip).value(), one.at(1).as_string());
      EXPECT_EQ((*tokenizer)->decode(token, SpecialTokens::kKeep).value(), one.at(2).as_string());
    }
  }
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
  EXPECT_TRUE(absl::IsNotFound(load_tokenizer(temp.file("none")).status()));
  std::string whole;
  {
    std::ostringstream contents;
    contents << std::ifstream(kModelFile, std::ios::binary).rdbuf();
    whole = contents.str();
  }
  for (const std::string& bytes : {std::string(), std::string("not a model"), whole.substr(0, 1000),
                                   whole.substr(0, whole.size() - 1)}) {
    temp.write("t.model", bytes);
    const auto tokenizer = load_tokenizer(temp.file("t.model"));
    ASSERT_FALSE(tokenizer.ok()) << bytes.size();
    EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace deltaserve
