#include "kernels/cpu/matmul.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

namespace deltaserve {
namespace {

struct Shape {
  int rows;  // activations
  int in;
  int out;
  Dtype dtype;
};

class Matmul : public testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    const Shape& s = GetParam();
    std::mt19937 rng(3);
    std::normal_distribution<float> normal;
    for (int i = 0; i < s.rows * s.in; ++i) x_.push_back(normal(rng));
    for (int i = 0; i < s.out * s.in; ++i) {
      const float value = normal(rng);
      const uint16_t half = f32_to_bf16(value);
      w_.push_back(s.dtype == Dtype::kBf16 ? bf16_to_f32(half) : value);
      half_.push_back(half);
    }
    const void* data = s.dtype == Dtype::kBf16 ? static_cast<const void*>(half_.data()) : w_.data();
    const size_t row = static_cast<size_t>(s.in) * dtype_size(s.dtype);
    // Two blocks, cut off the panel grid, as fused projections are.
    const int first = s.out / 3;
    const HostMatrix blocks[] = {{data, s.dtype, first, s.in},
                                 {static_cast<const char*>(data) + static_cast<size_t>(first) * row,
                                  s.dtype, s.out - first, s.in}};
    packed_ = cpu::pack_matrix(first > 0 ? blocks : blocks + 1, first > 0 ? 2 : 1, threads_);
  }

  std::vector<float> multiply(const float* x, int rows, ThreadPool& threads) {
    const Shape& s = GetParam();
    std::vector<float> out(static_cast<size_t>(rows * s.out), NAN);
    cpu::matmul(x, s.in, packed_, rows, false, out.data(), s.out, threads);
    return out;
  }

  ThreadPool threads_{3};
  std::vector<float> x_, w_;
  std::vector<uint16_t> half_;
  cpu::PackedMatrix packed_;
};

TEST_P(Matmul, EqualsDouble) {
  const Shape& s = GetParam();
  const std::vector<float> out = multiply(x_.data(), s.rows, threads_);
  for (int r = 0; r < s.rows; ++r) {
    for (int o = 0; o < s.out; ++o) {
      double sum = 0;
      double size = 0;
      for (int i = 0; i < s.in; ++i) {
        const double term = static_cast<double>(x_[r * s.in + i]) * w_[o * s.in + i];
        sum += term;
        size += std::abs(term);
      }
      ASSERT_NEAR(out[r * s.out + o], sum, 1e-6 * size) << r << " " << o;
    }
  }
  for (int o = 0; o < s.out; ++o) {
    ASSERT_EQ(packed_.at(o, s.in - 1), w_[o * s.in + s.in - 1]);
  }
}

TEST_P(Matmul, BitsDependOnNeitherRowsNorThreads) {
  const Shape& s = GetParam();
  const std::vector<float> together = multiply(x_.data(), s.rows, threads_);
  ThreadPool one(1);
  for (int r = 0; r < s.rows; ++r) {
    const std::vector<float> alone = multiply(x_.data() + r * s.in, 1, one);
    ASSERT_EQ(0, std::memcmp(alone.data(), &together[r * s.out], static_cast<size_t>(s.out) * 4));
  }
}

TEST_P(Matmul, AccumulatesOntoTheOutput) {
  const Shape& s = GetParam();
  const std::vector<float> plain = multiply(x_.data(), s.rows, threads_);
  std::vector<float> out(plain.size(), 2.0f);
  cpu::matmul(x_.data(), s.in, packed_, s.rows, true, out.data(), s.out, threads_);
  for (size_t i = 0; i < out.size(); ++i) {
    ASSERT_NEAR(out[i], plain[i] + 2.0f, 1e-5 * (2 + std::abs(plain[i])));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Matmul,
    testing::Values(Shape{1, 64, 97, Dtype::kF32}, Shape{1, 300, 1, Dtype::kBf16},
                    Shape{2, 257, 64, Dtype::kBf16}, Shape{7, 1000, 130, Dtype::kBf16},
                    Shape{33, 513, 95, Dtype::kF32}, Shape{5, 1, 31, Dtype::kF32}),
    [](const auto& shape) {
      return "M" + std::to_string(shape.param.rows) + "_K" + std::to_string(shape.param.in) + "_N" +
             std::to_string(shape.param.out) + "_" + dtype_name(shape.param.dtype);
    });

}  // namespace
}  // namespace deltaserve
