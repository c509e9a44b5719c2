// No text behind another changes the ids that are called final.
#include <gtest/gtest.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <random>

#include "models/checkpoint/file.h"
#include "models/checkpoint/json.h"
#include "models/tokenizer/json/json_tokenizer.h"
#include "models/tokenizer/load_tokenizer.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr const char* kWords[] = {
    "a",   "b",  "ab",     "aab",    "hello",  "World",  " ",    "  ",  "\n",    "\r\n",
    "\t",  "'s", "'S",     "1",      "234",    ".",      "!!",   "-",   "_",     "<s>",
    "<x>", "<a", "b>",     "é",      "e",      "\u0301", "中",   "文",  "▁",     "ü",
    "ﬁ",   "가", "\u1100", "\u1161", "\u11a8", "😀",      "foo ", "Bar", "\u00a0"};

std::string random_text(std::minstd_rand* random, size_t most) {
  std::string text;
  for (size_t n = (*random)() % (most + 1); n > 0; --n) {
    text += kWords[(*random)() % std::size(kWords)];
  }
  return text;
}

// A way to encode a text, and to count its final ids.
struct Way {
  absl::StatusOr<std::vector<int32_t>> (Tokenizer::*encode)(std::string_view) const;
  absl::StatusOr<size_t> (Tokenizer::*final_ids)(std::string_view) const;
};

constexpr Way kWays[] = {{&Tokenizer::encode, &Tokenizer::final_ids},
                         {&Tokenizer::encode_as_text, &Tokenizer::final_ids_as_text}};

// Returns the final ids of all texts that were tried.
size_t check(const Tokenizer& tokenizer, const Way& way, const std::string& what, uint32_t seed) {
  std::minstd_rand random(seed);
  size_t count = 0;
  for (int round = 0; round < 60; ++round) {
    const std::string text = random_text(&random, 20);
    const absl::StatusOr<size_t> final_ids = (tokenizer.*way.final_ids)(text);
    if (!final_ids.ok()) continue;
    count += *final_ids;
    for (int more = 0; more < 8; ++more) {
      const std::string whole = text + random_text(&random, more == 0 ? 0 : 4);
      const auto ids = (tokenizer.*way.encode)(text);
      const auto others = (tokenizer.*way.encode)(whole);
      if (!ids.ok() || !others.ok()) continue;
      EXPECT_LE(*final_ids, std::min(ids->size(), others->size())) << what << text;
      if (*final_ids > std::min(ids->size(), others->size())) return count;
      const bool same = std::equal(ids->begin(), ids->begin() + *final_ids, others->begin());
      EXPECT_TRUE(same) << what << " '" << text << "' '" << whole << "' " << *final_ids;
      if (!same) return count;
    }
  }
  return count;
}

size_t check(const Tokenizer& tokenizer, const std::string& what, uint32_t seed) {
  size_t count = 0;
  for (const Way& way : kWays) count += check(tokenizer, way, what, seed);
  return count;
}

json::object cases() {
  const auto text = read_file(DELTASERVE_TOKENIZER_CASES, 1 << 20);
  return parse_json_object(text.value(), "cases").value();
}

TEST(FinalIds, WholeFiles) {
  const json::object all = cases();
  for (const json::value& entry : all.at("whole").as_array()) {
    const std::string file = json::serialize(entry.at("file"));
    const auto tokenizer = load_json_tokenizer(file, "t.json", {});
    ASSERT_TRUE(tokenizer.ok());
    for (uint32_t seed = 1; seed < 5; ++seed) check(**tokenizer, file, seed);
  }
}

// A model of single characters shows every border of pieces by their last character.
json::value showing_model() {
  json::object vocab;
  const auto add = [&](const std::string& text) {
    vocab[text] = static_cast<int64_t>(vocab.size());
    vocab[text + "|"] = static_cast<int64_t>(vocab.size());
  };
  add("?");
  for (const char* word : kWords) {
    const std::string_view text = word;
    for (size_t i = 0; i < text.size();) {
      size_t n = 1;
      while (i + n < text.size() && (static_cast<uint8_t>(text[i + n]) & 0xC0) == 0x80) ++n;
      add(std::string(text.substr(i, n)));
      i += n;
    }
  }
  return json::object{{"type", "BPE"},
                      {"vocab", vocab},
                      {"merges", json::array()},
                      {"unk_token", "?"},
                      {"end_of_word_suffix", "|"}};
}

