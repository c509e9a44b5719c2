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

}  // namespace
}  // namespace deltaserve
