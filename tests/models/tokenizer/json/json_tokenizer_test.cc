#include "models/tokenizer/json/json_tokenizer.h"

#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "models/tokenizer/json/utf8.h"
#include "tests/models/tokenizer/base/sure_tokenizer.h"

namespace deltaserve {
namespace {

using Ids = std::vector<int32_t>;

// A file with a word model that knows markers, and added tokens of every kind.
constexpr char kWords[] = R"({"version": "1.0",
  "added_tokens": [
    {"id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
     "normalized": false, "special": true},
    {"id": 5, "content": "<think>", "single_word": false, "lstrip": false, "rstrip": false,
     "normalized": false, "special": false},
    {"id": 6, "content": "\n\n", "single_word": false, "lstrip": false, "rstrip": false,
     "normalized": false, "special": false},
    {"id": 7, "content": "[INST]", "single_word": false, "lstrip": false, "rstrip": false,
     "normalized": true, "special": false}],
  "pre_tokenizer": {"type": "WhitespaceSplit"},
  "post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
  "model": {"type": "WordLevel", "unk_token": "u",
            "vocab": {"<s>": 0, "u": 1, "hi": 2, "you": 3, "x": 4}}})";

absl::Status load_status(std::string_view json) {
  return load_json_tokenizer(json, "t.json", {}).status();
}

SureTokenizer sure(std::string_view json, std::vector<std::string> special = {}) {
  TokenizerSettings settings;
  settings.special_tokens = special;
  settings.additional_special_tokens = std::move(special);
  return SureTokenizer(load_json_tokenizer(json, "t.json", settings).value());
}

TEST(JsonTokenizer, TokensWithoutARowAreLeftOut) {
  TokenizerSettings settings;
  settings.additional_special_tokens = {"nobody"};
  settings.most_ids = 7;
  const auto words = load_json_tokenizer(kWords, "t.json", settings);
  ASSERT_TRUE(words.ok()) << words.status();
  EXPECT_EQ((*words)->size(), 7);
  EXPECT_EQ((*words)->piece_id("[INST]"), -1);
  EXPECT_EQ((*words)->piece_id("nobody"), -1);
  EXPECT_EQ((*words)->encode("hi [INST]<think>").value(), (Ids{2, 1, 5}));
  ASSERT_EQ((*words)->warnings().size(), 1u);
  EXPECT_NE((*words)->warnings()[0].find("'[INST]' has the id 7"), std::string::npos);
}

TEST(JsonTokenizer, RawTextHasAllTokens) {
  const SureTokenizer words = sure(kWords);
  EXPECT_EQ(words.encode("<s> hi <think> you \n\n [INST] zzz"), (Ids{0, 2, 5, 3, 6, 7, 1}));
  EXPECT_EQ(words.size(), 8);
  EXPECT_EQ(words.piece_id("<think>"), 5);
  EXPECT_EQ(words.piece(2), "hi");
  EXPECT_EQ(words.piece(99), "");
  EXPECT_EQ(words.vocabulary().bytes(0), "");
  EXPECT_EQ(words.vocabulary().bytes(5), " <think>");
}

TEST(JsonTokenizer, UntrustedTextHasNoControlToken) {
  const SureTokenizer words = sure(kWords, {"[INST]"});
  const TextPart typed[] = {{"<s> <think> [INST] hi", false}};
  EXPECT_EQ(words.encode_parts(typed), (Ids{1, 1, 1, 2}));
  const TextPart chat[] = {{"<s> [INST] ", true}, {"<s> hi\n\n<think>", false}, {" <think>", true}};
  EXPECT_EQ(words.encode_parts(chat), (Ids{0, 7, 1, 2, 6, 1, 5}));
  EXPECT_EQ(words.encode_as_text("<s> [INST] hi\n\n<think>"), (Ids{1, 1, 2, 6, 1}));
  // A token does not cross a border of trust.
  const TextPart halves[] = {{"<s", true}, {"> hi", false}};
  EXPECT_EQ(words.encode_parts(halves), (Ids{1, 2}));
  const TextPart joined[] = {{"<s", true}, {">", true}, {"", false}};
  EXPECT_EQ(words.encode_parts(joined), (Ids{0}));
}

