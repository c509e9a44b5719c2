// Texts of any length are decoded as the library decodes them at once.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "models/base/text.h"
#include "models/tokenizer/sentencepiece/sentencepiece_tokenizer.h"
#include "models/tokenizer/sentencepiece/wrapper.h"
#include "tests/models/tokenizer/sentencepiece/sentencepiece_models.h"

namespace deltaserve {
namespace {

#define SPACE_MARK "\xe2\x96\x81"

// Pieces of all types that have a text.
std::string all_pieces() {
  std::string file = piece("<unk>", 0, TestPiece::kUnknown);
  file += piece("<s>", 0, TestPiece::kControl);
  for (const char* text : {SPACE_MARK, SPACE_MARK "a", "b", "c" SPACE_MARK "d", "\xc3\xa9", " "}) {
    file += piece(text, -1);
  }
  file += piece(SPACE_MARK "XY", 0, TestPiece::kUserDefined);
  file += piece(SPACE_MARK "unused", 0, TestPiece::kUnused);
  return file + byte_pieces();
}

TEST(SentencePieceDecoder, DecodesAsTheLibrary) {
  constexpr uint64_t kUnknownSurface = 44;
  const std::string surfaces[] = {"", bytes_field(2, bytes_field(kUnknownSurface, "<?>")),
                                  bytes_field(2, bytes_field(kUnknownSurface, ""))};
  std::minstd_rand random(7);
  for (const std::string& surface : surfaces) {
    for (const bool dummy_space : {false, true}) {
      for (const bool drop_extra_spaces : {false, true}) {
        const ModelChoices choices{.byte_fallback = true,
                                   .dummy_space = dummy_space,
                                   .drop_extra_spaces = drop_extra_spaces};
        const std::string file = all_pieces() + choices.bytes() + surface;
        std::string error;
        const auto library = SentencePieceModel::parse(file, &error);
        ASSERT_NE(library, nullptr) << error;
        const auto tokenizer = load_sentencepiece_tokenizer(file, "t.model", {});
        ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
        for (const size_t count : {size_t{10}, size_t{1023}, size_t{1100}, size_t{5000}}) {
          std::vector<int32_t> ids;
          const auto few = static_cast<uint32_t>(random() % 2 == 0 ? 12 : library->size());
          while (ids.size() < count) {
            const auto id = static_cast<int32_t>(random() % few);
            if (library->kind(id) != PieceKind::kControl) ids.push_back(id);
          }
          const auto text = (*tokenizer)->decode(ids, SpecialTokens::kKeep);
          ASSERT_TRUE(text.ok()) << text.status();
          ASSERT_EQ(*text, library->decode(ids)) << count;
        }
        // A text that begins with spaces, longer than what is decoded at once.
        std::vector<int32_t> spaces(2000, library->piece_id(SPACE_MARK));
        spaces.push_back(library->piece_id("b"));
        EXPECT_EQ((*tokenizer)->decode(spaces, SpecialTokens::kKeep).value(),
                  library->decode(spaces));
      }
    }
  }
}

}  // namespace
}  // namespace deltaserve
