#include "models/tokenizer/sentencepiece/encoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <utility>

#include "models/base/text.h"
#include "models/checkpoint/file.h"
#include "models/tokenizer/json/utf8.h"
#include "models/tokenizer/sentencepiece/wrapper.h"
#include "tests/models/tokenizer/sentencepiece/sentencepiece_models.h"

namespace deltaserve {
namespace {

#define SPACE_MARK "\xe2\x96\x81"

// Messages that, behind a model's own, change one field of its trainer or normalizer.
const std::string kNothing;
const std::string kSpaceBefore = bytes_field(3, int_field(3, 1));
const std::string kUnigram = bytes_field(2, int_field(3, 1));
const std::string kWords = bytes_field(2, int_field(3, 3));
const std::string kCharacters = bytes_field(2, int_field(3, 4));
const std::string kExtraSpacesGo = bytes_field(3, int_field(4, 1));

std::string model_file() {
  return *read_file(DELTASERVE_BUNDLED_MODEL "/tokenizer.model", 1 << 20);
}

struct Pair {
  explicit Pair(std::string file) : bytes(std::move(file)) {
    std::string error;
    library = SentencePieceModel::parse(bytes, &error);
    EXPECT_NE(library, nullptr) << error;
    own = SentencePieceEncoder::make(bytes, *library);
  }

  void expect_same(const std::string& text) const {
    std::vector<int32_t> ids;
    const absl::Status status = own->encode(text, &ids);
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_EQ(ids, library->encode(text)) << quoted(text);
  }

