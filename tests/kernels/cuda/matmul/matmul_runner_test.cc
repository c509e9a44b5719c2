// Matmuls as the backend asks for them: which kernel multiplies which rows, that a row's bits
// depend on its kind and no other row, and what a library is trusted with. The emulation pretends a
// library; on a GPU it is cuBLASLt.
#include "kernels/cuda/matmul/matmul_runner.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/matmul/library_self_test.h"
#ifndef __CUDACC__
#include "kernels/cuda/matmul/matmul_library_host.h"
#endif
#include "tests/kernels/cuda/device/logged_runtime.h"

namespace deltaserve::cuda {
namespace {

#ifdef __CUDACC__
constexpr int kRows = 700;
constexpr int kCounts[] = {1, 2, 7, 33, 64, 130, 400};
#else
constexpr int kRows = 24;
constexpr int kCounts[] = {1, 2, 7, 15};
#endif
constexpr int kOuts = 70;  // 128 with its padding
constexpr int kColumns = 192;

class CudaMatmuls : public testing::Test {
 protected:
  CudaMatmuls() {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    std::vector<uint16_t> w(static_cast<size_t>(padded_to_64(kOuts) * kColumns));
    for (int i = 0; i < kOuts * kColumns; ++i) w[static_cast<size_t>(i)] = rounded(normal(random));
    for (int i = 0; i < kRows * kColumns; ++i) {
      x_bf16_.push_back(rounded(normal(random)));
      x_.push_back(bf16_to_f32(x_bf16_.back()));
    }
    w_ = w;
    device_w_ = upload(w);
    device_x_ = upload(x_);
    device_bf16_ = upload(x_bf16_);
    weights_ = {device_w_.get(), Dtype::kBf16, kOuts,
                kColumns,        kColumns,     padded_to_64(kOuts) - kOuts};
  }
#ifndef __CUDACC__
  ~CudaMatmuls() override {
    pretended_library = {};
  }
#endif

  static uint16_t rounded(float x) {
    return f32_to_bf16(x);
  }
  template <class T>
  Memory<T> upload(const std::vector<T>& values) {
    Memory<T> memory(*runtime_, std::ssize(values));
    runtime_->copy_in(memory.get(), values.data(), memory.bytes());
    runtime_->synchronize();
    return memory;
  }
  std::unique_ptr<MatmulRunner> runner(MatmulKernels matmuls) {
    auto made = std::make_unique<MatmulRunner>(*runtime_, matmuls);
    made->add_weight(weights_, true);
    EXPECT_TRUE(made->reserve(kRows));
    return made;
  }

  // `count` rows from `first` on, of which `num_decode` are decode rows, added to `start`. The
  // matmul fills rows of its padded width, or has a column on either side that nobody may touch.
  std::vector<float> multiply(MatmulRunner& runner, int first, int count, int num_decode,
                              bool fills_rows = true, float start = 0) {
    const int margin = fills_rows ? 0 : 4;
    const int64_t stride = padded_to_64(kOuts) + 2 * margin;
    const std::vector<float> before(static_cast<size_t>((count + 1) * stride), start);
    const Memory<float> out = upload(before);
    runner.multiply(
        weights_,
        {device_x_.get() + first * kColumns, device_bf16_.get() + first * kColumns, kColumns},
        count, num_decode, start != 0, {out.get() + margin, stride, fills_rows});
    std::vector<float> after(before.size());
    runtime_->copy_out(after.data(), out.get(), out.bytes());
    runtime_->synchronize();
    std::vector<float> matmul;
    for (int r = 0; r <= count; ++r) {
      for (int64_t c = 0; c < stride; ++c) {
        const float value = after[static_cast<size_t>(r * stride + c)];
        if (r < count && c >= margin && c < margin + kOuts) {
          matmul.push_back(value);
        } else if (r == count || !fills_rows) {
          EXPECT_EQ(value, start) << r << " " << c;
        }
      }
    }
    return matmul;
  }
  void expect_near_double(const std::vector<float>& matmul, float start = 0) const {
    double worst = 0;
    for (size_t i = 0; i < matmul.size(); ++i) {
      const size_t row = i / kOuts;
      const size_t out = i % kOuts;
      double sum = start;
      double size = std::abs(start);
      for (size_t k = 0; k < kColumns; ++k) {
        const double term = double{x_[row * kColumns + k]} * bf16_to_f32(w_[out * kColumns + k]);
        sum += term;
        size += std::abs(term);
      }
      const double error = std::abs(double{matmul[i]} - sum) / size;
      if (!(error <= worst)) worst = error;
    }
    EXPECT_LT(worst, 1e-6);
  }
  static bool same(const std::vector<float>& a, size_t a_row, const std::vector<float>& b,
                   size_t b_row, size_t rows) {
    return std::memcmp(&a[a_row * kOuts], &b[b_row * kOuts], rows * kOuts * sizeof(float)) == 0;
  }

