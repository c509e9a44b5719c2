// Row operations of a GPU: equal to double, with their bf16 copies, on any order of threads.
#include "kernels/cuda/layer/rowwise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

namespace deltaserve::cuda {
namespace {

using simt::host::Order;

constexpr double kTolerance = 1e-6;  // relative, float against double
constexpr uint16_t kUntouchedHalf = 0x7fc1;

std::vector<float> normals(int64_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(n));
  for (float& value : x) value = normal(rng);
  return x;
}

// Columns after a row's own.
struct End {
  int64_t columns = 3;
};

// Rows of NaN with a bf16 copy, and one row more that nobody writes.
class Rows {
 public:
  Rows(int64_t rows, int64_t columns, End end = {})
      : rows_(rows),
        columns_(columns),
        stride_(columns + end.columns),
        floats_(static_cast<size_t>((rows + 1) * stride_), NAN),
        halves_(floats_.size(), kUntouchedHalf) {}
  Rows(int64_t rows, int64_t columns, uint32_t seed, End end = {}) : Rows(rows, columns, end) {
    floats_ = normals((rows + 1) * stride_, seed);
  }

  DeviceRows device() { return {floats_.data(), halves_.data(), columns_, stride_}; }
  DeviceRows without_copy() { return {floats_.data(), nullptr, columns_, stride_}; }
  DeviceRows only_copy() { return {nullptr, halves_.data(), columns_, stride_}; }
  float at(int64_t row, int64_t column) const {
    return floats_[static_cast<size_t>(row * stride_ + column)];
  }
  bool was_copied(int64_t row, int64_t column) const {
    return halves_[static_cast<size_t>(row * stride_ + column)] == f32_to_bf16(at(row, column));
  }
  uint16_t copy_at(int64_t row, int64_t column) const {
    return halves_[static_cast<size_t>(row * stride_ + column)];
  }
  bool copy_is_untouched(int64_t row, int64_t column) const {
    return halves_[static_cast<size_t>(row * stride_ + column)] == kUntouchedHalf;
  }
  // Expects that the rows, which were made of NaN, have kept what follows their columns.
  void expect_end_untouched() const {
    for (int64_t r = 0; r <= rows_; ++r) {
      for (int64_t c = r < rows_ ? columns_ : 0; c < stride_; ++c) {
        ASSERT_TRUE(std::isnan(at(r, c)) && copy_is_untouched(r, c)) << r << " " << c;
      }
    }
  }
  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }

 private:
  int64_t rows_;
  int64_t columns_;
  int64_t stride_;
  std::vector<float> floats_;
  std::vector<uint16_t> halves_;
};

// Each entry within the tolerance of truth(row, column), relative to the largest of its row.
template <class Truth>
void expect_near(const Rows& rows, const Truth& truth) {
  for (int64_t r = 0; r < rows.rows(); ++r) {
    double largest = 0;
    for (int64_t c = 0; c < rows.columns(); ++c) {
      largest = std::max(largest, std::abs(truth(r, c)));
    }
    for (int64_t c = 0; c < rows.columns(); ++c) {
      // Written so that NaN fails.
      ASSERT_TRUE(std::abs(double{rows.at(r, c)} - truth(r, c)) <= kTolerance * largest)
          << r << ' ' << c << ' ' << rows.at(r, c) << ' ' << truth(r, c);
      ASSERT_TRUE(rows.was_copied(r, c)) << r << ' ' << c;
    }
  }
}

class CudaRowwise : public testing::TestWithParam<Order> {
 protected:
  CudaRowwise() { simt::host::set_order(GetParam()); }
  ~CudaRowwise() override { simt::host::set_order(Order::kForward); }
};

