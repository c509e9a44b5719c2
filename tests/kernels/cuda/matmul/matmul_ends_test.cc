// Tests what matmuls on tensor cores do before and after their sums, against float64, and that the
// bits of a row depend neither on the kernel nor on the number of rows.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/cuda/matmul/matmul.h"

namespace deltaserve::cuda {
namespace {

using simt::host::Order;

constexpr TensorKernel kKernels[] = {TensorKernel::kTile64, TensorKernel::kFewRows,
                                     TensorKernel::kTile32, TensorKernel::kTile128,
                                     TensorKernel::kWide};
constexpr float kEps = 0.25f;

struct Shape {
  int rows, in, out;
  int parts;  // of a row, with a factor each; 0: rows have their factors already
};

// A matmul of random operands. What it may not touch is NaN.
class Operands {
 public:
  explicit Operands(const Shape& shape) : shape_(shape), stride_(padded_to_8(shape.in)) {
    std::mt19937 random(11);
    std::normal_distribution<float> normal;
    const auto fill = [&](int rows, std::vector<uint16_t>* to) {
      to->assign(at(rows, 0), 0);
      for (int r = 0; r < rows; ++r) {
        for (int i = 0; i < shape.in; ++i) (*to)[at(r, i)] = f32_to_bf16(normal(random));
      }
    };
    fill(shape.out, &w_);
    fill(shape.rows, &x_);
    for (int i = 0; i < shape.rows * shape.parts * groups(); ++i) {
      squares_.push_back(std::abs(normal(random)) * 16);
    }
    for (int i = 0; i < shape.out; ++i) norm_.push_back(normal(random));
    for (int i = 0; i < shape.rows * shape.out; ++i) residual_.push_back(normal(random));
  }

  struct Result {
    std::vector<float> out, squares;  // [rows, outs], [rows, square_groups(outs)]
    std::vector<uint16_t> bf16;       // [rows, columns]
  };
  // Rows [first, first + count).
  Result run(MatmulEnd end, int first, int count, TensorKernel kernel, bool accumulate = false) {
    const int columns = end == MatmulEnd::kGate ? shape_.out / 2 : shape_.out;
    const int groups_out = square_groups(shape_.out);
    const auto rows = static_cast<size_t>(count);
    // A row more than the matmul has.
    Result result;
    result.out.assign((rows + 1) * static_cast<size_t>(shape_.out), NAN);
    result.squares.assign((rows + 1) * static_cast<size_t>(groups_out), NAN);
    result.bf16.assign((rows + 1) * static_cast<size_t>(columns), kUntouched);
    if (accumulate || end == MatmulEnd::kNextNorm) {
      std::copy_n(&residual_[static_cast<size_t>(first * shape_.out)],
                  rows * static_cast<size_t>(shape_.out), result.out.data());
    }
    MatmulCall call;
    call.w = {w_.data(), Dtype::kBf16, shape_.out, shape_.in, stride_};
    call.x_bf16 = x_.data() + at(first, 0);
    call.x_bf16_stride = stride_;
    call.out = result.out.data();
    call.out_stride = shape_.out;
    call.num_rows = count;
    call.accumulate = accumulate;
    call.end = end;
    if (shape_.parts > 0) {
      call.factors = {&squares_[static_cast<size_t>(first * shape_.parts * groups())], shape_.parts,
                      groups(), kEps};
    }
    call.next_norm = norm_.data();
    call.squares = result.squares.data();
    call.out_bf16 = result.bf16.data();
    call.out_bf16_stride = columns;
    launch_tensor_matmul({}, call, kernel);
    return result;
  }
  bool takes(MatmulEnd end, int count, TensorKernel kernel) const {
    MatmulCall call;
    call.w = {w_.data(), Dtype::kBf16, shape_.out, shape_.in, stride_};
    call.num_rows = count;
    call.end = end;
    if (shape_.parts > 0) call.factors = {squares_.data(), shape_.parts, groups(), kEps};
    return takes_kernel(call, kernel);
  }

