#include "kernels/cuda/matmul/tensor_self_test.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cuda/device/device_memory.h"
#include "kernels/cuda/matmul/matmul.h"

namespace deltaserve::cuda {
namespace {

constexpr float kEps = 0.5f;

// Small whole numbers, so that every order of summation gives the same bits.
int test_value(int row, int column) {
  return (row * 7 + column * 5 + row * column) % 9 - 4;
}

// The sizes of a matmul. Tails stand in every direction.
struct Sizes {
  int outs, columns;
  int parts = 1;  // of a row, with a factor each
};
constexpr Sizes kTails = {43, 2 * kTensorSegment + 72};
// More segments than a cluster has blocks.
constexpr Sizes kLong = {10, 9 * kTensorSegment + 8};
constexpr int kLongRows = 5;
// Parts of a row begin inside a segment.
constexpr Sizes kParts = {34, kTensorSegment + 32, 3};
constexpr Sizes kWhole = {34, 160, 1};
constexpr int kRows = 21;
constexpr int kMostOuts = 43;
constexpr int kMostGroups = 24;  // sums of squares of a row

// A matmul, its operands and its result.
class TestMatmul {
 public:
  explicit TestMatmul(Runtime& runtime) : runtime_(runtime) {
    for (int i = 0; i < kWeights; ++i) {
      const auto value = static_cast<float>(test_value(i / kTails.columns, i % kTails.columns));
      w_values_.push_back(value);
      bf16_w_.push_back(f32_to_bf16(value));
    }
    for (int i = 0; i < kRows * kTails.columns; ++i) {
      x_values_.push_back(static_cast<float>(test_value(i % kTails.columns, i / kTails.columns)));
    }
    for (int i = 0; i < kRows * kMostGroups; ++i) {
      squares_values_.push_back(static_cast<float>(i % 5 + 1));
    }
    upload(bf16_w_, &w_);
    upload(x_values_, &x_);
    upload(squares_values_, &squares_);
    reserve(kRows * kTails.columns, &x_bf16_);
    reserve(kRows * kMostOuts, &out_);
    reserve(kRows * kMostOuts, &out_bf16_);
    reserve(kRows * kMostGroups, &out_squares_);
    runtime.synchronize();
  }

  bool complete() const { return complete_; }

  // Returns the first `rows` of outputs, then of sums of squares, then of bf16, zeros behind them;
  // empty where a kernel could not be launched.
  template <class Launch>
  std::vector<float> result(const Sizes& sizes, MatmulEnd end, int rows, const Launch& launch) {
    MatmulCall call;
    call.w = {w_.get(), Dtype::kBf16, sizes.outs, sizes.columns, sizes.columns};
    call.x = x_.get();
    call.x_bf16 = x_bf16_.get();
    call.x_stride = call.x_bf16_stride = sizes.columns;
    call.out = out_.get();
    call.out_stride = call.out_bf16_stride = sizes.outs;
    call.num_rows = rows;
    call.end = end;
    if (end != MatmulEnd::kStore) {
      const int groups = groups_of(sizes);
      call.factors = {squares_.get(), sizes.parts, groups, kEps};
      call.next_norm = x_.get();
      call.out_bf16 = out_bf16_.get();
      call.squares = out_squares_.get();
    }
    runtime_.fill_zero(out_.get(), out_.bytes());
    runtime_.fill_zero(out_bf16_.get(), out_bf16_.bytes());
    runtime_.fill_zero(out_squares_.get(), out_squares_.bytes());
    runtime_.fill_zero(x_bf16_.get(), x_bf16_.bytes());
    // Two launches, the second of which needs what the first one writes.
    const int all_rows = kRows * kTails.columns / sizes.columns;
    launch_round_rows(runtime_.stream(), x_.get(), sizes.columns, sizes.columns, all_rows,
                      x_bf16_.get());
    launch(call);
    if (!runtime_.launches_succeeded()) return {};
    std::vector<float> result(static_cast<size_t>(out_.size()));
    runtime_.copy_out(result.data(), out_.get(), out_.bytes());
    if (end == MatmulEnd::kStore) {
      runtime_.synchronize();
      return result;
    }
    std::vector<float> squares(static_cast<size_t>(out_squares_.size()));
    std::vector<uint16_t> bf16(static_cast<size_t>(out_bf16_.size()));
    runtime_.copy_out(squares.data(), out_squares_.get(), out_squares_.bytes());
    runtime_.copy_out(bf16.data(), out_bf16_.get(), out_bf16_.bytes());
    runtime_.synchronize();
    result.insert(result.end(), squares.begin(), squares.end());
    for (const uint16_t value : bf16) result.push_back(bf16_to_f32(value));
    return result;
  }

