// Long work ends soon once nobody wants it: counted in steps, not by a clock.
#include "models/base/cancellation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "models/base/limits.h"
#include "models/checkpoint/file.h"
#include "models/tokenizer/base/tokenizer.h"
#include "models/tokenizer/json/json_tokenizer.h"
#include "models/tokenizer/sentencepiece/sentencepiece_tokenizer.h"
#include "tests/models/tokenizer/sentencepiece/sentencepiece_models.h"

namespace deltaserve {
namespace {

// So many steps may still be done when a cancellation comes: up to the next question, and a piece.
constexpr uint64_t kMostAfter = 4 * kStepsPerQuestion;

TEST(Cancellation, ScopesAskAllAroundThem) {
  EXPECT_TRUE(check_wanted(100 * kStepsPerQuestion).ok());
  Cancellation outer, inner;
  const CancellationScope outer_scope(&outer);
  {
    const CancellationScope inner_scope(&inner);
    EXPECT_TRUE(check_wanted(kStepsPerQuestion - 1).ok());
    EXPECT_EQ(inner.steps(), 0u);
    EXPECT_TRUE(check_wanted(1).ok());
    EXPECT_EQ(inner.steps(), kStepsPerQuestion);
    EXPECT_EQ(outer.steps(), kStepsPerQuestion);
    outer.cancel();
    EXPECT_TRUE(absl::IsCancelled(check_wanted(kStepsPerQuestion)));
    EXPECT_TRUE(absl::IsCancelled(check_wanted(1)));  // from then on always
  }
  Cancellation late;
  late.set_deadline(std::chrono::steady_clock::now());
  const CancellationScope late_scope(&late);
  EXPECT_TRUE(absl::IsDeadlineExceeded(check_wanted(kStepsPerQuestion)));
}

struct Case {
  const char* name;
  const char* json;         // null: the bundled model's tokenizer
  std::string change = {};  // fields behind that one's
};

const Case kCases[] = {
    {"sentencepiece", nullptr},
    {"sentencepiece_unigram", nullptr, bytes_field(2, int_field(3, 1))},
    {"sentencepiece_spaces", nullptr, bytes_field(3, int_field(4, 1))},
    {"bpe", R"({"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":null,
      "model":{"type":"BPE","vocab":{"a":0,"b":1,"aa":2,"aaaa":3},"merges":["a a","aa aa"]}})"},
    {"pieces", R"({"version":"1.0","added_tokens":[],"normalizer":null,
      "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true},
      "model":{"type":"BPE","vocab":{"a":0,"b":1,"\u0120":2},"merges":[]}})"},
    {"unigram", R"({"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":null,
      "model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["a",-1],["aa",-1.5],["b",-2]]}})"},
    {"normal_form", R"({"version":"1.0","added_tokens":[],"normalizer":{"type":"NFD"},
      "pre_tokenizer":null,
      "model":{"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["a",-1]]}})"},
    {"lowercase", R"({"version":"1.0","added_tokens":[],"normalizer":{"type":"Lowercase"},
      "pre_tokenizer":{"type":"Whitespace"},
      "model":{"type":"WordLevel","vocab":{"a":0,"[UNK]":1},"unk_token":"[UNK]"}})"},
    {"added_tokens",
     R"({"version":"1.0","added_tokens":[{"id":2,"content":"<x>","single_word":false,
      "lstrip":false,"rstrip":false,"normalized":false,"special":true}],"normalizer":null,
      "pre_tokenizer":null,
      "model":{"type":"WordLevel","vocab":{"a":0,"[UNK]":1},"unk_token":"[UNK]"}})"},
};

class CancelledEncoding : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const auto file = read_file(DELTASERVE_BUNDLED_MODEL "/tokenizer.model", 1 << 20);
    auto loaded = GetParam().json == nullptr
                      ? load_sentencepiece_tokenizer(*file + GetParam().change, "t.model", {})
                      : load_json_tokenizer(GetParam().json, "t.json", {});
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    tokenizer_ = *std::move(loaded);
  }

  // Texts that are cut, that are not, and that change under a normal form.
  std::vector<std::string> texts() const {
    constexpr size_t kBytes = 4 << 20;
    std::vector<std::string> texts = {std::string(kBytes, 'a'), "", ""};
    while (texts[1].size() < kBytes) texts[1] += "ab <x> ";
    while (texts[2].size() < kBytes) texts[2] += "\xc3\xa4";
    return texts;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
};

TEST_P(CancelledEncoding, DoesNoMoreThanAPiece) {
  for (const std::string& text : texts()) {
    Cancellation cancellation;
    cancellation.cancel();
    const CancellationScope scope(&cancellation);
    EXPECT_TRUE(absl::IsCancelled(tokenizer_->encode(text).status())) << text.substr(0, 10);
    EXPECT_TRUE(absl::IsCancelled(tokenizer_->encode_as_text(text).status()));
    EXPECT_LE(cancellation.steps(), 2 * kMostAfter);
  }
}

// Somebody leaves while the text is encoded.
TEST_P(CancelledEncoding, EndsInTheMiddle) {
  const std::string text = texts()[0];
  Cancellation cancellation;
  uint64_t before = 0;
  std::thread client([&] {
    while (cancellation.steps() < 4 * kStepsPerQuestion) std::this_thread::yield();
    cancellation.cancel();
    before = cancellation.steps();
  });
  absl::Status status;
  {
    const CancellationScope scope(&cancellation);
    // The client may be late: then the text is encoded again.
    while (status.ok()) status = tokenizer_->encode(text).status();
  }
  client.join();
  EXPECT_TRUE(absl::IsCancelled(status)) << status;
  EXPECT_LE(cancellation.steps(), before + kMostAfter);
}

TEST_P(CancelledEncoding, DecodingEndsAsWell) {
  const std::vector<int32_t> ids(4 << 20, tokenizer_->encode("a").value().at(0));
  Cancellation cancellation;
  cancellation.cancel();
  const CancellationScope scope(&cancellation);
  EXPECT_TRUE(absl::IsCancelled(tokenizer_->decode(ids, SpecialTokens::kKeep).status()));
  EXPECT_LE(cancellation.steps(), kMostAfter);
}

INSTANTIATE_TEST_SUITE_P(All, CancelledEncoding, testing::ValuesIn(kCases),
                         [](const auto& instance) { return std::string(instance.param.name); });

// A text that only the library can encode is refused before it starts: nothing could stop it.
TEST(UncutText, IsRefused) {
  const auto file = read_file(DELTASERVE_BUNDLED_MODEL "/tokenizer.model", 1 << 20);
  const std::string never = piece("never", -HUGE_VALF);
  const auto tokenizer = load_sentencepiece_tokenizer(*file + never, "t.model", {});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const std::string text(limits::kUncutTextBytes + 1, 'a');
  EXPECT_TRUE((*tokenizer)->encode(text.substr(1)).ok());
  const absl::Status refused = (*tokenizer)->encode(text).status();
  EXPECT_TRUE(absl::IsResourceExhausted(refused));
  EXPECT_EQ(refused.message(),
            "the tokenizer can encode at most 65536 bytes at once, and 65537 of the text cannot be "
            "cut");
}

}  // namespace
}  // namespace deltaserve
