#include "models/checkpoint/finite.h"

#include <gtest/gtest.h>

#include <vector>

namespace deltaserve {
namespace {

Tensor tensor_of(Dtype dtype, const std::vector<uint16_t>& words) {
  Tensor tensor;
  tensor.info.dtype = dtype;
  tensor.info.shape = {static_cast<int64_t>(words.size() * 2 / dtype_size(dtype))};
  tensor.data = words.data();
  return tensor;
}

TEST(Finite, FindsTheFirstInEveryFormat) {
  const uint16_t kLargestBf16 = 0x7f7f, kLargestF16 = 0x7bff;
  for (const int bad : {0x7f80, 0xff80, 0x7fc0, 0xffff}) {
    std::vector<uint16_t> words(10'000, kLargestBf16);
    EXPECT_EQ(first_not_finite(tensor_of(Dtype::kBf16, words)), std::nullopt);
    words[9001] = words[9500] = static_cast<uint16_t>(bad);
    EXPECT_EQ(first_not_finite(tensor_of(Dtype::kBf16, words)), 9001);
  }
  for (const int bad : {0x7c00, 0xfc00, 0x7c01, 0xffff}) {
    std::vector<uint16_t> words(5000, kLargestF16);
    EXPECT_EQ(first_not_finite(tensor_of(Dtype::kF16, words)), std::nullopt);
    words[4999] = static_cast<uint16_t>(bad);
    EXPECT_EQ(first_not_finite(tensor_of(Dtype::kF16, words)), 4999);
  }
  for (const int bad : {0x7f80, 0xff80, 0x7f81, 0xffff}) {
    std::vector<uint16_t> words(200, kLargestBf16);  // the upper half of a float, too
    EXPECT_EQ(first_not_finite(tensor_of(Dtype::kF32, words)), std::nullopt);
    words[2 * 7 + 1] = static_cast<uint16_t>(bad);
    EXPECT_EQ(first_not_finite(tensor_of(Dtype::kF32, words)), 7);
  }
  EXPECT_EQ(first_not_finite(tensor_of(Dtype::kF32, {})), std::nullopt);
}

}  // namespace
}  // namespace deltaserve