TEST_P(CudaRowwise, EmbedsRowsOfTheTable) {
  constexpr int64_t kColumns = 700;
  constexpr int64_t kStride = 704;
  const std::vector<float> floats = normals(9 * kStride, 1);
  std::vector<uint16_t> halves;
  for (const float x : floats) halves.push_back(f32_to_bf16(x));
  // A token, two of a segment, padding, what a slot has drawn last.
  const std::vector<int32_t> ids = {8, 0, 3, 5, kTokenOfSlot};
  const std::vector<int32_t> expected = {8, 0, 3, -1, 7};
  std::vector<Segment> segments = {{RowKind::kDecode, 0, 0, 0, 1, 4},
                                   {RowKind::kDecode, 1, 1, 1, 2, 4},
                                   {RowKind::kDecode, -1, -1, 3, 1, 0},
                                   {RowKind::kDecode, 2, 3, 4, 1, 4}};
  const std::vector<int32_t> row_segments = {0, 1, 1, 2, 3};
  const std::vector<int32_t> last_tokens = {1, 2, 7, 6};
  const RowTokens tokens = {ids.data(), row_segments.data(), segments.data(), last_tokens.data()};
  for (const Dtype dtype : {Dtype::kF32, Dtype::kBf16}) {
    const bool wide = dtype == Dtype::kF32;
    const void* data = wide ? static_cast<const void*>(floats.data()) : halves.data();
    Rows out(5, kColumns);
    launch_embed({}, {data, dtype, 9, kColumns, kStride}, tokens, 5, out.device());
    for (int64_t r = 0; r < 5; ++r) {
      for (int64_t c = 0; c < kColumns; ++c) {
        const auto at = static_cast<size_t>(expected[static_cast<size_t>(r)] * kStride + c);
        const float stored = expected[static_cast<size_t>(r)] < 0 ? 0
                             : wide                               ? floats[at]
                                                                  : bf16_to_f32(halves[at]);
        ASSERT_EQ(out.at(r, c), stored) << r << ' ' << c;
        ASSERT_TRUE(out.was_copied(r, c));
      }
    }
    out.expect_end_untouched();
  }
}

TEST_P(CudaRowwise, ScalesRowsAndLeavesTheirFactor) {
  for (const int64_t columns : {5, 64, 300}) {
    Rows x(3, columns, 4);
    Rows out(3, columns);
    const std::vector<float> weight = normals(columns, 5);
    const auto groups = static_cast<size_t>(square_groups(columns));
    std::vector<float> squares(3 * groups + 1, NAN);
    launch_scale_rows({}, x.device(), weight.data(), 3, out.device(), squares.data());
    for (int64_t r = 0; r < 3; ++r) {
      std::vector<double> truth(groups);
      for (int64_t c = 0; c < columns; ++c) {
        truth[static_cast<size_t>(c / kSquareGroup)] += double{x.at(r, c)} * double{x.at(r, c)};
        ASSERT_EQ(out.copy_at(r, c), f32_to_bf16(x.at(r, c) * weight[static_cast<size_t>(c)]));
        ASSERT_TRUE(std::isnan(out.at(r, c)));
      }
      for (size_t g = 0; g < groups; ++g) {
        ASSERT_NEAR(squares[static_cast<size_t>(r) * groups + g], truth[g], 1e-5 * truth[g]);
      }
    }
    ASSERT_TRUE(std::isnan(squares.back()));
    out.expect_end_untouched();
  }
}

// The rows have from less than a warp to more than a block keeps in registers.
TEST_P(CudaRowwise, NormalisesRows) {
  for (const int64_t columns : {5, 129, 1024, 5000}) {
    SCOPED_TRACE(columns);
    Rows x(4, columns, 2);
    const std::vector<float> weight = normals(columns, 3);
    const std::vector<int32_t> sources = {3, 1, 1};
    std::vector<double> scales;  // of the rows
    for (int64_t r = 0; r < 4; ++r) {
      double squares = 0;
      for (int64_t c = 0; c < columns; ++c) squares += double{x.at(r, c)} * double{x.at(r, c)};
      scales.push_back(1 / std::sqrt(squares / static_cast<double>(columns) + double{0.1f}));
    }
    Rows out(4, columns);
    launch_rms_norm({}, x.device(), nullptr, weight.data(), 0.1f, 4, out.device());
    expect_near(out, [&](int64_t r, int64_t c) {
      const auto row = static_cast<size_t>(r);
      return scales[row] * double{x.at(r, c)} * double{weight[static_cast<size_t>(c)]};
    });
    out.expect_end_untouched();
    Rows gathered(3, columns);
    launch_rms_norm({}, x.without_copy(), sources.data(), weight.data(), 0.1f, 3,
                    gathered.device());
    for (int64_t r = 0; r < 3; ++r) {
      for (int64_t c = 0; c < columns; ++c) {
        ASSERT_EQ(gathered.at(r, c), out.at(sources[static_cast<size_t>(r)], c));
      }
    }
    gathered.expect_end_untouched();
  }
}

TEST_P(CudaRowwise, NormalisesInPlace) {
  for (const int64_t columns : {129, 5000}) {
    Rows x(2, columns, 4);
    Rows out(2, columns);
    const std::vector<float> weight = normals(columns, 5);
    launch_rms_norm({}, x.device(), nullptr, weight.data(), 1e-6f, 2, out.device());
    launch_rms_norm({}, x.device(), nullptr, weight.data(), 1e-6f, 2, x.device());
    for (int64_t c = 0; c < columns; ++c) ASSERT_EQ(x.at(1, c), out.at(1, c)) << c;
  }
}

