// The memory that encoding and decoding take, counted in bytes that are allocated at one time.
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "models/base/limits.h"
#include "models/checkpoint/file.h"
#include "models/tokenizer/base/tokenizer.h"
#include "models/tokenizer/json/json_tokenizer.h"
#include "models/tokenizer/json/utf8.h"
#include "models/tokenizer/sentencepiece/sentencepiece_tokenizer.h"
#include "tests/models/tokenizer/sentencepiece/sentencepiece_models.h"

namespace {

std::atomic<size_t> held_bytes{0};
std::atomic<size_t> most_bytes{0};

// Inlined, the two would look to the compiler like a mismatch of malloc() and delete.
[[gnu::noinline]] void* count(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  const size_t held = held_bytes += malloc_usable_size(memory);
  size_t most = most_bytes;
  while (held > most && !most_bytes.compare_exchange_weak(most, held)) {
  }
  return memory;
}

[[gnu::noinline]] void release(void* memory) {
  held_bytes -= malloc_usable_size(memory);
  std::free(memory);
}

size_t rounded(size_t size, std::align_val_t alignment) {
  const auto step = static_cast<size_t>(alignment);
  return (size + step - 1) / step * step;
}

}  // namespace

// All that C++ allocates in this program, libraries included.
void* operator new(size_t size) {
  return count(std::malloc(std::max<size_t>(size, 1)));
}
void* operator new(size_t size, std::align_val_t alignment) {
  return count(std::aligned_alloc(static_cast<size_t>(alignment), rounded(size, alignment)));
}
void operator delete(void* memory) noexcept {
  release(memory);
}
void operator delete(void* memory, size_t) noexcept {
  release(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  release(memory);
}
void operator delete(void* memory, size_t, std::align_val_t) noexcept {
  release(memory);
}

namespace deltaserve {
namespace {

constexpr size_t kMostForAByte = 24;
constexpr size_t kMostBeside = size_t{4} << 20;  // whatever the text is
// Vectors that double have their worst size just above a power of two.
constexpr size_t kTextBytes = (size_t{1} << 20) + 1;

#define BYTE_LEVEL R"({"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true})"

struct Case {
  const char* name;
  const char* json;         // null: the bundled model's tokenizer
  std::string change = {};  // of that one
};

const Case kCases[] = {
    {"sentencepiece", nullptr},
    {"sentencepiece_unigram", nullptr, bytes_field(2, int_field(3, 1))},
    {"sentencepiece_words", nullptr, bytes_field(2, int_field(3, 3))},
    {"sentencepiece_characters", nullptr, bytes_field(2, int_field(3, 4))},
    {"sentencepiece_spaces", nullptr, bytes_field(3, int_field(3, 1) + int_field(4, 1))},
    {"bpe", R"({"version":"1.0","added_tokens":[],"normalizer":null,"pre_tokenizer":null,
      "decoder":{"type":"ByteFallback"},
      "model":{"type":"BPE","vocab":{"a":0,"b":1,"aa":2,"aaaa":3,"u":4},"merges":["a a","aa aa"],
      "unk_token":"u"}})"},
    {"byte_level", R"({"version":"1.0","added_tokens":[],
      "normalizer":{"type":"NFC"},"pre_tokenizer":)" BYTE_LEVEL R"(,"decoder":)" BYTE_LEVEL R"(,
      "model":{"type":"BPE","vocab":{"a":0,"b":1,"\u0120":2,"aa":3,"aaaa":4},
      "merges":["a a","aa aa"]}})"},
    {"unigram", R"({"version":"1.0","added_tokens":[],
      "normalizer":{"type":"Replace","pattern":{"String":" "},"content":"_"},
      "pre_tokenizer":null,"decoder":{"type":"Replace","pattern":{"String":"_"},"content":" "},
      "model":{"type":"Unigram","unk_id":0,
      "vocab":[["<unk>",0],["a",-1],["aa",-1.5],["b",-2],["_",-2]]}})"},
};

