// Compares every weight format with float64, and checks that a row's bits depend neither on the
// other rows nor on the instruction set or the path of the integers.
#include "kernels/cpu/matmul/matmul.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "kernels/base/dtype.h"
#include "kernels/cpu/matmul/matmul_support.h"
#include "tests/kernels/cpu/base/targets.h"

namespace deltaserve {
namespace {

using cpu::Bf16Panels;
using cpu::IntegerPath;

struct Shape {
  int rows;  // activations
  int in;
  int out;
  Dtype stored;
};

struct Packing {
  WeightFormat format;
  Bf16Panels bf16_panels = Bf16Panels::kSingles;
};

std::vector<float> normals(size_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class Matmul : public testing::TestWithParam<std::tuple<Shape, Packing>> {
 protected:
  void SetUp() override {
    w_ = normals(static_cast<size_t>(shape_.out * shape_.in), 3);
    x_ = normals(static_cast<size_t>(shape_.rows * shape_.in), 4);
    for (float& value : w_) {
      half_.push_back(f32_to_bf16(value));
      if (shape_.stored == Dtype::kBf16) value = bf16_to_f32(half_.back());
    }
    const void* data =
        shape_.stored == Dtype::kBf16 ? static_cast<const void*>(half_.data()) : w_.data();
    const size_t row = static_cast<size_t>(shape_.in) * dtype_size(shape_.stored);
    // There are two blocks, cut off the panel grid, like fused projections.
    const int first = shape_.out / 3;
    const HostMatrix blocks[] = {{data, shape_.stored, first, shape_.in},
                                 {static_cast<const char*>(data) + static_cast<size_t>(first) * row,
                                  shape_.stored, shape_.out - first, shape_.in}};
    packed_ = cpu::pack_matrix(first > 0 ? blocks : blocks + 1, first > 0 ? 2 : 1, packing_.format,
                               threads_, packing_.bf16_panels);
    ASSERT_TRUE(scratch_.reserve(shape_.rows, shape_.in));
    ASSERT_TRUE(scratch_.reserve_floats(shape_.rows, shape_.in));
    // Matmuls with more input features leave such data behind: NaN as bf16.
    std::fill_n(scratch_.words.get(), scratch_.capacity, int16_t{0x7fff});
    for (int o = 0; o < shape_.out; ++o) packed_.read_row(o, row_of_weights(o));
  }

  std::vector<float> multiply(const float* x, int rows, ThreadPool& threads, IntegerPath path,
                              float add_to = NAN) {
    std::vector<float> out(static_cast<size_t>(rows * shape_.out), add_to);
    cpu::matmul(x, shape_.in, packed_, rows, !std::isnan(add_to), out.data(), shape_.out, path,
                scratch_, threads);
    return out;
  }
  // Multiplies on the path that the processor's best target chose, if this target has it too.
  std::vector<float> multiply(float add_to = NAN) {
    const IntegerPath chosen = cpu::matmul_support().integers;
    return multiply(x_.data(), shape_.rows, threads_,
                    cpu::supports(chosen) ? chosen : IntegerPath::kPairs, add_to);
  }
  // Calls body on every target whose instructions the packing needs; at least portable code
  // qualifies.
  template <class Body>
  void on_targets(const Body& body) {
    on_every_target([&] {
      if (cpu::supports(packing_.bf16_panels)) body();
    });
  }

  float* row_of_weights(int o) {
    stored_.resize(w_.size());
    return stored_.data() + static_cast<size_t>(o * shape_.in);
  }
  // Returns the activation that the matmul uses after rounding.
  double activation(int r, int i) const {
    const float x = x_[static_cast<size_t>(r * shape_.in + i)];
    if (packed_.paired_bf16()) return bf16_to_f32(f32_to_bf16(x));
    if (!packed_.quantised()) return x;
    const auto at = static_cast<size_t>(r * scratch_.stride + i);
    return static_cast<double>(scratch_.codes[at]) * scratch_.scales[at / cpu::kActivationBlock];
  }

  const Shape shape_ = std::get<0>(GetParam());
  const Packing packing_ = std::get<1>(GetParam());
  ThreadPool threads_{3};
  std::vector<float> x_, w_, stored_;
  std::vector<uint16_t> half_;
  cpu::PackedMatrix packed_;
  cpu::ActivationRows scratch_;
};

TEST_P(Matmul, EqualsDouble) {
  on_targets([&] {
    const std::vector<float> out = multiply(x_.data(), shape_.rows, threads_, IntegerPath::kPairs);
    for (int r = 0; r < shape_.rows; ++r) {
      for (int o = 0; o < shape_.out; ++o) {
        double sum = 0;
        double size = 0;
        for (int i = 0; i < shape_.in; ++i) {
          const double term = activation(r, i) * stored_[static_cast<size_t>(o * shape_.in + i)];
          sum += term;
          size += std::abs(term);
        }
        ASSERT_NEAR(out[r * shape_.out + o], sum, 1e-6 * size) << r << " " << o;
      }
    }
  });
}

// Compares with the original weights and activations, to test the errors of the formats.
TEST_P(Matmul, IsNearTheUnquantised) {
  std::vector<float> out;
  on_targets([&] { out = multiply(); });
  double error = 0;
  double size = 0;  // size of the sum if products were uncorrelated
  for (int r = 0; r < shape_.rows; ++r) {
    for (int o = 0; o < shape_.out; ++o) {
      double sum = 0, x_size = 0, w_size = 0;
      for (int i = 0; i < shape_.in; ++i) {
        const double x = x_[static_cast<size_t>(r * shape_.in + i)];
        const double w = w_[static_cast<size_t>(o * shape_.in + i)];
        sum += x * w;
        x_size += x * x;
        w_size += w * w;
      }
      error += (out[r * shape_.out + o] - sum) * (out[r * shape_.out + o] - sum);
      size += x_size * w_size / shape_.in;
    }
  }
  const double relative = std::sqrt(error / size);
  switch (packed_.format) {
    case WeightFormat::kInt4: EXPECT_LT(relative, 0.09); break;
    case WeightFormat::kInt8: EXPECT_LT(relative, 0.012); break;
    case WeightFormat::kBf16: EXPECT_LT(relative, packed_.paired_bf16() ? 0.004 : 0.003); break;
    default: EXPECT_LT(relative, 1e-6);
  }
}

TEST_P(Matmul, BitsDependOnNeitherRowsNorThreads) {
  on_targets([&] {
    for (const IntegerPath path : {IntegerPath::kPairs, IntegerPath::kQuads}) {
      if (!cpu::supports(path)) continue;
      const std::vector<float> together = multiply(x_.data(), shape_.rows, threads_, path);
      ThreadPool one(1);
      // Tries every number of rows up to two tiles, then all of them one by one.
      for (int r = 0, rows = 1; r < shape_.rows; r += rows, rows = rows < 25 ? rows + 1 : 1) {
        rows = std::min(rows, shape_.rows - r);
        const std::vector<float> alone = multiply(x_.data() + r * shape_.in, rows, one, path);
        ASSERT_EQ(0, std::memcmp(alone.data(), &together[static_cast<size_t>(r * shape_.out)],
                                 alone.size() * sizeof(float)))
            << r << " " << rows;
      }
    }
  });
}

TEST_P(Matmul, IntegerBitsDependOnNoInstructionSet) {
  if (!packed_.quantised()) return;  // floats use fused multiply-adds if the processor can
  for (const float start : {NAN, 1.5f}) {
    const std::vector<float> plain =
        multiply(x_.data(), shape_.rows, threads_, IntegerPath::kPlain, start);
    on_every_target([&] {
      for (const IntegerPath path : {IntegerPath::kPairs, IntegerPath::kQuads}) {
        if (!cpu::supports(path)) continue;
        EXPECT_TRUE(same_bits(multiply(x_.data(), shape_.rows, threads_, path, start), plain));
      }
    });
  }
}

TEST_P(Matmul, AccumulatesOntoTheOutput) {
  on_targets([&] {
    const std::vector<float> plain = multiply();
    const std::vector<float> out = multiply(2.0f);
    for (size_t i = 0; i < out.size(); ++i) {
      ASSERT_NEAR(out[i], plain[i] + 2.0f, 1e-5 * (2 + std::abs(plain[i])));
    }
  });
}

// Uses the largest possible codes and scales: no sum may exceed its integers.
TEST_P(Matmul, ExtremeOperandsStayExact) {
  if (!packed_.quantised()) return;
  for (size_t i = 0; i < w_.size(); ++i) w_[i] = i % 7 == 0 ? -1.0f : 1.0f;
  for (size_t i = 0; i < x_.size(); ++i) x_[i] = i % 5 == 0 ? -3.0f : 3.0f;
  const HostMatrix source = {w_.data(), Dtype::kF32, shape_.out, shape_.in};
  for (const float sign : {1.0f, -1.0f}) {
    for (float& value : w_) value *= sign;
    packed_ = cpu::pack_matrix(&source, 1, packed_.format, threads_);
    const std::vector<float> plain =
        multiply(x_.data(), shape_.rows, threads_, IntegerPath::kPlain);
    on_every_target([&] {
      for (const IntegerPath path : {IntegerPath::kPairs, IntegerPath::kQuads}) {
        if (!cpu::supports(path)) continue;
        EXPECT_TRUE(same_bits(multiply(x_.data(), shape_.rows, threads_, path), plain));
      }
    });
  }
}

TEST_P(Matmul, WhatIsNotFiniteShows) {
  x_[static_cast<size_t>(shape_.in) - 1] = NAN;
  if (shape_.rows > 1) x_[static_cast<size_t>(shape_.in)] = INFINITY;
  on_targets([&] {
    const std::vector<float> out = multiply();
    EXPECT_TRUE(std::isnan(out[0]));
    if (shape_.rows > 2) {
      EXPECT_FALSE(std::isfinite(out[static_cast<size_t>(shape_.out)]));
      EXPECT_TRUE(std::isfinite(out[static_cast<size_t>(2 * shape_.out)]));
    }
  });
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, Matmul,
    testing::Combine(testing::Values(Shape{1, 64, 97, Dtype::kF32}, Shape{1, 300, 1, Dtype::kBf16},
                                     Shape{2, 257, 64, Dtype::kBf16},
                                     Shape{7, 1000, 130, Dtype::kBf16},
                                     Shape{30, 1100, 140, Dtype::kBf16},
                                     Shape{150, 260, 65, Dtype::kF32}, Shape{5, 1, 31, Dtype::kF32},
                                     Shape{3, 36, 40, Dtype::kF32},
                                     Shape{40, 132, 33, Dtype::kF32}),
                     testing::Values(Packing{WeightFormat::kAuto}, Packing{WeightFormat::kF32},
                                     Packing{WeightFormat::kBf16},
                                     Packing{WeightFormat::kBf16, Bf16Panels::kPairs},
                                     Packing{WeightFormat::kInt8}, Packing{WeightFormat::kInt4})),
    [](const auto& test) {
      const Shape& shape = std::get<0>(test.param);
      return "M" + std::to_string(shape.rows) + "_K" + std::to_string(shape.in) + "_N" +
             std::to_string(shape.out) + "_" + dtype_name(shape.stored) + "_as_" +
             weight_format_name(std::get<1>(test.param).format) +
             (std::get<1>(test.param).bf16_panels == Bf16Panels::kPairs ? "_pairs" : "");
    });

TEST(MatmulSupport, EveryInstructionOfThisProcessorPassesItsSelfTest) {
  EXPECT_EQ(cpu::matmul_support().warning, "");
  EXPECT_NE(cpu::matmul_support().integers, IntegerPath::kPlain);
}

TEST(PackedMatrix, KeepsWhatFitsTheFormat) {
  const std::vector<float> weights = {0.5f, -2.0f, 0.0f, 1.0f};
  const HostMatrix source = {weights.data(), Dtype::kF32, 1, 4};
  ThreadPool one(1);
  for (const WeightFormat format : {WeightFormat::kF32, WeightFormat::kBf16}) {
    for (const Bf16Panels panels : {Bf16Panels::kSingles, Bf16Panels::kPairs}) {
      std::vector<float> row(4);
      cpu::pack_matrix(&source, 1, format, one, panels).read_row(0, row.data());
      EXPECT_EQ(row, weights);
    }
  }
  EXPECT_EQ(cpu::pack_matrix(&source, 1, WeightFormat::kInt8, one).bytes(), 32u * (4 + 8));
  EXPECT_EQ(cpu::pack_matrix(&source, 1, WeightFormat::kInt4, one).bytes(), 32u * (2 + 16));
}

TEST(PackedMatrix, NumbersThatAreNotFiniteStayVisible) {
  std::vector<float> weights(64, 1.0f);
  weights[3] = NAN;
  weights[40] = INFINITY;
  const HostMatrix source = {weights.data(), Dtype::kF32, 2, 32};
  ThreadPool one(1);
  for (const WeightFormat format : {WeightFormat::kInt8, WeightFormat::kInt4}) {
    const cpu::PackedMatrix packed = cpu::pack_matrix(&source, 1, format, one);
    EXPECT_TRUE(std::isnan(packed.scale(0, 0)));
    EXPECT_TRUE(std::isnan(packed.scale(1, 0)));
  }
}

}  // namespace
}  // namespace deltaserve