// The settings of a folder may name tokens that the list of added ones has not.
TEST(JsonTokenizer, NamedTokensAreAddedAsSpecialOnes) {
  const SureTokenizer words = sure(kWords, {"x", "nobody"});
  EXPECT_EQ(words.size(), 9);
  EXPECT_EQ(words.piece_id("nobody"), 8);
  EXPECT_EQ(words.encode("hi nobody"), (Ids{2, 8}));
  EXPECT_EQ(words.encode("hi xyou"), (Ids{2, 4, 3}));
  EXPECT_EQ(words.encode_as_text("hi x you"), (Ids{2, 1, 3}));
  EXPECT_EQ(words.vocabulary().bytes(4), "");
  EXPECT_EQ(sure(kWords).encode("hi xyou"), (Ids{2, 1}));
  EXPECT_EQ(sure(kWords).encode_as_text("hi x you"), (Ids{2, 4, 3}));
}

// The file calls "[INST]" and "<think>" ordinary, and the settings name the first.
TEST(JsonTokenizer, NamedTokensHaveNoText) {
  const SureTokenizer words = sure(kWords, {"[INST]"});
  EXPECT_EQ(words.vocabulary().bytes(7), "");
  EXPECT_EQ(words.vocabulary().name(7), "[INST]");
  EXPECT_EQ(words.decode({2, 7, 5}), "hi <think>");
  EXPECT_EQ(words.decode({2, 7, 5}, SpecialTokens::kKeep), "hi [INST] <think>");
  EXPECT_EQ(sure(kWords).decode({2, 7, 5}), "hi [INST] <think>");
}

// A unigram model has its control tokens as pieces, which plain text must not reach.
TEST(JsonTokenizer, ControlPiecesOfTheModelAreNoText) {
  constexpr char kUnigram[] = R"({"added_tokens": [
      {"id": 1, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
       "normalized": false, "special": true}],
    "model": {"type": "Unigram", "unk_id": 0,
      "vocab": [["?", 0], ["<s>", 0], ["<", -1], ["s", -1], [">", -1]]}})";
  const SureTokenizer unigram = sure(kUnigram);
  EXPECT_EQ(unigram.encode("<s>s"), (Ids{1, 3}));
  const TextPart typed[] = {{"<s>s", false}};
  EXPECT_EQ(unigram.encode_parts(typed), (Ids{2, 3, 4, 3}));
  constexpr char kBpe[] = R"({"added_tokens": [
      {"id": 3, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
       "normalized": false, "special": true}],
    "model": {"type": "BPE", "ignore_merges": IGNORE, "vocab": {"<": 0, "s": 1, ">": 2, "<s>": 3, "<s": 4},
      "merges": ["< s", "<s >"]}})";
  for (const char* ignore : {"true", "false"}) {
    const SureTokenizer bpe = sure(absl::StrReplaceAll(kBpe, {{"IGNORE", ignore}}));
    EXPECT_EQ(bpe.encode_parts(typed), (Ids{4, 2, 1})) << ignore;
    EXPECT_EQ(bpe.encode("<s>s"), (Ids{3, 1})) << ignore;
  }
}

TEST(JsonTokenizer, NothingUntrustedIsEverControl) {
  const SureTokenizer words = sure(kWords, {"[INST]"});
  const char* pieces[] = {"<s>", "<think>", "[INST]", "<", "s>", " ", "hi", "\n\n", "think>", "u"};
  std::minstd_rand random(7);
  for (int round = 0; round < 2000; ++round) {
    std::string texts[4];
    std::vector<TextPart> parts;
    for (std::string& text : texts) {
      for (size_t n = random() % 5; n > 0; --n) text += pieces[random() % std::size(pieces)];
      parts.push_back({text, false});
    }
    for (const int32_t id : words.encode_parts(parts)) {
      ASSERT_TRUE(id != 0 && id != 5 && id != 7) << texts[0] << texts[1] << texts[2] << texts[3];
    }
  }
}

TEST(JsonTokenizer, SurroundsPrompts) {
  const auto words = load_json_tokenizer(kWords, "t.json", {});
  ASSERT_TRUE(words.ok());
  Ids ids;
  surround(**words, -1, &ids);
  EXPECT_EQ(ids, Ids{0});
  EXPECT_TRUE((*words)->decides_surroundings());
}