TEST_P(CudaRowwise, AddsABiasToSomeColumns) {
  constexpr int64_t kColumn = 11;
  constexpr int64_t kCount = 600;
  Rows rows(3, 640, 6);
  const Rows before = rows;
  const std::vector<float> bias = normals(kCount, 7);
  launch_add_bias({}, bias.data(), kCount, 3, rows.device(), kColumn);
  for (int64_t r = 0; r < 4; ++r) {
    for (int64_t c = 0; c < rows.columns(); ++c) {
      if (r < 3 && c >= kColumn && c < kColumn + kCount) {
        ASSERT_EQ(rows.at(r, c), before.at(r, c) + bias[static_cast<size_t>(c - kColumn)]);
        ASSERT_TRUE(rows.was_copied(r, c));
      } else {
        ASSERT_EQ(rows.at(r, c), before.at(r, c));
        ASSERT_TRUE(rows.copy_is_untouched(r, c));
      }
    }
  }
}

TEST_P(CudaRowwise, MultipliesByTheGate) {
  constexpr int64_t kColumns = 515;
  Rows x(3, 2 * kColumns, 8);
  Rows out(3, kColumns);
  launch_gate({}, Activation::kSilu, x.device(), 3, out.device());
  expect_near(out, [&](int64_t row, int64_t c) {
    const double gate = double{x.at(row, c)};
    return gate / (1 + std::exp(-gate)) * double{x.at(row, kColumns + c)};
  });
  out.expect_end_untouched();
}

// Columns that are taken by eights: one thread's, more than one block's.
TEST_P(CudaRowwise, MultipliesAlignedRowsByTheGate) {
  for (const int64_t columns : {8, 1104}) {
    Rows x(3, 2 * columns, 8, End{16});
    Rows out(3, columns, End{8});
    launch_gate({}, Activation::kSilu, x.device(), 3, out.device());
    Rows narrow(3, columns);
    launch_gate({}, Activation::kSilu, x.device(), 3, narrow.device());
    for (int64_t r = 0; r < 3; ++r) {
      for (int64_t c = 0; c < columns; ++c) {
        ASSERT_EQ(out.at(r, c), narrow.at(r, c)) << r << ' ' << c;
        ASSERT_TRUE(out.was_copied(r, c)) << r << ' ' << c;
      }
    }
    out.expect_end_untouched();
  }
}

// Rows of which all readers take bf16 have no floats; wide and narrow gates, norms.
TEST_P(CudaRowwise, WritesOnlyACopyWhereThereAreNoFloats) {
  for (const End end : {End{3}, End{8}}) {
    Rows x(2, 80, 9, end);
    Rows whole(2, 40, end);
    Rows out(2, 40, end);
    launch_gate({}, Activation::kSilu, x.device(), 2, whole.device());
    launch_gate({}, Activation::kSilu, x.device(), 2, out.only_copy());
    const std::vector<float> weight = normals(80, 3);
    Rows norm(2, 80, end);
    Rows norm_out(2, 80, end);
    launch_rms_norm({}, x.device(), nullptr, weight.data(), 0.1f, 2, norm.device());
    launch_rms_norm({}, x.device(), nullptr, weight.data(), 0.1f, 2, norm_out.only_copy());
    for (int64_t r = 0; r < 2; ++r) {
      for (int64_t c = 0; c < 80; ++c) ASSERT_EQ(norm_out.copy_at(r, c), norm.copy_at(r, c));
      for (int64_t c = 0; c < 40; ++c) {
        ASSERT_EQ(out.copy_at(r, c), whole.copy_at(r, c));
        ASSERT_TRUE(std::isnan(out.at(r, c)));
      }
    }
    out.expect_end_untouched();
  }
}

TEST_P(CudaRowwise, WritesNoCopyWhereNoneIsAsked) {
  Rows x(2, 80, 9);
  Rows copied(2, 40);
  Rows out(2, 40);
  launch_gate({}, Activation::kSilu, x.device(), 2, copied.device());
  launch_gate({}, Activation::kSilu, x.device(), 2, out.without_copy());
  for (int64_t c = 0; c < 40; ++c) {
    ASSERT_EQ(out.at(1, c), copied.at(1, c));
    ASSERT_TRUE(out.copy_is_untouched(1, c));
  }
}

std::string name_of(const testing::TestParamInfo<Order>& info) {
  return info.param == Order::kForward ? "Forward" : "Backward";
}

INSTANTIATE_TEST_SUITE_P(Orders, CudaRowwise, testing::Values(Order::kForward, Order::kBackward),
                         name_of);

}  // namespace
}  // namespace deltaserve::cuda
