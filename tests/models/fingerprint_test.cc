#include "models/fingerprint.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>

#include "tests/models/base/temp_folder.h"
#include "tests/models/loaded_model.h"

namespace deltaserve {
namespace {

struct Setting {
  int threads = 1;
  int max_sequences = 2;
  WeightFormat weights = WeightFormat::kAuto;
  StateFormat states = StateFormat::kF32;
};

std::string fingerprint_of(const std::string& path, const Setting& setting = {}) {
  auto folder = open_model_folder(path);
  EXPECT_TRUE(folder.ok()) << folder.status();
  LoadedModel model(path, setting.threads, setting.max_sequences, std::nullopt, setting.weights,
                    setting.states);
  const auto fingerprint = numeric_fingerprint(*folder, &*model);
  EXPECT_TRUE(fingerprint.ok()) << fingerprint.status();
  return to_hex(*fingerprint);
}

class Fingerprint : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"config.json", "model.safetensors"}) {
      std::filesystem::copy_file(std::string(DELTASERVE_GOLDEN "/qdelta/") + name,
                                 temp_.file(name));
    }
  }
  TempFolder temp_;
};

TEST_F(Fingerprint, IsTheSameForTheSameNumbers) {
  const std::string one = fingerprint_of(temp_.path());
  EXPECT_EQ(one.size(), 32u);
  EXPECT_EQ(one, fingerprint_of(temp_.path()));
  EXPECT_EQ(one, fingerprint_of(temp_.path(), {.threads = 3, .max_sequences = 7}));
}

TEST_F(Fingerprint, ChangesWithTheFormats) {
  std::set<std::string> all;
  for (const WeightFormat weights : {WeightFormat::kF32, WeightFormat::kBf16}) {
    for (const StateFormat states : kAllStateFormats) {
      all.insert(fingerprint_of(temp_.path(), {.weights = weights, .states = states}));
    }
  }
  EXPECT_EQ(all.size(), 2 * std::size(kAllStateFormats));
}

TEST_F(Fingerprint, ChangesWithOneBitOfATensor) {
  const std::string before = fingerprint_of(temp_.path());
  std::string bytes = temp_.read("model.safetensors");
  bytes[bytes.size() - 4] = static_cast<char>(bytes[bytes.size() - 4] ^ 1);
  temp_.write("model.safetensors", bytes);
  EXPECT_NE(before, fingerprint_of(temp_.path()));
}

TEST_F(Fingerprint, ChangesWithTheFilesAroundTheTensors) {
  std::set<std::string> all = {fingerprint_of(temp_.path())};
  temp_.write("config.json", temp_.read("config.json") + " ");
  all.insert(fingerprint_of(temp_.path()));
  temp_.write("tokenizer_config.json", "{}");
  all.insert(fingerprint_of(temp_.path()));
  EXPECT_EQ(all.size(), 3u);
}

}  // namespace
}  // namespace deltaserve