  // Compares all rows with float64.
  void expect_near_double(MatmulEnd end, const Result& result, bool accumulate = false) const {
    double worst = 0;
    double worst_bf16 = 0;
    double worst_squares = 0;
    const int half = shape_.out / 2;
    for (int r = 0; r < shape_.rows; ++r) {
      std::vector<double> totals, sizes;
      for (int o = 0; o < shape_.out; ++o) {
        totals.push_back(total(r, o, false));
        sizes.push_back(total(r, o, true));
      }
      const auto result_at = [&](int o) { return static_cast<size_t>(r * shape_.out + o); };
      std::vector<double> squares(static_cast<size_t>(square_groups(shape_.out)));
      for (int o = 0; o < shape_.out && end != MatmulEnd::kGate; ++o) {
        const bool adds = accumulate || end == MatmulEnd::kNextNorm;
        const double before = adds ? double{residual_[result_at(o)]} : 0;
        const double x = before + totals[static_cast<size_t>(o)];
        const double size = std::abs(before) + sizes[static_cast<size_t>(o)];
        raise(&worst, std::abs(double{result.out[result_at(o)]} - x) / size);
        if (end != MatmulEnd::kNextNorm) continue;
        squares[static_cast<size_t>(o / kSquareGroup)] += x * x;
        const double weight = norm_[static_cast<size_t>(o)];
        raise(&worst_bf16, std::abs(double{bf16_to_f32(result.bf16[result_at(o)])} - x * weight) /
                               (std::abs(x * weight) + 1e-4 * size));
      }
      for (size_t g = 0; g < squares.size() && end == MatmulEnd::kNextNorm; ++g) {
        const size_t place = static_cast<size_t>(r) * squares.size() + g;
        raise(&worst_squares, std::abs(double{result.squares[place]} - squares[g]) / squares[g]);
      }
      for (int o = 0; o < half && end == MatmulEnd::kGate; ++o) {
        const double gate = totals[static_cast<size_t>(o)];
        const double up = totals[static_cast<size_t>(half + o)];
        const double y = gate / (1 + std::exp(-gate)) * up;
        const size_t place = static_cast<size_t>(r * half + o);
        const double size = std::abs(y) + 1e-5 * sizes[static_cast<size_t>(o)] *
                                              sizes[static_cast<size_t>(half + o)];
        raise(&worst_bf16, std::abs(double{bf16_to_f32(result.bf16[place])} - y) / size);
      }
    }
    EXPECT_LT(worst, 1e-6);
    EXPECT_LT(worst_bf16, 1.0 / 250);
    EXPECT_LT(worst_squares, 1e-4);
    expect_untouched(end, result);
  }

  // Expects that rows of `some` are those of `all` from row `first` on.
  void expect_same(MatmulEnd end, const Result& some, const Result& all, int first,
                   int count) const {
    const auto same = [&](const auto& a, const auto& b, int columns) {
      const auto begin = static_cast<size_t>(first * columns);
      const auto bytes = static_cast<size_t>(count * columns) * sizeof(a[0]);
      return std::memcmp(a.data(), b.data() + begin, bytes) == 0;
    };
    EXPECT_TRUE(end == MatmulEnd::kGate || same(some.out, all.out, shape_.out));
    if (end == MatmulEnd::kNextNorm) {
      EXPECT_TRUE(same(some.squares, all.squares, square_groups(shape_.out)));
    }
    if (end != MatmulEnd::kStore) {
      EXPECT_TRUE(same(some.bf16, all.bf16, end == MatmulEnd::kGate ? shape_.out / 2 : shape_.out));
    }
  }

 private:
  static constexpr uint16_t kUntouched = 0x7fc1;

  static void raise(double* worst, double value) {
    if (!(value <= *worst)) *worst = value;
  }
  size_t at(int row, int column) const { return static_cast<size_t>(row * stride_ + column); }
  int groups() const { return shape_.parts == 0 ? 0 : square_groups(shape_.in / shape_.parts); }

  // The total, or what the absolute values of its terms add up to.
  double total(int row, int out, bool absolute) const {
    double total = 0;
    const int parts = std::max(shape_.parts, 1);
    const int width = shape_.in / parts;
    for (int part = 0; part < parts; ++part) {
      double sum = 0;
      for (int k = part * width; k < (part + 1) * width; ++k) {
        const double term =
            double{bf16_to_f32(x_[at(row, k)])} * double{bf16_to_f32(w_[at(out, k)])};
        sum += absolute ? std::abs(term) : term;
      }
      double squares = 0;
      for (int g = 0; g < groups(); ++g) {
        squares += double{squares_[static_cast<size_t>((row * parts + part) * groups() + g)]};
      }
      total += shape_.parts == 0 ? sum : sum / std::sqrt(squares / width + double{kEps});
    }
    return total;
  }

  void expect_untouched(MatmulEnd end, const Result& result) const {
    for (int i = 0; i < shape_.out; ++i) {
      EXPECT_TRUE(std::isnan(result.out[static_cast<size_t>(shape_.rows * shape_.out + i)]));
    }
    if (end == MatmulEnd::kGate) {
      for (const float value : result.out) ASSERT_TRUE(std::isnan(value));
    }
    if (end != MatmulEnd::kNextNorm) {
      for (const float value : result.squares) ASSERT_TRUE(std::isnan(value));
    }
    const int columns = end == MatmulEnd::kGate ? shape_.out / 2 : shape_.out;
    for (int i = 0; i < columns; ++i) {
      EXPECT_EQ(result.bf16[static_cast<size_t>(shape_.rows * columns + i)], kUntouched);
    }
  }