TEST(JsonTokenizer, InvalidUtf8BecomesReplacementCharacters) {
  constexpr char kCharacters[] =
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "\ufffd": 1}, "merges": []}})";
  const SureTokenizer tokenizer = sure(kCharacters);
  EXPECT_EQ(tokenizer.encode("a\xE4\xB8z\xFF"), (Ids{0, 1, 1}));
}

TEST(JsonTokenizer, NothingIsReplacedInAnEmptyText) {
  constexpr char kReplaces[] = R"({"decoder": {"type": "Sequence", "decoders": [{"type": "Fuse"},
      {"type": "Replace", "pattern": {"Regex": "x*"}, "content": "-"}]},
    "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})";
  const SureTokenizer tokenizer = sure(kReplaces);
  EXPECT_EQ(tokenizer.decode({}), "");
  EXPECT_EQ(tokenizer.decode({0}), "-a-");
}

// Every cut of a long row gives what a single row gives.
TEST(JsonTokenizer, LongRowsMergeAsShortOnes) {
  constexpr char kBpe[] = R"({"model": {"type": "BPE",
    "vocab": {"a": 0, "b": 1, "c": 2, "ab": 3, "abab": 4, "aa": 5, "abc": 6, "bc": 7},
    "merges": ["a b", "ab ab", "a a", "ab c", "b c"]}})";
  const SureTokenizer tokenizer = sure(kBpe);
  std::minstd_rand random(3);
  for (int round = 0; round < 300; ++round) {
    std::string text;
    for (size_t n = 60 + random() % 200; n > 0; --n) text += "abc"[random() % 3];
    // No merge joins a 'c' with the character behind it.
    Ids pieced;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('c', begin), text.size() - 1) + 1;
      for (const int32_t id : tokenizer.encode(text.substr(begin, end - begin))) {
        pieced.push_back(id);
      }
      begin = end;
    }
    ASSERT_EQ(tokenizer.encode(text), pieced) << text;
  }
  EXPECT_EQ(tokenizer.encode(std::string(1 << 16, 'a')), Ids(1 << 15, 5));
}

struct Refusal {
  const char* json;
  const char* message;  // a part of it
};

TEST(JsonTokenizer, NamesWhatItRefuses) {
  constexpr char kModel[] = R"("model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []})";
  const Refusal kRefusals[] = {
      {R"({"version": "2.0", MODEL})", "version must be \"1.0\""},
      {R"({"extra": 1, MODEL})", "the key 'extra' is not known"},
      {R"({"version": "1.0"})", "model is missing"},
      {R"({"model": {"type": "Foo"}})", "model.type 'Foo' is not a model"},
      {R"({"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}})", "model.vocab has 'a'"},
      {R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}})", "merges[0] has 'b'"},
      {R"({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}})", "model.merges[0] must"},
      {R"({"model": {"type": "BPE", "vocab": {}, "merges": [], "dropout": 0.1}})", "model.dropout"},
      {R"({"model": {"type": "Unigram", "vocab": [["a", 0]], "unk_id": 4}})", "model.unk_id must"},
      {R"({"model": {"type": "WordPiece", "vocab": {}, "unk_token": "u",
           "continuing_subword_prefix": "#"}})",
       "model.max_input_chars_per_word is missing"},
      {R"({"normalizer": {"type": "Foo"}, MODEL})", "normalizer.type 'Foo' is not a normalizer"},
      {R"({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Strip"}]},
           MODEL})",
       "normalizer.normalizers[1].strip_left is missing"},
      {R"({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}, MODEL})",
       "normalizer.precompiled_charsmap is too short"},
      {R"({"pre_tokenizer": {"type": "Foo"}, MODEL})", "pre_tokenizer.type 'Foo'"},
      {R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "\\g<x>"},
           "behavior": "Isolated", "invert": false}, MODEL})",
       "pre_tokenizer.pattern.Regex '\\\\g<x>' is not supported: the escape \\g is not supported"},
      {R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": "\\p{Foo}"},
           "behavior": "Isolated", "invert": false}, MODEL})",
       "the property 'Foo' is not known"},
      {R"({"pre_tokenizer": {"type": "Split", "pattern": {"String": "a"}, "behavior": "isolated",
           "invert": false}, MODEL})",
       "pre_tokenizer.behavior 'isolated' is not supported"},
      {R"({"pre_tokenizer": {"type": "Metaspace", "replacement": "ab"}, MODEL})",
       "pre_tokenizer.replacement must be a single character"},
      {R"({"decoder": {"type": "Foo"}, MODEL})", "decoder.type 'Foo' is not a decoder"},
      {R"({"post_processor": {"type": "TemplateProcessing", "pair": [], "special_tokens": {},
           "single": []}, MODEL})",
       "post_processor.single has the text 0 times"},
      {R"({"post_processor": {"type": "BertProcessing", "sep": ["x", 9], "cls": ["y", 0]}, MODEL})",
       "post_processor has the id 9, which no token has"},
      {R"({"added_tokens": [{"id": 1, "content": "x"}], MODEL})",
       "added_tokens[0].single_word is missing"},
  };
  for (const Refusal& refusal : kRefusals) {
    const std::string json = absl::StrReplaceAll(refusal.json, {{"MODEL", kModel}});
    const absl::Status status = load_status(json);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << json;
    EXPECT_NE(std::string(status.message()).find(refusal.message), std::string::npos) << status;
    EXPECT_TRUE(std::string(status.message()).starts_with("t.json: ")) << status;
  }
}

