#include "models/tokenizer/sentencepiece_bpe.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <utility>

#include "models/base/text.h"
#include "models/checkpoint/file.h"
#include "models/tokenizer/json/utf8.h"
#include "models/tokenizer/sentencepiece_wrapper.h"

namespace deltaserve {
namespace {

// Messages that, behind a model's own, change one field of its trainer or normalizer.
constexpr std::string_view kNothing;
constexpr std::string_view kSpaceBefore("\x1a\x02\x18\x01", 4);
constexpr std::string_view kUnigram("\x12\x02\x18\x01", 4);
constexpr std::string_view kExtraSpacesGo("\x1a\x02\x20\x01", 4);

std::string model_file() {
  return *read_file(DELTASERVE_BUNDLED_MODEL "/tokenizer.model", 1 << 20);
}

struct Pair {
  explicit Pair(std::string file) : bytes(std::move(file)) {
    std::string error;
    library = SentencePieceModel::parse(bytes, &error);
    EXPECT_NE(library, nullptr) << error;
    own = SentencePieceBpe::make(bytes, *library);
  }
  std::string bytes;
  std::unique_ptr<SentencePieceModel> library;
  std::unique_ptr<const SentencePieceBpe> own;
};

Pair bundled(std::string_view change) {
  return Pair(str_cat(model_file(), change));
}

// Returns a field of a message with its length.
std::string field(char tag, const std::string& contents) {
  return std::string{tag, static_cast<char>(contents.size())} + contents;
}

std::string piece(const std::string& text, float score, char type) {
  std::string number(sizeof score, '\0');
  std::memcpy(number.data(), &score, sizeof score);
  return field('\x0a', field('\x0a', text) + '\x15' + number + '\x18' + type);
}

// Makes a model without byte_fallback, in which the characters c and d have no piece, and XY is
// user-defined.
std::string small_model(float score_of_abc) {
  std::string file = piece("<unk>", 0, 2) + piece("XY", 0, 4);
  const std::pair<const char*, float> pieces[] = {{"ab", -1},
                                                  {"cd", -2},
                                                  {"aa", -3},
                                                  {"\xe2\x96\x81"
                                                   "a",
                                                   -4},
                                                  {"abcd", -5},
                                                  {"abc", score_of_abc},
                                                  {"aaaa", -7},
                                                  {"a", -8},
                                                  {"b", -9},
                                                  {"\xe2\x96\x81", -10},
                                                  {"X", -11}};
  for (const auto& [text, score] : pieces) file += piece(text, score, 1);
  return file + field('\x12', "\x18\x02") + field('\x1a', std::string("\x18\x00\x20\x00", 4));
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
      case 2: text += "\xe2\x96\x81"; break;
      case 3: text += "\xf0\x9f\x90\xb6"; break;
      default: text += model.piece(static_cast<int32_t>(below(static_cast<size_t>(model.size()))));
    }
  }
  return text;
}

TEST(SentencePieceBpe, EncodesAsTheLibrary) {
  for (const std::string_view change : {kNothing, kSpaceBefore}) {
    const Pair pair = bundled(change);
    ASSERT_NE(pair.own, nullptr);
    std::minstd_rand random(1);
    for (int i = 0; i < 500; ++i) {
      const std::string text = random_text(*pair.library, &random);
      std::vector<int32_t> ids;
      ASSERT_TRUE(pair.own->encode(text, &ids).ok());
      ASSERT_EQ(ids, pair.library->encode(text)) << quoted(text);
    }
    std::vector<int32_t> none;
    ASSERT_TRUE(pair.own->encode("", &none).ok());
    EXPECT_TRUE(none.empty());
  }
}

TEST(SentencePieceBpe, CharactersWithoutAPiece) {
  const Pair pair(small_model(-6));
  ASSERT_NE(pair.own, nullptr);
  std::minstd_rand random(3);
  for (int i = 0; i < 5000; ++i) {
    std::string text;
    for (size_t n = random() % 30 + 1; n > 0; --n) text.push_back("abcdXYz "[random() % 8]);
    std::vector<int32_t> ids;
    ASSERT_TRUE(pair.own->encode(text, &ids).ok());
    ASSERT_EQ(ids, pair.library->encode(text)) << text;
  }
}

// Rows are merged in parts where no piece can cross.
TEST(SentencePieceBpe, LongTextsAreEncodedAsTheLibraryDoes) {
  const Pair pair = bundled(kNothing);
  std::minstd_rand random(2);
  std::string letters;
  for (int i = 0; i < 30'000; ++i) letters.push_back("eotainshrdlu0123"[random() % 16]);
  for (const std::string& text : {std::string(50'000, 'a'), letters, letters + " " + letters}) {
    std::vector<int32_t> ids;
    ASSERT_TRUE(pair.own->encode(text, &ids).ok());
    EXPECT_EQ(ids, pair.library->encode(text));
  }
}

TEST(SentencePieceBpe, OtherModelsAreTheLibrarys) {
  EXPECT_EQ(bundled(kUnigram).own, nullptr);
  EXPECT_EQ(bundled(kExtraSpacesGo).own, nullptr);
  EXPECT_EQ(Pair(small_model(-5)).own, nullptr);  // two pieces have one score
}

}  // namespace
}  // namespace deltaserve
