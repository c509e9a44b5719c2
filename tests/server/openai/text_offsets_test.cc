// Offsets of tokens must point into the text that is returned, whatever the bytes of the tokens.
#include "server/openai/text_offsets.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "models/tokenizer/load_tokenizer.h"
#include "server/base/json_text.h"

namespace deltaserve {
namespace {

class TextOffsets : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto loaded = load_tokenizer(DELTASERVE_SOURCE_DIR "/models/bundled/tokenizer.model");
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    tokenizer_ = loaded->release();
  }
  static void TearDownTestSuite() { delete tokenizer_; }

  static int32_t byte(const char* piece) { return tokenizer_->piece_id(piece); }

  static std::vector<int64_t> counted(const std::vector<int32_t>& ids) {
    OffsetCounter counter(0, tokenizer_->vocabulary().ill_formed());
    std::vector<int64_t> offsets;
    for (const int32_t id : ids)
      offsets.push_back(counter.next(tokenizer_->vocabulary().bytes(id)));
    return offsets;
  }

  static inline const Tokenizer* tokenizer_ = nullptr;
};

// Returns the characters of `text`, which is valid UTF-8.
std::vector<std::string> characters(const std::string& text) {
  std::vector<std::string> out;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xc0) != 0x80) out.emplace_back();
    out.back().push_back(c);
  }
  return out;
}

TEST_F(TextOffsets, BytesThatAreNoCharacterCountOneEach) {
  const int32_t stray = byte("<0x80>"), lead = byte("<0xE2>"), a = byte("a");
  ASSERT_GE(a, 0);
  EXPECT_EQ(counted({1, stray, stray, a}), (std::vector<int64_t>{0, 0, 1, 2}));
  EXPECT_EQ(counted({lead, a, a}), (std::vector<int64_t>{0, 1, 2}));
  const auto echoed = echo_ids({1, stray, stray, a}, SpecialTokens::kSkip, *tokenizer_);
  ASSERT_TRUE(echoed.ok());
  EXPECT_EQ(echoed->text, "\ufffd\ufffda");
  EXPECT_EQ(echoed->offsets, (std::vector<int64_t>{0, 0, 1, 2}));
}

TEST_F(TextOffsets, EveryByteOfACutCharacterCounts) {
  const int32_t lead = byte("<0xE2>"), second = byte("<0x82>"), a = byte("a");
  EXPECT_EQ(counted({lead, second, a}), (std::vector<int64_t>{0, 0, 2}));
  const auto echoed = echo_ids({lead, second, a}, SpecialTokens::kSkip, *tokenizer_);
  ASSERT_TRUE(echoed.ok());
  EXPECT_EQ(echoed->text, "\ufffd\ufffda");
  EXPECT_EQ(echoed->offsets, (std::vector<int64_t>{0, 0, 2}));
}

TEST_F(TextOffsets, TokensOfOneCharacterStandWhereItStands) {
  const std::vector<int32_t> euro = {byte("<0xE2>"), byte("<0x82>"), byte("<0xAC>"), byte("a")};
  EXPECT_EQ(counted(euro), (std::vector<int64_t>{0, 0, 0, 1}));
  EXPECT_EQ(offsets_in_text("\u20aca", euro, *tokenizer_), (std::vector<int64_t>{0, 0, 0, 1}));
}

TEST_F(TextOffsets, ATextIsFollowedAsItWasSent) {
  const std::string text = "Once \u00e9<s> upon";
  std::vector<int32_t> ids = tokenizer_->encode(text).value();
  ids.insert(ids.begin(), 1);
  const std::vector<int64_t> offsets = offsets_in_text(text, ids, *tokenizer_);
  const std::vector<std::string> all = characters(text);
  for (size_t i = 0; i < ids.size(); ++i) {
    const std::string bytes(tokenizer_->vocabulary().bytes(ids[i]));
    if (bytes.empty() || !is_valid_utf8(bytes) || offsets[i] == 0) continue;
    ASSERT_LT(offsets[i], static_cast<int64_t>(all.size()));
    EXPECT_EQ(all[static_cast<size_t>(offsets[i])], characters(bytes).front()) << i;
  }
}

TEST_F(TextOffsets, RandomTokensPointAtTheirCharacters) {
  std::mt19937 random(11);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<int32_t> ids;
    for (int i = 0; i < 12; ++i) {
      const bool any_byte = random() % 2 == 0;
      const int32_t first_byte = byte("<0x00>");
      ids.push_back(any_byte ? first_byte + static_cast<int32_t>(random() % 256)
                             : static_cast<int32_t>(random() % 4096));
    }
    const auto echoed = echo_ids(ids, SpecialTokens::kKeep, *tokenizer_);
    ASSERT_TRUE(echoed.ok());
    ASSERT_TRUE(is_valid_utf8(echoed->text));
    const std::vector<std::string> all = characters(echoed->text);
    int64_t last = 0;
    for (size_t i = 0; i < ids.size(); ++i) {
      const int64_t offset = echoed->offsets[i];
      EXPECT_GE(offset, last);
      last = offset;
      const std::string bytes(tokenizer_->vocabulary().bytes(ids[i]));
      if (bytes.empty() || !is_valid_utf8(bytes) || (offset == 0 && bytes[0] == ' ')) continue;
      ASSERT_LT(offset, static_cast<int64_t>(all.size()));
      EXPECT_EQ(all[static_cast<size_t>(offset)], characters(bytes).front());
    }
  }
}

}  // namespace
}  // namespace deltaserve
