#include "models/model.h"

#include <gtest/gtest.h>

#include <string>

#include "kernels/base/thread_pool.h"
#include "models/random_model.h"
#include "tests/models/base/temp_folder.h"
#include "tests/models/test_backend.h"

namespace deltaserve {
namespace {

TEST(Model, ABrokenWeightIsRefusedByTheTensorsName) {
  TempFolder temp;
  temp.write("config.json", tiny_config("gated_deltanet"));
  ASSERT_TRUE(write_random_model(temp.file("config.json"), 1, Dtype::kBf16, temp.path()).ok());
  std::string bytes = temp.read("model.safetensors");
  bytes[bytes.size() - 1] = '\x7f';  // the last element: the upper byte of its exponent
  bytes[bytes.size() - 2] = '\xc0';
  temp.write("model.safetensors", bytes);
  const auto folder = open_model_folder(temp.path());
  ASSERT_TRUE(folder.ok()) << folder.status();
  ThreadPool threads(1);
  const auto backend = make_test_backend(&threads);
  const auto model = Model::load(*folder, backend.get(), ModelLimits());
  ASSERT_FALSE(model.ok());
  const std::string message(model.status().message());
  EXPECT_NE(message.find("tensor 'lm_head.weight'"), std::string::npos) << message;
  EXPECT_NE(message.find("is NaN"), std::string::npos) << message;
}

}  // namespace
}  // namespace deltaserve