  std::string error_;
  std::unique_ptr<Runtime> runtime_ = Runtime::create(&error_);
  std::vector<uint16_t> w_, x_bf16_;
  std::vector<float> x_;
  Memory<uint16_t> device_w_, device_bf16_;
  Memory<float> device_x_;
  DeviceMatrix weights_;
};

TEST_F(CudaMatmuls, BitsOfARowDependOnItsKindAndNoOtherRow) {
  const auto exact = runner(MatmulKernels::kExact);
  const auto own = runner(MatmulKernels::kTensor);
  // A GPU's library may have nothing for such small weights; then both kinds have the same bits.
  std::printf("by the library: %s; %s\n", exact->library_choices().c_str(),
              exact->warning().c_str());
  for (const float start : {0.0f, 2.5f}) {
    const std::vector<float> decode = multiply(*own, 0, kRows, kRows, true, start);
    const std::vector<float> prefill = multiply(*exact, 0, kRows, 0, true, start);
    expect_near_double(decode, start);
    expect_near_double(prefill, start);
    for (const int count : kCounts) {
      for (const int first : {0, kRows - count}) {
        for (const int num_decode : {0, 1, count / 2, count}) {
          const auto some = multiply(*exact, first, count, num_decode, true, start);
          const auto split = static_cast<size_t>(num_decode);
          const auto from = static_cast<size_t>(first);
          const auto rows = static_cast<size_t>(count);
          EXPECT_TRUE(same(some, 0, decode, from, split)) << count << " " << num_decode;
          if (split < rows) {
            EXPECT_TRUE(same(some, split, prefill, from + split, rows - split))
                << count << " " << num_decode;
          }
        }
      }
    }
  }
}

TEST_F(CudaMatmuls, BetweenOtherColumnsOwnKernelsMultiply) {
  const auto exact = runner(MatmulKernels::kExact);
  const auto own = runner(MatmulKernels::kTensor);
  const std::vector<float> expected = multiply(*own, 0, 9, 9, false);
  EXPECT_EQ(multiply(*exact, 0, 9, 2, false), expected);
  const bool has_algorithm = !exact->library_choices().empty();
  EXPECT_EQ(exact->warning().find("between other columns") != std::string::npos, has_algorithm);
}

TEST_F(CudaMatmuls, RowsThatNobodyHasRoundedAreRoundedForBothKinds) {
  const auto exact = runner(MatmulKernels::kExact);
  const std::vector<float> expected = multiply(*exact, 0, 9, 2);
  const Memory<float> out = upload(std::vector<float>(9 * 128, NAN));
  exact->multiply(weights_, {device_x_.get(), nullptr, kColumns}, 9, 2, false,
                  {out.get(), 128, true});
  std::vector<float> after(9 * 128);
  runtime_->copy_out(after.data(), out.get(), out.bytes());
  runtime_->synchronize();
  for (size_t i = 0; i < expected.size(); ++i) {
    ASSERT_EQ(after[i / kOuts * 128 + i % kOuts], expected[i]) << i;
  }
}

TEST_F(CudaMatmuls, WeightsThatMultiplyNoPrefillRowsAreNotProved) {
  MatmulRunner exact(*runtime_, MatmulKernels::kExact);
  exact.add_weight(weights_, false);
  EXPECT_TRUE(exact.reserve(kRows));
  EXPECT_EQ(exact.library_choices(), "");
  expect_near_double(multiply(exact, 0, 9, 9));
}

// Makes comparisons of the self-test go wrong, of which each ends with the copies of its result.
TEST(MatmulSelfTest, WhatIsWrongStaysOff) {
  constexpr int kMatmuls = 2 * 7;  // copies of plain and other kernels
  constexpr int kWide = kMatmuls + 2 * 2;
  constexpr int kEnd = 3 * 7;  // of each end: seven kernels, three results each
  const std::string matmuls = "matmuls on tensor cores failed their comparison and stay off";
  const std::string wide = "wide matmuls failed their comparison and stay off";
  const std::string ends = "ends of matmuls failed their comparison and stay off";
  const std::pair<int, std::string> cases[] = {
      {0, ""},
      {2, matmuls},
      {kMatmuls, matmuls},
      {kMatmuls + 2, wide},
      {kWide, wide},
      {kWide + 1, ends},  // outputs, squares and bf16 of few rows
      {kWide + 2, ends},
      {kWide + 3, ends},
      {kWide + kEnd, ends},      // of the wide kernel
      {kWide + kEnd + 3, ends},  // gates
      {kWide + 2 * kEnd, ends}};
  for (const auto& [copy, warning] : cases) {
    RuntimeLog log;
    log.wrong_copy = copy;
    LoggedRuntime runtime(&log);
    const MatmulRunner runner(runtime, MatmulKernels::kTensor);
    EXPECT_EQ(runner.warning(), warning) << copy;
    EXPECT_TRUE(copy > 0 || log.copies == kWide + 2 * kEnd) << log.copies;
    EXPECT_EQ(runner.support().matmuls, warning != matmuls);
  }
}

TEST_F(CudaMatmuls, HashesTellRowsApart) {
  const std::vector<float> values = {1, 2, 3, -0.0f, 1, 2, 3, 0.0f, 2, 1, 3, 0, 1, 2, 3, -0.0f};
  const Memory<float> rows = upload(values);
  const Memory<uint64_t> hashes(*runtime_, 4);
  launch_hash_rows(runtime_->stream(), rows.get(), 4, 4, 4, hashes.get());
  std::vector<uint64_t> result(4);
  runtime_->copy_out(result.data(), hashes.get(), hashes.bytes());
  runtime_->synchronize();
  EXPECT_EQ(result[0], result[3]);
  EXPECT_NE(result[0], result[1]);
  EXPECT_NE(result[0], result[2]);
  EXPECT_NE(result[1], result[2]);
}

#ifndef __CUDACC__
TEST_F(CudaMatmuls, OnlyWhatKeepsBitsAndTakesEveryCountIsTaken) {
  const auto exact = runner(MatmulKernels::kExact);
  EXPECT_EQ(exact->library_choices(), "70 x 192: pretended algorithm 3");
  // And it does multiply: its bits are others.
  const auto own = runner(MatmulKernels::kTensor);
  EXPECT_NE(multiply(*exact, 0, 9, 0), multiply(*own, 0, 9, 0));
}

TEST_F(CudaMatmuls, WithoutAGoodAlgorithmOwnKernelsMultiplyAndThatIsSaid) {
  pretended_library.has_good_candidate = false;
  const auto exact = runner(MatmulKernels::kExact);
  const auto own = runner(MatmulKernels::kTensor);
  EXPECT_EQ(exact->warning(),
            "no cuBLASLt for matmuls of 70 x 192: of 3 algorithms 1 do not take every number of "
            "rows, 0 differ from own matmuls, the others do not keep bits");
  EXPECT_EQ(multiply(*exact, 0, 9, 2), multiply(*own, 0, 9, 2));
}

TEST_F(CudaMatmuls, WithoutALibraryOwnKernelsMultiplyAndThatIsSaid) {
  pretended_library.is_there = false;
  const auto exact = runner(MatmulKernels::kExact);
  const auto own = runner(MatmulKernels::kTensor);
  EXPECT_EQ(exact->warning(), "there is no cuBLASLt, own matmuls are used");
  EXPECT_EQ(multiply(*exact, 0, 9, 2), multiply(*own, 0, 9, 2));
}
#endif

}  // namespace
}  // namespace deltaserve::cuda