  // Returns what result() should be, in float64.
  std::vector<double> truth(const Sizes& sizes, MatmulEnd end, int rows) const {
    std::vector<double> out(kRows * kMostOuts), squares(kRows * kMostGroups), bf16(out.size());
    const auto at = [](int index) { return static_cast<size_t>(index); };
    const int half = sizes.outs / 2;
    for (int row = 0; row < rows; ++row) {
      std::vector<double> totals;
      for (int o = 0; o < sizes.outs; ++o) totals.push_back(total(sizes, row, o));
      for (int o = 0; o < sizes.outs && end == MatmulEnd::kNextNorm; ++o) {
        const double x = totals[at(o)];
        out[at(row * sizes.outs + o)] = x;
        bf16[at(row * sizes.outs + o)] = x * double{x_values_[at(o)]};
        squares[at(row * square_groups(sizes.outs) + o / kSquareGroup)] += x * x;
      }
      for (int o = 0; o < half && end == MatmulEnd::kGate; ++o) {
        const double gate = totals[at(o)];
        bf16[at(row * sizes.outs + o)] = gate / (1 + std::exp(-gate)) * totals[at(half + o)];
      }
    }
    out.insert(out.end(), squares.begin(), squares.end());
    out.insert(out.end(), bf16.begin(), bf16.end());
    return out;
  }

 private:
  static constexpr int kWeights = kTails.outs * kTails.columns;
  static_assert(kLong.outs * kLong.columns <= kWeights);
  static_assert(kLongRows * kLong.columns <= kRows * kTails.columns);
  static_assert(kParts.outs * kParts.columns <= kWeights);
  static_assert(square_groups(kParts.columns) <= kMostGroups);

  // Returns the sums of squares of a part.
  static int groups_of(const Sizes& sizes) { return square_groups(sizes.columns / sizes.parts); }

  double total(const Sizes& sizes, int row, int out) const {
    const auto at = [](int index) { return static_cast<size_t>(index); };
    const int width = sizes.columns / sizes.parts;
    const int groups = groups_of(sizes);
    double total = 0;
    for (int part = 0; part < sizes.parts; ++part) {
      double squares = 0;
      for (int g = 0; g < groups; ++g) {
        squares += double{squares_values_[at((row * sizes.parts + part) * groups + g)]};
      }
      double sum = 0;
      for (int k = part * width; k < (part + 1) * width; ++k) {
        sum += double{x_values_[at(row * sizes.columns + k)]} *
               double{w_values_[at(out * sizes.columns + k)]};
      }
      total += sum / std::sqrt(squares / width + double{kEps});
    }
    return total;
  }

  template <class T>
  void reserve(int64_t count, Memory<T>* memory) {
    *memory = Memory<T>(runtime_, count);
    complete_ = complete_ && !memory->empty();
  }
  template <class T>
  void upload(const std::vector<T>& values, Memory<T>* memory) {
    reserve(std::ssize(values), memory);
    if (!memory->empty()) runtime_.copy_in(memory->get(), values.data(), memory->bytes());
  }