class TokenizerMemory : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const Case& one = GetParam();
    const auto file = read_file(DELTASERVE_BUNDLED_MODEL "/tokenizer.model", 1 << 20);
    auto loaded = one.json == nullptr
                      ? load_sentencepiece_tokenizer(*file + one.change, "t.model", {})
                      : load_json_tokenizer(one.json, "t.json", {});
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    tokenizer_ = *std::move(loaded);
    // Tables for long texts are made for the first one.
    ASSERT_TRUE(tokenizer_->encode(std::string(100'000, 'a')).ok());
  }

  // Returns the bytes that `work` holds at most beyond what was there before.
  template <class Work>
  static size_t most_held(const Work& work) {
    const size_t before = held_bytes;
    most_bytes = before;
    work();
    return most_bytes - before;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
};

std::string random_text(const char* alphabet, size_t letters) {
  std::minstd_rand random(1);
  std::string text;
  while (text.size() < kTextBytes) text.push_back(alphabet[random() % letters]);
  return text;
}

std::string random_characters(char32_t first, char32_t end) {
  std::minstd_rand random(2);
  std::string text;
  while (text.size() < kTextBytes) {
    tokenizer_json::append_character(first + static_cast<char32_t>(random() % (end - first)),
                                     &text);
  }
  return text;
}

struct Text {
  const char* name;
  std::string text;
};

std::vector<Text> texts() {
  return {{"a", std::string(kTextBytes, 'a')},
          {"spaces", std::string(kTextBytes, ' ')},
          {"base64",
           random_text("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 64)},
          {"cjk", random_characters(0x4E00, 0x9FFF)},
          {"two_byte_letters", random_characters(0x80, 0x800)},
          {"controls", random_characters(1, 0x20)}};
}

TEST_P(TokenizerMemory, EncodingAndDecodingTake24BytesAByte) {
  for (const Text& one : texts()) {
    std::vector<int32_t> ids;
    const size_t encoding = most_held([&] {
      auto encoded = tokenizer_->encode(one.text);
      ASSERT_TRUE(encoded.ok()) << encoded.status();
      ids = *std::move(encoded);
    });
    EXPECT_LE(encoding, kMostForAByte * one.text.size() + kMostBeside) << one.name;
    const size_t parts = most_held([&] {
      const TextPart part{one.text, false};
      ASSERT_TRUE(tokenizer_->encode_parts({&part, 1}).ok());
    });
    EXPECT_LE(parts, kMostForAByte * one.text.size() + kMostBeside) << one.name;
    std::string text;
    const size_t decoding =
        most_held([&] { text = tokenizer_->decode(ids, SpecialTokens::kKeep).value(); });
    const size_t bytes = std::max(text.size(), ids.size());
    EXPECT_LE(decoding, kMostForAByte * bytes + kMostBeside) << one.name;
    RecordProperty(one.name, static_cast<int>(encoding * 100 / one.text.size()));
  }
}

INSTANTIATE_TEST_SUITE_P(All, TokenizerMemory, testing::ValuesIn(kCases),
                         [](const auto& instance) { return std::string(instance.param.name); });

// The text of a list of long tokens may be thousands of times as long as the request.
TEST(DecodedText, EndsAtALimit) {
  const std::string token(4000, 'a');
  const std::string model =
      piece("<unk>", 0, TestPiece::kUnknown) + piece(token, -1) + ModelChoices{}.bytes();
  const std::string json =
      R"({"version":"1.0","added_tokens":[],"model":{"type":"WordLevel","unk_token":"u",)"
      R"("vocab":{"u":0,")" +
      token + R"(":1}}})";
  const std::vector<int32_t> ids(limits::kDecodedBytes / token.size() + 1, 1);
  absl::StatusOr<std::unique_ptr<Tokenizer>> both[] = {
      load_sentencepiece_tokenizer(model, "t.model", {}), load_json_tokenizer(json, "t.json", {})};
  for (const auto& loaded : both) {
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    const Tokenizer& tokenizer = **loaded;
    EXPECT_TRUE(absl::IsResourceExhausted(tokenizer.decode(ids, SpecialTokens::kKeep).status()));
    EXPECT_TRUE(tokenizer.decode({ids.begin(), ids.end() - 2}, SpecialTokens::kKeep).ok());
  }
}

}  // namespace
}  // namespace deltaserve
