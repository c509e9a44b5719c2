// Matmuls on the emulated GPU against float64, and the bits of a row against how many rows it is
// multiplied with and which kernel does it.
#include "kernels/cuda/matmul/matmul.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

namespace deltaserve::cuda {
namespace {

using simt::host::Order;

struct Shape {
  int rows;
  int in;
  int out;
};

constexpr int kMargin = 5;  // columns of the output's buffer on either side of the result

class CudaMatmul : public testing::TestWithParam<std::tuple<Shape, Dtype>> {
 protected:
  CudaMatmul() : stride_(padded_to_8(shape_.in)) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    w_.assign(static_cast<size_t>(shape_.out * stride_), 0.0f);
    x_.assign(static_cast<size_t>(shape_.rows * stride_), NAN);
    for (int o = 0; o < shape_.out; ++o) {
      for (int i = 0; i < shape_.in; ++i) w_[at(o, i)] = normal(random);
    }
    for (int r = 0; r < shape_.rows; ++r) {
      for (int i = 0; i < shape_.in; ++i) x_[at(r, i)] = normal(random);
    }
    if (dtype_ == Dtype::kBf16) {
      for (float& value : w_) {
        w_bf16_.push_back(f32_to_bf16(value));
        value = bf16_to_f32(w_bf16_.back());
      }
      x_bf16_.assign(x_.size(), 0x7fff);
      launch_round_rows({}, x_.data(), stride_, shape_.in, shape_.rows, x_bf16_.data());
    }
  }
  ~CudaMatmul() override { simt::host::set_order(Order::kForward); }

  size_t at(int row, int column) const { return static_cast<size_t>(row * stride_ + column); }

  // The rows [first, first + count) of the result, added to `start` where that is no NaN.
  template <class Launch>
  std::vector<float> multiply(int first, int count, float start, const Launch& launch) {
    const int out_stride = shape_.out + 2 * kMargin;
    // A row more than the result has, which nobody may touch either.
    std::vector<float> out(static_cast<size_t>((count + 1) * out_stride), NAN);
    for (int r = 0; r < count; ++r) std::fill_n(&out[r * out_stride + kMargin], shape_.out, start);
    MatmulCall call;
    const void* weights = dtype_ == Dtype::kBf16 ? static_cast<const void*>(w_bf16_.data())
                                                 : static_cast<const void*>(w_.data());
    call.w = {weights, dtype_, shape_.out, shape_.in, stride_};
    call.x = x_.data() + at(first, 0);
    call.x_stride = stride_;
    if (dtype_ == Dtype::kBf16) call.x_bf16 = x_bf16_.data() + at(first, 0);
    call.x_bf16_stride = stride_;
    call.out = out.data() + kMargin;
    call.out_stride = out_stride;
    call.num_rows = count;
    call.accumulate = !std::isnan(start);
    launch(call);
    std::vector<float> result;
    for (int r = 0; r <= count; ++r) {
      for (int c = 0; c < out_stride; ++c) {
        const float value = out[static_cast<size_t>(r * out_stride + c)];
        if (r < count && c >= kMargin && c < kMargin + shape_.out) {
          result.push_back(value);
        } else {
          EXPECT_TRUE(std::isnan(value)) << r << " " << c;
        }
      }
    }
    return result;
  }
  std::vector<float> plain(int first, int count, float start = NAN) {
    return multiply(first, count, start,
                    [](const MatmulCall& call) { launch_plain_matmul({}, call); });
  }
  std::vector<float> tensor(int first, int count, TensorKernel kernel, float start = NAN) {
    return multiply(first, count, start,
                    [kernel](const MatmulCall& call) { launch_tensor_matmul({}, call, kernel); });
  }
  std::vector<TensorKernel> kernels(int rows) const {
    if (dtype_ != Dtype::kBf16) return {};
    std::vector<TensorKernel> kernels = {TensorKernel::kTile32, TensorKernel::kTile64,
                                         TensorKernel::kTile128, TensorKernel::kWide};
    if (rows <= kMaxFewRows) kernels.push_back(TensorKernel::kFewRows);
    return kernels;
  }