std::string with_expression(std::string_view expression) {
  return absl::StrCat(R"({"pre_tokenizer": {"type": "Split", "pattern": {"Regex": ")",
                      std::string(expression), R"("}, "behavior": "Isolated", "invert": false},)",
                      R"("model": {"type": "BPE", "unk_token": "a", "fuse_unk": true,
                          "vocab": {"a": 0}, "merges": []}})");
}

TEST(JsonTokenizer, AnExpressionGivesUpInsteadOfRunningForever) {
  const auto slow = load_json_tokenizer(with_expression("(a+)+$"), "t.json", {});
  ASSERT_TRUE(slow.ok()) << slow.status();
  const auto ids = (*slow)->encode(std::string(40, 'a') + "b");
  EXPECT_EQ(ids.status().code(), absl::StatusCode::kResourceExhausted) << ids.status();
  EXPECT_FALSE(load_status(with_expression(std::string(20000, 'a'))).ok());
  EXPECT_FALSE(load_status(with_expression(std::string(100, '('))).ok());
  EXPECT_FALSE(load_status(with_expression(std::string(100, '['))).ok());
}

// Patterns of published models go through a long run of white space in linear time.
TEST(JsonTokenizer, LongRunsArePossible) {
  const auto tokenizer = load_json_tokenizer(
      with_expression(R"(\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+|\\p{L}+)"), "t.json", {});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const auto spaces = (*tokenizer)->encode(std::string(1 << 20, ' ') + "x");
  ASSERT_TRUE(spaces.ok()) << spaces.status();
  EXPECT_EQ(spaces->size(), 3u);
}

TEST(JsonTokenizer, TextsDoNotGrowWithoutBound) {
  std::string parts;
  for (int i = 0; i < 60; ++i) {
    absl::StrAppend(&parts, i > 0 ? "," : "",
                    R"({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"})");
  }
  const auto growing = load_json_tokenizer(
      absl::StrCat(R"({"normalizer": {"type": "Sequence", "normalizers": [)", parts,
                   R"(]}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})"),
      "t.json", {});
  ASSERT_TRUE(growing.ok()) << growing.status();
  EXPECT_EQ((*growing)->encode("a").status().code(), absl::StatusCode::kResourceExhausted);
  const auto byte_levels = load_json_tokenizer(
      absl::StrReplaceAll(
          absl::StrCat(R"({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [)", parts,
                       R"(]}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}})"),
          {{R"("type": "Replace", "pattern": {"String": "a"}, "content": "aa")",
            R"("type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
                "use_regex": false)"}}),
      "t.json", {});
  ASSERT_TRUE(byte_levels.ok()) << byte_levels.status();
  EXPECT_EQ((*byte_levels)->encode("a b").status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace deltaserve
