// Compares our answers to small inputs that surprise with those of `tokenizers`, which
// tests/models/tokenizer/json/record_cases.py has recorded.
#include <gtest/gtest.h>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "models/checkpoint/file.h"
#include "models/checkpoint/json.h"
#include "models/tokenizer/json/decoder.h"
#include "models/tokenizer/json/json_tokenizer.h"
#include "models/tokenizer/json/normalizer.h"
#include "models/tokenizer/json/pre_tokenizer.h"

namespace deltaserve {
namespace {

namespace json = boost::json;
using tokenizer_json::PartReader;

class JsonTokenizerCases : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    const std::string path = DELTASERVE_TOKENIZER_CASES;
    const absl::StatusOr<std::string> text = read_file(path, 1 << 20);
    ASSERT_TRUE(text.ok()) << text.status();
    auto object = parse_json_object(*text, path);
    ASSERT_TRUE(object.ok()) << object.status();
    cases_ = new json::object(*std::move(object));
  }
  static void TearDownTestSuite() { delete cases_; }

  static const json::array& group(const char* name) { return cases_->at(name).as_array(); }

  static inline json::object* cases_ = nullptr;
};

std::string_view view(const json::value& value) {
  return value.as_string();
}

TEST_F(JsonTokenizerCases, Normalizers) {
  for (const json::value& entry : group("normalizers")) {
    const json::value& spec = entry.at("normalizer");
    absl::Status status;
    const auto normalizer = tokenizer_json::read_normalizer(PartReader(spec, "", &status));
    ASSERT_TRUE(status.ok()) << status << json::serialize(spec);
    for (const json::value& one : entry.at("cases").as_array()) {
      std::string text(view(one.at(0)));
      ASSERT_TRUE(normalizer(&text).ok());
      EXPECT_EQ(text, view(one.at(1))) << json::serialize(spec) << view(one.at(0));
    }
  }
}

TEST_F(JsonTokenizerCases, PreTokenizers) {
  for (const json::value& entry : group("pre_tokenizers")) {
    const json::value& spec = entry.at("pre_tokenizer");
    absl::Status status;
    const auto splitting =
        tokenizer_json::PreTokenizers::read(PartReader(spec, "", &status), /*keep_bytes=*/false);
    ASSERT_TRUE(status.ok()) << status << json::serialize(spec);
    for (const json::value& one : entry.at("cases").as_array()) {
      json::array pieces;
      const absl::Status split =
          splitting.split({view(one.at(0))}, [&](tokenizer_json::Piece piece) {
            pieces.emplace_back(json::string(piece.text.data(), piece.text.size()));
            return absl::OkStatus();
          });
      ASSERT_TRUE(split.ok()) << split;
      EXPECT_EQ(pieces, one.at(1).as_array()) << json::serialize(spec) << view(one.at(0));
    }
  }
}

TEST_F(JsonTokenizerCases, Decoders) {
  for (const json::value& entry : group("decoders")) {
    const json::value& spec = entry.at("decoder");
    absl::Status status;
    const auto decoder = tokenizer_json::Decoder::read(PartReader(spec, "", &status));
    ASSERT_TRUE(status.ok()) << status << json::serialize(spec);
    for (const json::value& one : entry.at("cases").as_array()) {
      tokenizer_json::TokenList tokens;
      for (const json::value& token : one.at(0).as_array()) tokens.append(view(token));
      const auto text = decoder.decode(std::move(tokens));
      ASSERT_TRUE(text.ok()) << text.status();
      EXPECT_EQ(*text, view(one.at(1))) << json::serialize(spec) << json::serialize(one.at(0));
    }
  }
}

std::vector<int32_t> ids_of(const json::value& list) {
  std::vector<int32_t> ids;
  for (const json::value& id : list.as_array()) ids.push_back(static_cast<int32_t>(id.as_int64()));
  return ids;
}

// `wanted` is null where the reference fails.
void expect_ids(const absl::StatusOr<std::vector<int32_t>>& ids, const json::value& wanted,
                const std::string& what) {
  if (wanted.is_null()) {
    EXPECT_EQ(ids.status().code(), absl::StatusCode::kInvalidArgument) << what;
    return;
  }
  ASSERT_TRUE(ids.ok()) << ids.status() << what;
  EXPECT_EQ(*ids, ids_of(wanted)) << what;
}

TEST_F(JsonTokenizerCases, WholeFiles) {
  for (const json::value& entry : group("whole")) {
    const auto loaded = load_json_tokenizer(json::serialize(entry.at("file")), "t.json", {});
    ASSERT_TRUE(loaded.ok()) << loaded.status() << view(entry.at("note"));
    const Tokenizer& tokenizer = **loaded;
    for (const json::value& one : entry.at("encode").as_array()) {
      const std::string what = std::string(view(entry.at("note"))) + ": " + json::serialize(one);
      absl::StatusOr<std::vector<int32_t>> ids = tokenizer.encode(view(one.at(0)));
      expect_ids(ids, one.at(1), what);
      if (ids.ok()) surround(tokenizer, -1, &*ids);
      expect_ids(ids, one.at(2), what);
    }
    for (const json::value& one : entry.at("decode").as_array()) {
      const std::string what = std::string(view(entry.at("note"))) + ": " + json::serialize(one);
      const std::vector<int32_t> ids = ids_of(one.at(0));
      EXPECT_EQ(tokenizer.decode(ids, SpecialTokens::kKeep).value(), view(one.at(1))) << what;
      EXPECT_EQ(tokenizer.decode(ids, SpecialTokens::kSkip).value(), view(one.at(2))) << what;
    }
  }
}

}  // namespace
}  // namespace deltaserve
