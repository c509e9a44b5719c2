#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "models/model.h"
#include "tests/models/base/temp_folder.h"

namespace deltaserve {
namespace {

std::string message_of(const TempFolder& folder) {
  return std::string(open_model_folder(folder.path()).status().message());
}

TEST(ModelFolder, OpensTheBundledModel) {
  const auto folder = open_model_folder(DELTASERVE_BUNDLED_MODEL);
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->config.layers[0].mixer.kind, MixerKind::kQDelta);
  EXPECT_EQ(folder->config.eos_token_ids, (std::vector<int32_t>{2, 5}));  // from generation_config
  EXPECT_TRUE(folder->config.warnings.empty());
  EXPECT_TRUE(folder->settings.add_bos_token);
  ASSERT_NE(folder->tokenizer, nullptr);
  EXPECT_EQ(folder->tokenizer->size(), 4096);
}

TEST(ModelFolder, OnlyConfigIsRequired) {
  TempFolder temp;
  EXPECT_TRUE(absl::IsNotFound(open_model_folder(temp.path()).status()));
  temp.write("config.json", tiny_config("qdelta"));
  const auto folder = open_model_folder(temp.path());
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ(folder->tokenizer, nullptr);
}

TEST(ModelFolder, RefusesWhatDoesNotFitTogether) {
  TempFolder temp;
  temp.write("config.json", tiny_config("qdelta"));
  temp.write("generation_config.json", R"({"eos_token_id": 50})");
  EXPECT_NE(message_of(temp).find("50"), std::string::npos);
  temp.write("generation_config.json", "{}");
  std::filesystem::copy_file(std::string(DELTASERVE_BUNDLED_MODEL) + "/tokenizer.model",
                             temp.file("tokenizer.model"));
  EXPECT_NE(message_of(temp).find("4096 pieces"), std::string::npos);
}

TEST(ModelFolder, RefusesHugeAndIrregularFiles) {
  TempFolder temp;
  temp.write("config.json", std::string((1 << 20) + 1, ' '));
  EXPECT_FALSE(open_model_folder(temp.path()).ok());
  std::filesystem::remove(temp.file("config.json"));
  std::filesystem::create_directory(temp.file("config.json"));
  EXPECT_FALSE(open_model_folder(temp.path()).ok());
}

constexpr const char* kConfig = R"({"model_type": "qdelta", "lamb_bias": 0.9, "hidden_size": 32,
    "num_hidden_layers": 2, "num_heads": 2, "num_v_heads": 4, "head_dim": 8, "expand_v": 1.5,
    "vocab_size": 4100)";

class ModelFolderTest : public testing::Test {
 protected:
  void SetUp() override {
    temp_.write("config.json", std::string(kConfig) + "}");
    std::filesystem::copy_file(std::string(DELTASERVE_BUNDLED_MODEL) + "/tokenizer.model",
                               temp_.file("tokenizer.model"));
  }
  ModelFolder open() {
    auto folder = open_model_folder(temp_.path());
    EXPECT_TRUE(folder.ok()) << folder.status();
    return folder.ok() ? *std::move(folder) : ModelFolder();
  }
  TempFolder temp_;
};

// Case M14: an answer ends at every token that one of the files calls an end.
TEST_F(ModelFolderTest, EndTokensAreAUnion) {
  temp_.write("config.json", std::string(kConfig) + R"(, "eos_token_id": 9})");
  temp_.write("generation_config.json", R"({"eos_token_id": [7, 9]})");
  temp_.write("tokenizer_config.json", R"({"eos_token": "<|end|>"})");
  const ModelFolder folder = open();
  EXPECT_EQ(folder.config.eos_token_ids, (std::vector<int32_t>{9, 7, 5}));
  ASSERT_EQ(folder.config.warnings.size(), 1u);
  EXPECT_NE(folder.config.warnings[0].find("does not list 5"), std::string::npos);
}

TEST_F(ModelFolderTest, DefaultsYieldToTheTokenizer) {
  temp_.write("tokenizer_config.json",
              R"({"bos_token": "<|user|>", "eos_token": "<|end|>", "add_bos_token": true})");
  const ModelFolder folder = open();
  EXPECT_EQ(folder.config.eos_token_ids, std::vector<int32_t>{5});
  EXPECT_EQ(folder.config.bos_token_id, 3);
  EXPECT_TRUE(folder.config.warnings.empty());
}

TEST_F(ModelFolderTest, ContradictionsAreSaid) {
  temp_.write("config.json", std::string(kConfig) + R"(, "bos_token_id": 2})");
  temp_.write("tokenizer_config.json", R"({"bos_token": "<s>"})");
  const ModelFolder folder = open();
  EXPECT_EQ(folder.config.bos_token_id, 1);
  ASSERT_EQ(folder.config.warnings.size(), 1u);
  EXPECT_NE(folder.config.warnings[0].find("bos_token_id is 2"), std::string::npos);
}

TEST_F(ModelFolderTest, AddedTokensNeedARow) {
  temp_.write("tokenizer_config.json", R"({"added_tokens_decoder": {
      "4099": {"content": "<think>", "special": false}, "4100": {"content": "[PAD]"}}})");
  const ModelFolder folder = open();
  ASSERT_NE(folder.tokenizer, nullptr);
  EXPECT_EQ(folder.tokenizer->size(), 4100);
  ASSERT_EQ(folder.config.warnings.size(), 1u);
  EXPECT_NE(folder.config.warnings[0].find("[PAD]"), std::string::npos);
}

}  // namespace
}  // namespace deltaserve