  std::string bytes;
  std::unique_ptr<SentencePieceModel> library;
  std::unique_ptr<const SentencePieceEncoder> own;
};

Pair bundled(const std::string& change) {
  return Pair(model_file() + change);
}

// Pieces for models in which the characters c and d have no piece, and XY is user-defined.
std::string small_pieces(float score_of_abc) {
  std::string file = piece("<unk>", 0, TestPiece::kUnknown);
  file += piece("XY", 0, TestPiece::kUserDefined);
  const std::pair<const char*, float> pieces[] = {
      {"ab", -1},           {"cd", -2},   {"aa", -3},
      {SPACE_MARK "a", -4}, {"abcd", -5}, {"abc", score_of_abc},
      {"aaaa", -7},         {"a", -8},    {"b", -9},
      {SPACE_MARK, -10},    {"X", -11}};
  for (const auto& [text, score] : pieces) file += piece(text, score);
  return file;
}

std::string small_model(float score_of_abc) {
  return small_pieces(score_of_abc) + ModelChoices{.kind = TestKind::kBpe}.bytes();
}

std::string random_text(const SentencePieceModel& model, std::minstd_rand* random) {
  std::string text;
  const auto below = [random](size_t end) { return (*random)() % end; };
  for (size_t parts = below(40) + 1; parts > 0; --parts) {
    switch (below(6)) {
      case 0: {
        const char32_t code = static_cast<char32_t>(1 + below(0xD7FF));
        tokenizer_json::append_character(code, &text);
        break;
      }
      case 1: text += std::string(below(40), "ab e"[below(4)]); break;
      case 2: text += SPACE_MARK; break;
      case 3: text += "\xf0\x9f\x90\xb6"; break;
      default: text += model.piece(static_cast<int32_t>(below(static_cast<size_t>(model.size()))));
    }
  }
  return text;
}

TEST(SentencePieceEncoder, EncodesAsTheLibrary) {
  for (const std::string& change :
       {kNothing, kSpaceBefore, kExtraSpacesGo, kUnigram, kWords, kCharacters}) {
    const Pair pair = bundled(change);
    ASSERT_NE(pair.own, nullptr);
    std::minstd_rand random(1);
    for (int i = 0; i < 300; ++i) pair.expect_same(random_text(*pair.library, &random));
    std::vector<int32_t> none;
    ASSERT_TRUE(pair.own->encode("", &none).ok());
    EXPECT_TRUE(none.empty());
  }
}

TEST(SentencePieceEncoder, CharactersWithoutAPiece) {
  // With -5 two pieces have one score.
  for (const float score_of_abc : {-6.0f, -5.0f}) {
    const Pair pair(small_model(score_of_abc));
    ASSERT_NE(pair.own, nullptr);
    std::minstd_rand random(3);
    for (int i = 0; i < 5000; ++i) {
      std::string text;
      for (size_t n = random() % 30 + 1; n > 0; --n) text.push_back("abcdXYz "[random() % 8]);
      pair.expect_same(text);
    }
  }
}

// Rows are merged in parts where no piece can cross, and ways are settled where all meet.
TEST(SentencePieceEncoder, LongTextsAreEncodedAsTheLibraryDoes) {
  std::minstd_rand random(2);
  std::string letters;
  for (int i = 0; i < 30'000; ++i) letters.push_back("eotainshrdlu0123"[random() % 16]);
  for (const std::string& change : {kNothing, kUnigram, kExtraSpacesGo}) {
    const Pair pair = bundled(change);
    for (const std::string& text : {std::string(50'000, 'a'), letters, letters + " " + letters,
                                    std::string(50'000, ' ') + "a"}) {
      pair.expect_same(text);
    }
  }
}

// Here the best ways to two neighbouring places never meet, so no id is settled before the end.
TEST(SentencePieceEncoder, WaysThatNeverMeet) {
  const Pair pair(piece("<unk>", 0, TestPiece::kUnknown) + piece("a", -1) + piece("aa", -1.5f) +
                  ModelChoices{}.bytes());
  ASSERT_NE(pair.own, nullptr);
  pair.expect_same(std::string(100'001, 'a'));
}

// All choices that a model has, for texts with everything that a normalizer looks at.
TEST(SentencePieceEncoder, EveryNormalizer) {
  const std::string map = CharacterMap::compile({{"A", "a"},
                                                 {"B", "bb"},
                                                 {"\t", " "},
                                                 {"\xe3\x80\x80", " "},
                                                 {"Z", ""},
                                                 {"ZZ", "c d "},
                                                 {"\xef\xbf\xbd", "ab"},
                                                 {"XYZ", "never"}});
  const std::string units[] = {"a",
                               "b",
                               "ab",
                               "cd",
                               "A",
                               "B",
                               " ",
                               "\t",
                               "Z",
                               "ZZ",
                               "XY",
                               "X",
                               "z",
                               " ",
                               "  ",
                               SPACE_MARK,
                               "\xe3\x80\x80",
                               "\xef\xbf\xbd",
                               "\xff",
                               "\xe2\x96",
                               "\xed\xa0\x80",
                               "\xf0\x9f\x90\xb6",
                               "a",
                               "aa"};
  std::minstd_rand random(4);
  for (int bits = 0; bits < 256; ++bits) {
    const auto has = [bits](int bit) { return (bits >> bit & 1) != 0; };
    const ModelChoices choices{.kind = static_cast<TestKind>(1 + bits % 4),
                               .byte_fallback = has(2),
                               .space_behind = has(3),
                               .dummy_space = has(4),
                               .drop_extra_spaces = has(5),
                               .mark_spaces = has(6),
                               .character_map = has(7) ? map : ""};
    std::string file = small_pieces(-6) + piece("a ", -3.5f) + piece(" ", -12);
    if (choices.byte_fallback) file += byte_pieces();
    const Pair pair(file + choices.bytes());
    ASSERT_NE(pair.own, nullptr);
    for (int i = 0; i < 300; ++i) {
      std::string text;
      for (size_t n = random() % 12; n > 0; --n) text += units[random() % std::size(units)];
      SCOPED_TRACE(bits);
      pair.expect_same(text);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(SentencePieceEncoder, UnigramModelsMayHaveUnusedPieces) {
  const Pair pair(small_pieces(-6) + piece("abab", -0.5f, TestPiece::kUnused) +
                  piece("abXY", 0, TestPiece::kUserDefined) + ModelChoices{}.bytes());
  ASSERT_NE(pair.own, nullptr);
  std::minstd_rand random(5);
  for (int i = 0; i < 3000; ++i) {
    std::string text;
    for (size_t n = random() % 20 + 1; n > 0; --n) text.push_back("abcdXYz "[random() % 8]);
    pair.expect_same(text);
  }
}

// The library looks words and characters up among pieces of all types, and gives no ids to a text
// with a control piece.
TEST(SentencePieceEncoder, WordsAndCharacters) {
  for (const TestKind kind : {TestKind::kWords, TestKind::kCharacters}) {
    for (const bool byte_fallback : {false, true}) {
      const Pair pair(small_pieces(-6) + piece("e", 0, TestPiece::kControl) +
                      piece("g", 0, TestPiece::kUnused) + piece(SPACE_MARK "aXYb", -2) +
                      piece(SPACE_MARK "<unk>", -2) + (byte_fallback ? byte_pieces() : "") +
                      ModelChoices{.kind = kind, .byte_fallback = byte_fallback}.bytes());
      ASSERT_NE(pair.own, nullptr);
      std::minstd_rand random(6);
      const std::string units[] = {"a",  "aXYb",  " ",      " aXYb",    "XY",     "g",
                                   "ab", "<unk>", "<0x41>", "\xc3\xa9", " <unk>", "q"};
      for (int i = 0; i < 3000; ++i) {
        std::string text = i % 50 == 0 ? "e" : "";
        for (size_t n = random() % 12; n > 0; --n) text += units[random() % std::size(units)];
        pair.expect_same(text);
        if (testing::Test::HasFatalFailure()) return;
      }
      pair.expect_same(std::string(100'000, 'q'));
      pair.expect_same(std::string(100'000, 'a') + " ab " + std::string(70'000, 'X'));
    }
  }
}

// An unused piece stands for the pair of which it could last be made, in any part of the text.
TEST(SentencePieceEncoder, BpeModelsMayHaveUnusedPieces) {
  constexpr auto kUnused = TestPiece::kUnused;
  // Some can be made of several pairs, of other unused pieces, of characters without a piece, or
  // of one another.
  const std::string unused[] = {
      piece("abab", -0.5f, kUnused) + piece("ba", -3, kUnused) + piece("aba", -4, kUnused),
      piece("aaa", -2.5f, kUnused) + piece("ac", -1.5f, kUnused) + piece("ca", -1.5f, kUnused),
      piece("bb", -5, kUnused) + piece("bbb", -0.5f, kUnused) + piece("bbbb", -5, kUnused) +
          piece("c", 0, kUnused) + piece("dd", -3, kUnused) + piece("XYa", -1, kUnused)};
  for (const std::string& pieces : unused) {
    for (const bool byte_fallback : {false, true}) {
      const Pair pair(small_pieces(-6) + pieces + (byte_fallback ? byte_pieces() : "") +
                      ModelChoices{.kind = TestKind::kBpe, .byte_fallback = byte_fallback}.bytes());
      ASSERT_NE(pair.own, nullptr);
      std::minstd_rand random(7);
      for (int i = 0; i < 5000; ++i) {
        std::string text;
        for (size_t n = random() % 40 + 1; n > 0; --n)
          text.push_back("aaabbbcdXYz "[random() % 12]);
        pair.expect_same(text);
        if (testing::Test::HasFatalFailure()) return;
      }
      // The rows of long texts are merged one by one.
      for (int i = 0; i < 3; ++i) {
        std::string text;
        while (text.size() < 20'000) text.push_back("aaabbbcdXYz "[random() % 12]);
        pair.expect_same(text);
      }
    }
  }
}

// A piece of another type may have the same text as one that is merged, and then decides its id.
TEST(SentencePieceEncoder, PiecesOfTwoTypes) {
  const std::string reserved[] = {
      piece("abcd", 0, TestPiece::kControl), piece("e", 0, TestPiece::kControl),
      piece("ab", 0, TestPiece::kControl) + piece("abb", -1, TestPiece::kUnused),
      piece("XY", 0, TestPiece::kControl), piece("aa", 0, TestPiece::kControl)};
  const std::string units[] = {"ab", "abcd", "a", "b", "XY", "cd", "z", " "};
  for (const std::string& pieces : reserved) {
    const Pair pair(small_pieces(-6) + pieces + ModelChoices{.kind = TestKind::kBpe}.bytes());
    ASSERT_NE(pair.own, nullptr);
    std::minstd_rand random(8);
    for (int i = 0; i < 3000; ++i) {
      std::string text = i % 50 == 0 ? "e" : "";
      for (size_t n = random() % 6; n > 0; --n) text += units[random() % std::size(units)];
      pair.expect_same(text);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(SentencePieceEncoder, OtherModelsAreTheLibrarys) {
  EXPECT_EQ(Pair(small_model(-6) + piece("bb", -HUGE_VALF)).own, nullptr);
  EXPECT_EQ(Pair(small_model(-6) + piece(std::string("b\0", 2), -1)).own, nullptr);
}

// A known number with another type, or with a value that the schema does not have, says nothing.
TEST(SentencePieceEncoder, UnknownFieldsSayNothing) {
  const std::string changes[] = {
      bytes_field(2, bytes_field(35, "") + bytes_field(24, "x") + bytes_field(3, "")),
      bytes_field(2, int_field(3, 7)), bytes_field(3, bytes_field(3, "") + int_field(2, 1)),
      int_field(1, 1) + int_field(2, 1) + int_field(3, 1),
      bytes_field(1, bytes_field(1, "zz") + int_field(2, 1) + bytes_field(3, "\x05"))};
  for (const TestKind kind : {TestKind::kUnigram, TestKind::kBpe, TestKind::kCharacters}) {
    for (const std::string& change : changes) {
      const Pair pair(
          small_pieces(-6) + int_field(1, 3) +
          ModelChoices{.kind = kind, .space_behind = true, .dummy_space = true}.bytes() + change);
      ASSERT_NE(pair.own, nullptr);
      for (const char* text : {"abcd  ab", "\xc3\xa9\xc3\xa9 aXYb", " zz "}) pair.expect_same(text);
    }
  }
}

// A text that becomes too long when it is normalized ends before it fills the memory.
TEST(SentencePieceEncoder, GrowthIsBounded) {
  const std::string map = CharacterMap::compile({{"x", std::string(64, 'a')}});
  for (const TestKind kind : {TestKind::kUnigram, TestKind::kBpe, TestKind::kCharacters}) {
    const Pair pair(piece("<unk>", 0, TestPiece::kUnknown) + piece("a", -1) + piece("aa", -1.5f) +
                    ModelChoices{.kind = kind, .character_map = map}.bytes());
    ASSERT_NE(pair.own, nullptr);
    pair.expect_same(std::string(1000, 'x'));
    std::vector<int32_t> ids;
    EXPECT_TRUE(absl::IsResourceExhausted(pair.own->encode(std::string(100'000, 'x'), &ids)));
  }
}

}  // namespace
}  // namespace deltaserve