  Runtime& runtime_;
  bool complete_ = true;
  std::vector<uint16_t> bf16_w_;
  std::vector<float> w_values_, x_values_, squares_values_;
  Memory<uint16_t> w_, x_bf16_, out_bf16_;
  Memory<float> x_, squares_, out_, out_squares_;
};

struct Case {
  TensorKernel kernel;
  int rows;  // few rows: one, two or four tiles of them
};
constexpr Case kCases[] = {{TensorKernel::kFewRows, 5},     {TensorKernel::kFewRows, 11},
                           {TensorKernel::kFewRows, kRows}, {TensorKernel::kTile32, kRows},
                           {TensorKernel::kTile64, kRows},  {TensorKernel::kTile128, kRows}};

std::vector<float> by(Runtime& runtime, TestMatmul& test, const Sizes& sizes, MatmulEnd end,
                      const Case& c) {
  return test.result(sizes, end, c.rows, [&](const MatmulCall& call) {
    launch_tensor_matmul(runtime.stream(), call, c.kernel);
  });
}

bool gives_what_plain_does(Runtime& runtime, TestMatmul& test, const Sizes& sizes, const Case& c) {
  const std::vector<float> expected =
      test.result(sizes, MatmulEnd::kStore, c.rows,
                  [&](const MatmulCall& call) { launch_plain_matmul(runtime.stream(), call); });
  const std::vector<float> result = by(runtime, test, sizes, MatmulEnd::kStore, c);
  return !result.empty() && result == expected;
}

// Compares outputs, sums of squares and numbers of bf16, which have 8 bits, by themselves.
bool near(const std::vector<float>& result, const std::vector<double>& truth) {
  if (result.size() != truth.size()) return false;
  constexpr size_t kOuts = size_t{kRows} * kMostOuts;
  constexpr size_t kSquares = size_t{kRows} * kMostGroups;
  size_t begin = 0;
  for (const size_t count : {kOuts, kSquares, kOuts}) {
    double squares = 0;
    double norm = 0;
    for (size_t i = begin; i < begin + count; ++i) {
      squares += std::pow(double{result[i]} - truth[i], 2);
      norm += truth[i] * truth[i];
    }
    begin += count;
    if (!(std::sqrt(squares) <= 4e-3 * std::sqrt(norm))) return false;
  }
  return true;
}

// Compares the rows that both have.
bool ends_agree(Runtime& runtime, TestMatmul& test, bool wide) {
  for (const MatmulEnd end : {MatmulEnd::kNextNorm, MatmulEnd::kGate}) {
    const Sizes& sizes = end == MatmulEnd::kNextNorm ? kParts : kWhole;
    std::vector<Case> cases(std::begin(kCases), std::end(kCases));
    if (wide) cases.push_back({TensorKernel::kWide, kRows});
    std::vector<std::vector<float>> of_rows(kRows + 1);
    for (const Case& c : cases) {
      const std::vector<float> result = by(runtime, test, sizes, end, c);
      if (!near(result, test.truth(sizes, end, c.rows))) return false;
      std::vector<float>& all = of_rows[static_cast<size_t>(c.rows)];
      if (all.empty()) all = result;
      if (result != all) return false;
    }
    // Rows that fewer rows have, too.
    const std::ptrdiff_t count = std::ptrdiff_t{5} * sizes.outs;
    const std::ptrdiff_t bf16 = std::ptrdiff_t{kRows} * (kMostOuts + kMostGroups);
    for (const int rows : {11, kRows}) {
      for (const std::ptrdiff_t first : {std::ptrdiff_t{0}, bf16}) {
        const auto begin = of_rows[static_cast<size_t>(rows)].begin() + first;
        if (!std::equal(begin, begin + count, of_rows[5].begin() + first)) return false;
      }
    }
  }
  return true;
}

}  // namespace

TensorSupport test_tensor_matmuls(Runtime& runtime) {
  TensorSupport support;
  TestMatmul test(runtime);
  if (!test.complete()) return support;
  support.matmuls = std::all_of(std::begin(kCases), std::end(kCases), [&](const Case& c) {
    return gives_what_plain_does(runtime, test, kTails, c);
  });
  support.matmuls = support.matmuls && gives_what_plain_does(runtime, test, kLong,
                                                             {TensorKernel::kFewRows, kLongRows});
  if (!support.matmuls) return support;
  const auto wide = [&](const Sizes& sizes, int rows) {
    return gives_what_plain_does(runtime, test, sizes, {TensorKernel::kWide, rows});
  };
  support.wide = runtime.has_clusters() && wide(kTails, kRows) && wide(kLong, kLongRows);
  support.ends = ends_agree(runtime, test, support.wide);
  return support;
}

}  // namespace deltaserve::cuda