  const Shape shape_;
  const int64_t stride_;
  std::vector<uint16_t> w_, x_;
  std::vector<float> squares_, norm_, residual_;
};

class Ends : public testing::TestWithParam<Shape> {
 protected:
  ~Ends() override { simt::host::set_order(Order::kForward); }
  static constexpr MatmulEnd kEnds[] = {MatmulEnd::kStore, MatmulEnd::kNextNorm, MatmulEnd::kGate};
};

TEST_P(Ends, EqualDouble) {
  const Shape& shape = GetParam();
  Operands operands(shape);
  for (const Order order : {Order::kForward, Order::kBackward}) {
    simt::host::set_order(order);
    for (const MatmulEnd end : kEnds) {
      for (const TensorKernel kernel : kKernels) {
        if (!operands.takes(end, shape.rows, kernel)) continue;
        SCOPED_TRACE(testing::Message()
                     << static_cast<int>(end) << " " << static_cast<int>(kernel));
        operands.expect_near_double(end, operands.run(end, 0, shape.rows, kernel));
      }
    }
  }
  operands.expect_near_double(
      MatmulEnd::kStore, operands.run(MatmulEnd::kStore, 0, shape.rows, TensorKernel::kWide, true),
      true);
}

TEST_P(Ends, BitsDependOnNoKernelAndNoOtherRow) {
  const Shape& shape = GetParam();
  Operands operands(shape);
  for (const MatmulEnd end : kEnds) {
    const Operands::Result all = operands.run(end, 0, shape.rows, TensorKernel::kTile64);
    for (const int count : {1, 7, 9, 17, 33, 65, 130}) {
      if (count > shape.rows) continue;
      for (const TensorKernel kernel : kKernels) {
        if (!operands.takes(end, count, kernel)) continue;
        for (const int first : {0, shape.rows - count}) {
          SCOPED_TRACE(testing::Message()
                       << static_cast<int>(end) << " " << static_cast<int>(kernel) << " " << first
                       << " " << count);
          operands.expect_same(end, operands.run(end, first, count, kernel), all, first, count);
        }
      }
    }
  }
}

// Tails of every kind; parts that begin at and inside segments; more segments than a cluster has
// blocks.
INSTANTIATE_TEST_SUITE_P(Shapes, Ends,
                         testing::Values(Shape{1, 40, 18, 1}, Shape{9, 264, 48, 1},
                                         Shape{20, 384, 34, 3}, Shape{12, 512, 80, 2},
                                         Shape{33, 192, 70, 6}, Shape{5, 2320, 16, 1},
                                         Shape{70, 320, 30, 0}, Shape{130, 72, 130, 1}),
                         [](const auto& test) {
                           const Shape& shape = test.param;
                           return std::to_string(shape.rows) + "x" + std::to_string(shape.in) +
                                  "x" + std::to_string(shape.out) + "_" +
                                  std::to_string(shape.parts);
                         });

// Decode takes these kernels for up to 512 rows, with and without clusters.
TEST(DecodeMatmul, HasTheSameBitsAtEveryNumberOfRows) {
  constexpr Shape kShape = {512, 72, 16, 1};
  Operands operands(kShape);
  const MatmulEnd end = MatmulEnd::kNextNorm;
  const Operands::Result all = operands.run(end, 0, kShape.rows, TensorKernel::kTile32);
  std::vector<int> counts;
  for (int count = 1; count <= 132; ++count) counts.push_back(count);
  for (const int count : {191, 192, 193, 255, 256, 257, 300, 383, 384, 385, 448, 511, 512}) {
    counts.push_back(count);
  }
  MatmulCall call;
  call.w = {nullptr, Dtype::kBf16, kShape.out, kShape.in, kShape.in};
  for (const int count : counts) {
    call.num_rows = count;
    for (const bool wide : {false, true}) {
      SCOPED_TRACE(testing::Message() << count << " " << wide);
      const TensorKernel kernel = fastest_kernel(call, wide);
      EXPECT_EQ(kernel == TensorKernel::kWide, wide && count > 8);
      const int first = kShape.rows - count;
      operands.expect_same(end, operands.run(end, first, count, kernel), all, first, count);
    }
  }
}

// The sizes of models: all have a kernel for every number of rows, and the wide one where clusters
// have room for their segments.
TEST(DecodeMatmul, TakesTheWideKernelForTheShapesOfModels) {
  struct Size {
    int outs, in;
    bool wide;
  };
  for (const Size& size :
       {Size{4626, 1024, true}, Size{1024, 1536, true}, Size{5632, 1024, true},
        Size{1024, 2816, true}, Size{9234, 2048, true}, Size{2048, 5632, true},
        Size{32000, 1024, true}, Size{4096, 6144, true}, Size{4096, 14336, false}}) {
    for (int rows = 1; rows <= 600; ++rows) {
      MatmulCall call;
      call.w = {nullptr, Dtype::kBf16, size.outs, size.in, size.in};
      call.num_rows = rows;
      const bool expected = size.wide && rows > 8 && rows <= 512;
      ASSERT_EQ(fastest_kernel(call, true) == TensorKernel::kWide, expected)
          << size.outs << " " << size.in << " " << rows;
    }
  }
}

}  // namespace
}  // namespace deltaserve::cuda