TEST(FinalIds, PartsByThemselves) {
  const json::object all = cases();
  const json::value model = showing_model();
  for (const auto& [group, key] :
       {std::pair("normalizers", "normalizer"), std::pair("pre_tokenizers", "pre_tokenizer")}) {
    for (const json::value& entry : all.at(group).as_array()) {
      json::object file{{"model", model}, {key, entry.at(key)}};
      // Pieces are needed for ids to be final.
      if (std::string_view(key) == "normalizer") {
        file["pre_tokenizer"] = json::object{{"type", "WhitespaceSplit"}};
      }
      const auto tokenizer = load_json_tokenizer(json::serialize(file), "t.json", {});
      ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
      for (uint32_t seed = 1; seed < 5; ++seed) {
        check(**tokenizer, json::serialize(entry.at(key)), seed);
      }
    }
  }
}

size_t final_of(std::string_view file, std::string_view text) {
  return load_json_tokenizer(file, "t.json", {}).value()->final_ids(text).value();
}

// It would be easy to call no id final.
TEST(FinalIds, AreMostOfThem) {
  const std::string bytes =
      R"({"model": {"type": "BPE", "unk_token": "a", "vocab": {"a": 0, "b": 1, "\u0120": 2,
          "c": 3}, "merges": []}, "pre_tokenizer": {"type": "ByteLevel",
          "add_prefix_space": false, "trim_offsets": true}})";
  EXPECT_EQ(final_of(bytes, "ab ab ab"), 5u);
  const std::string spaced =
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "\u2581": 2, "\u2581a": 3, "ab": 4},
          "merges": ["\u2581 a", "a b"]}, "normalizer": {"type": "Sequence", "normalizers": [
          {"type": "Prepend", "prepend": "\u2581"},
          {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}})";
  EXPECT_EQ(final_of(spaced, "ab ab ab"), 4u);
}

AddedToken added(int32_t id, const std::string& text) {
  AddedToken token;
  token.id = id;
  token.text = text;
  return token;
}

TEST(FinalIds, OfASentencepieceModel) {
  TokenizerSettings settings;
  settings.special_tokens = {"<s>"};
  AddedToken left = added(4096, "World");
  left.strip_left = true;
  AddedToken right = added(4097, "hello");
  right.strip_right = true;
  AddedToken word = added(4098, "ab");
  word.whole_word = true;
  for (const std::vector<AddedToken>& tokens : {std::vector<AddedToken>{},
                                                {left},
                                                {right, word},
                                                {left, right, word, added(4099, "<x>")}}) {
    settings.added_tokens = tokens;
    const auto tokenizer = load_tokenizer(DELTASERVE_BUNDLED_MODEL "/tokenizer.model", settings);
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
    for (const Way& way : kWays) {
      for (uint32_t seed = 1; seed < 20; ++seed) {
        EXPECT_GT(check(**tokenizer, way, "sentencepiece", seed), 0u);
      }
    }
  }
}

TEST(FinalIds, OfASentencepieceModelAreMostOfThem) {
  TokenizerSettings settings;
  settings.special_tokens = {"</s>"};
  const auto tokenizer = load_tokenizer(DELTASERVE_BUNDLED_MODEL "/tokenizer.model", settings);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const std::string text = "Once upon a time</s>the girl went";
  EXPECT_GE((*tokenizer)->final_ids(text).value() + 2, (*tokenizer)->encode(text)->size());
  // Without the token it is the last word that may grow, as for every text.
  EXPECT_GE((*tokenizer)->final_ids_as_text(text).value() + 2,
            (*tokenizer)->encode_as_text(text)->size());
  EXPECT_GT((*tokenizer)->encode_as_text(text)->size(), (*tokenizer)->encode(text)->size());
}

}  // namespace
}  // namespace deltaserve