  // Takes the operands as the tensor core sees them (`rounded`) or as they are.
  void expect_near_double(const std::vector<float>& result, bool rounded, float start) {
    ASSERT_EQ(result.size(), static_cast<size_t>(shape_.rows * shape_.out));
    for (int r = 0; r < shape_.rows; ++r) {
      for (int o = 0; o < shape_.out; ++o) {
        double sum = start;
        double size = std::abs(start);
        for (int i = 0; i < shape_.in; ++i) {
          const float x = rounded ? bf16_to_f32(x_bf16_[at(r, i)]) : x_[at(r, i)];
          const double term = static_cast<double>(x) * w_[at(o, i)];
          sum += term;
          size += std::abs(term);
        }
        worst_ = std::max(worst_, std::abs(result[r * shape_.out + o] - sum) / size);
      }
    }
    EXPECT_LT(worst_, 1e-6);
  }

  const Shape shape_ = std::get<0>(GetParam());
  const Dtype dtype_ = std::get<1>(GetParam());
  const int64_t stride_;
  std::vector<float> w_, x_;  // [out, stride], [rows, stride]
  std::vector<uint16_t> w_bf16_, x_bf16_;
  double worst_ = 0;  // error over the size of the sum's terms
};

#ifndef __CUDACC__  // the emulation begins a launch early by itself
// Blocks of the first cluster run up to their wait in front of the launch that rounds the rows, and
// with Order::kBackward their copies have arrived by then.
TEST_P(CudaMatmul, ReadsNoRowsInFrontOfItsWait) {
  for (const TensorKernel kernel : kernels(shape_.rows)) {
    const std::vector<float> expected = tensor(0, shape_.rows, kernel);
    for (const Order order : {Order::kForward, Order::kBackward}) {
      simt::host::set_order(order);
      std::fill(x_bf16_.begin(), x_bf16_.end(), uint16_t{0x7fff});
      const std::vector<float> found = multiply(0, shape_.rows, NAN, [&](const MatmulCall& call) {
        std::vector<simt::host::Work> queue;
        const simt::Stream stream = {&queue, true};
        launch_round_rows(stream, x_.data(), stride_, shape_.in, shape_.rows, x_bf16_.data());
        launch_tensor_matmul(stream, call, kernel);
        simt::host::run(queue, queue.size());
      });
      EXPECT_EQ(found, expected);
    }
    simt::host::set_order(Order::kForward);
  }
}
#endif

TEST_P(CudaMatmul, EqualsDouble) {
  for (const Order order : {Order::kForward, Order::kBackward}) {
    simt::host::set_order(order);
    expect_near_double(plain(0, shape_.rows), false, 0);
    for (const TensorKernel kernel : kernels(shape_.rows)) {
      expect_near_double(tensor(0, shape_.rows, kernel), true, 0);
    }
  }
}

TEST_P(CudaMatmul, AddsToTheOutput) {
  expect_near_double(plain(0, shape_.rows, 2.5f), false, 2.5f);
  for (const TensorKernel kernel : kernels(shape_.rows)) {
    expect_near_double(tensor(0, shape_.rows, kernel, 2.5f), true, 2.5f);
  }
}

TEST_P(CudaMatmul, BitsOfARowDependOnNoOtherRowAndOnNoKernel) {
  const auto expect_same = [&](const std::vector<float>& some, const std::vector<float>& all,
                               int first) {
    EXPECT_EQ(0, std::memcmp(some.data(), &all[static_cast<size_t>(first * shape_.out)],
                             some.size() * sizeof(float)))
        << first;
  };
  const std::vector<float> plain_all = plain(0, shape_.rows);
  std::vector<float> tensor_all;
  if (dtype_ == Dtype::kBf16) tensor_all = tensor(0, shape_.rows, TensorKernel::kTile64);
  for (const int count : {1, 7, 8, 15, 20, 33, 70}) {
    if (count > shape_.rows) continue;
    for (const int first : {0, shape_.rows - count}) {
      expect_same(plain(first, count), plain_all, first);
      for (const TensorKernel kernel : kernels(count)) {
        expect_same(tensor(first, count, kernel), tensor_all, first);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, CudaMatmul,
                         testing::Combine(testing::Values(Shape{1, 32, 16}, Shape{3, 70, 20},
                                                          Shape{8, 264, 40}, Shape{20, 520, 24},
                                                          Shape{33, 256, 17}, Shape{70, 330, 70},
                                                          Shape{130, 64, 130}),
                                          testing::Values(Dtype::kF32, Dtype::kBf16)),
                         [](const auto& test) {
                           const Shape& shape = std::get<0>(test.param);
                           return std::to_string(shape.rows) + "x" + std::to_string(shape.in) +
                                  "x" + std::to_string(shape.out) + "_" +
                                  dtype_name(std::get<1>(test.param));
                         });

// More segments than a block has warps.
TEST(TensorMatmul, LongRowsSumTheirSegmentsInOrder) {
  constexpr int kIn = 19 * kTensorSegment;
  std::vector<uint16_t> w(16 * kIn, f32_to_bf16(0));
  std::vector<uint16_t> x(kIn, f32_to_bf16(1));
  // 2^25, then ones, which it swallows one by one but not as the sum of a segment.
  for (int out = 0; out < 16; ++out) {
    w[static_cast<size_t>(out * kIn)] = f32_to_bf16(0x1p25f);
    for (int k = kTensorSegment; k < kIn; ++k) {
      w[static_cast<size_t>(out * kIn + k)] = f32_to_bf16(1);
    }
  }
  for (const TensorKernel kernel :
       {TensorKernel::kFewRows, TensorKernel::kTile64, TensorKernel::kWide}) {
    std::vector<float> out(16, NAN);
    MatmulCall call;
    call.w = {w.data(), Dtype::kBf16, 16, kIn, kIn};
    call.x_bf16 = x.data();
    call.x_bf16_stride = kIn;
    call.out = out.data();
    call.out_stride = 16;
    call.num_rows = 1;
    launch_tensor_matmul({}, call, kernel);
    for (const float value : out) EXPECT_EQ(value, 0x1p25f + 18 * kTensorSegment);
  }
}

// Measured on an H200 (us of few rows and tiles of 32, 64, 128): q340 in at 32: 9.7, 8.1, 12.6,
// 23.4 and so on.
TEST(TensorMatmul, AutoTakesWhatWasMeasuredToBeFastest) {
  struct Case {
    int outs, in, rows;
    TensorKernel fastest;
  };
  for (const Case& c : {Case{4626, 1024, 1, TensorKernel::kFewRows},
                        Case{4626, 1024, 8, TensorKernel::kFewRows},
                        Case{4626, 1024, 32, TensorKernel::kTile32},
                        Case{4626, 1024, 64, TensorKernel::kTile32},
                        Case{4626, 1024, 128, TensorKernel::kTile64},
                        Case{4626, 1024, 512, TensorKernel::kTile64},
                        Case{1024, 1536, 32, TensorKernel::kFewRows},
                        Case{1024, 1536, 128, TensorKernel::kTile32},
                        Case{1024, 1536, 512, TensorKernel::kTile64},
                        Case{5632, 1024, 32, TensorKernel::kTile32},
                        Case{5632, 1024, 512, TensorKernel::kTile64},
                        Case{1024, 2816, 32, TensorKernel::kFewRows},
                        Case{1024, 2816, 256, TensorKernel::kTile32},
                        Case{32000, 1024, 32, TensorKernel::kTile32},
                        Case{32000, 1024, 64, TensorKernel::kTile64},
                        Case{32000, 1024, 128, TensorKernel::kTile128},
                        Case{11264, 2048, 32, TensorKernel::kTile32},
                        Case{11264, 2048, 256, TensorKernel::kTile64},
                        Case{11264, 2048, 2048, TensorKernel::kTile128},
                        Case{2048, 5632, 32, TensorKernel::kFewRows},
                        Case{2048, 5632, 128, TensorKernel::kTile32},
                        Case{2048, 5632, 8192, TensorKernel::kTile128}}) {
    MatmulCall call;
    call.w = {nullptr, Dtype::kBf16, c.outs, c.in, c.in};
    call.num_rows = c.rows;
    EXPECT_EQ(fastest_kernel(call), c.fastest) << c.outs << " " << c.in << " " << c.rows;
  }
}

TEST(RoundRows, PadsWithZeros) {
  const std::vector<float> x = {1.00390625f, -2, 3.01f, NAN, 4, 5, 6, NAN};  // rows of 3, apart 4
  std::vector<uint16_t> to(2 * 8 + 1, 0x7fff);
  launch_round_rows({}, x.data(), 4, 3, 2, to.data());
  for (int r = 0; r < 2; ++r) {
    for (int c = 0; c < 8; ++c) {
      EXPECT_EQ(to[static_cast<size_t>(8 * r + c)],
                c < 3 ? f32_to_bf16(x[static_cast<size_t>(4 * r + c)]) : 0);
    }
  }
  EXPECT_EQ(to.back(), 0x7fff);
}

}  // namespace
}  // namespace deltaserve::cuda
