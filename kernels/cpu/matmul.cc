#include "kernels/cpu/matmul.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul.cc"
#include "hwy/foreach_target.h"  // compiles this file once per target
#include "hwy/highway.h"
#include "kernels/cpu/dense-inl.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {

constexpr int64_t kInnerBlock = 256;  // input features of one chain of additions

// A panel is cut into groups of two vectors of outputs: for bf16 the low and high halves of one
// vector of words.
constexpr int kGroups = static_cast<int>(cpu::kPanelColumns) / (2 * lanes());
// Rows of a register tile with one group: all sums, two weights and a factor stay in registers.
constexpr int kManyRows = HWY_TARGET <= HWY_AVX3 ? 12 : 6;

// Where the two vectors of a group stand among a panel's outputs.
HWY_INLINE int64_t output_of(const float*, int group, int half) {
  return (2 * group + half) * lanes();
}
HWY_INLINE int64_t output_of(const uint32_t*, int group, int half) {
  return group * lanes() + half * (cpu::kPanelColumns / 2);
}

// The weights of one input feature to a group of outputs, widened.
HWY_INLINE void load_weights(const float* panel, int64_t k, int group, FloatVec* w) {
  const Floats d;
  const float* from = panel + k * cpu::kPanelColumns + output_of(panel, group, 0);
  w[0] = hn::Load(d, from);
  w[1] = hn::Load(d, from + lanes());
}
HWY_INLINE void load_weights(const uint32_t* panel, int64_t k, int group, FloatVec* w) {
  const hn::RebindToUnsigned<Floats> words;
  const Floats d;
  const auto pair = hn::Load(words, panel + k * (cpu::kPanelColumns / 2) + group * lanes());
  w[0] = hn::BitCast(d, hn::ShiftLeft<16>(pair));
  w[1] = hn::BitCast(d, hn::And(pair, hn::Set(words, 0xffff0000u)));
}

struct Activations {
  const float* rows;
  int64_t stride;
};

struct Outputs {
  float* rows;
  int64_t stride;
};

// Adds the products of `inner` input features for kRows rows and the groups [group, group +
// kCount) of kPanels panels. `first` starts the sums, otherwise they go on from what is in `out`.
template <int kRows, int kCount, int kPanels, class Weight>
HWY_INLINE void tile(const Activations& x, const Weight* panel, size_t panel_stride, int group,
                     int64_t inner, bool first, const Outputs& out) {
  const Floats d;
  FloatVec sum[kRows][kPanels][kCount][2];
  for (int r = 0; r < kRows; ++r) {
    for (int p = 0; p < kPanels; ++p) {
      for (int g = 0; g < kCount; ++g) sum[r][p][g][0] = sum[r][p][g][1] = hn::Zero(d);
    }
  }
  for (int64_t k = 0; k < inner; ++k) {
    for (int p = 0; p < kPanels; ++p) {
      for (int g = 0; g < kCount; ++g) {
        FloatVec w[2];
        load_weights(panel + static_cast<size_t>(p) * panel_stride, k, group + g, w);
        for (int r = 0; r < kRows; ++r) {
          const FloatVec factor = hn::Set(d, x.rows[r * x.stride + k]);
          sum[r][p][g][0] = hn::MulAdd(factor, w[0], sum[r][p][g][0]);
          sum[r][p][g][1] = hn::MulAdd(factor, w[1], sum[r][p][g][1]);
        }
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int p = 0; p < kPanels; ++p) {
      for (int g = 0; g < kCount; ++g) {
        for (int half = 0; half < 2; ++half) {
          float* to = out.rows + r * out.stride + p * cpu::kPanelColumns +
                      output_of(panel, group + g, half);
          const FloatVec block = sum[r][p][g][half];
          hn::StoreU(first ? block : hn::Add(hn::LoadU(d, to), block), d, to);
        }
      }
    }
  }
}

// `kRows` rows at `row` against every group of the panels.
template <int kRows, int kPanels, class Weight>
HWY_INLINE void row_tile(const Activations& x, int64_t row, const Weight* panel,
                         size_t panel_stride, int64_t inner, bool first, const Outputs& out) {
  const Activations from = {x.rows + row * x.stride, x.stride};
  const Outputs to = {out.rows + row * out.stride, out.stride};
  if constexpr (kRows * kGroups * kPanels <= kManyRows) {
    tile<kRows, kGroups, kPanels>(from, panel, panel_stride, 0, inner, first, to);
  } else {
    for (int group = 0; group < kGroups; ++group) {
      tile<kRows, 1, kPanels>(from, panel, panel_stride, group, inner, first, to);
    }
  }
}

// All rows against `kPanels` adjacent panels.
template <int kPanels, class Weight>
HWY_NOINLINE void panel_product(Activations x, const Weight* panel, size_t panel_stride,
                                int64_t num_rows, int64_t columns, bool accumulate,
                                const Outputs& out) {
  const auto per_feature = static_cast<int64_t>(panel_stride) / columns;
  for (int64_t k = 0; k < columns; k += kInnerBlock) {
    const int64_t inner = std::min(kInnerBlock, columns - k);
    const Weight* block = panel + k * per_feature;
    const bool first = k == 0 && !accumulate;
    int64_t r = 0;
    if constexpr (kPanels == 1) {
      for (; r + kManyRows <= num_rows; r += kManyRows) {
        row_tile<kManyRows, 1>(x, r, block, panel_stride, inner, first, out);
      }
      for (; r + 3 <= num_rows; r += 3) {
        row_tile<3, 1>(x, r, block, panel_stride, inner, first, out);
      }
    }
    for (; r < num_rows; ++r) {
      row_tile<1, kPanels>(x, r, block, panel_stride, inner, first, out);
    }
    x.rows += inner;
  }
}

// Panels [first_panel, first_panel + num_panels), num_panels 1 or 2, into `out`, which has room for
// whole panels.
void MultiplyPanels(const float* x, int64_t x_stride, const cpu::PackedMatrix& w,
                    int64_t first_panel, int64_t num_panels, int64_t num_rows, bool accumulate,
                    float* out, int64_t out_stride) {
  const Activations from = {x, x_stride};
  const Outputs to = {out, out_stride};
  const auto multiply = [&](auto* panel) HWY_ATTR {
    const size_t stride = w.panel_bytes() / sizeof(*panel);
    if (num_panels == 2) {
      panel_product<2>(from, panel, stride, num_rows, w.columns, accumulate, to);
    } else {
      panel_product<1>(from, panel, stride, num_rows, w.columns, accumulate, to);
    }
  };
  const unsigned char* bytes = w.panel(first_panel);
  if (w.dtype == Dtype::kBf16) {
    multiply(reinterpret_cast<const uint32_t*>(bytes));
  } else {
    multiply(reinterpret_cast<const float*>(bytes));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace deltaserve
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace deltaserve {
HWY_EXPORT(MultiplyPanels);
namespace cpu {
namespace {

uint16_t load_bf16(const HostMatrix& block, int64_t row, int64_t column) {
  uint16_t bits = 0;
  std::memcpy(
      &bits, static_cast<const unsigned char*>(block.data) + 2 * (row * block.columns + column), 2);
  return bits;
}

// Output `row` of `block` becomes column `lane` of `panel`.
void pack_row(const HostMatrix& block, int64_t row, int64_t lane, PackedMatrix& to,
              unsigned char* panel) {
  for (int64_t k = 0; k < to.columns; ++k) {
    if (to.dtype == Dtype::kBf16) {
      const int64_t half = 2 * (k * (kPanelColumns / 2) + lane % 16) + lane / 16;
      const uint16_t bits = load_bf16(block, row, k);
      std::memcpy(panel + 2 * half, &bits, 2);
    } else {
      const float value =
          load_as_f32(block.data, block.dtype, static_cast<size_t>(row * block.columns + k));
      std::memcpy(panel + 4 * (k * kPanelColumns + lane), &value, 4);
    }
  }
}

// Products with few rows take two panels at a time, for more independent sums.
constexpr int64_t kPairRows = 2;
// A last panel that the output has no room for goes through a small buffer, rows at a time.
constexpr int64_t kTailRows = 16;

void multiply_partial_panel(const float* x, int64_t x_stride, const PackedMatrix& w, int64_t panel,
                            int64_t num_rows, bool accumulate, float* out, int64_t out_stride) {
  alignas(64) float buffer[kTailRows * kPanelColumns];
  const int64_t columns = w.rows - panel * kPanelColumns;
  for (int64_t r = 0; r < num_rows; r += kTailRows) {
    const int64_t rows = std::min(kTailRows, num_rows - r);
    float* to = out + r * out_stride + panel * kPanelColumns;
    if (accumulate) {
      for (int64_t i = 0; i < rows; ++i) {
        std::copy_n(to + i * out_stride, columns, buffer + i * kPanelColumns);
        std::fill_n(buffer + i * kPanelColumns + columns, kPanelColumns - columns, 0.0f);
      }
    }
    HWY_DYNAMIC_DISPATCH(MultiplyPanels)
    (x + r * x_stride, x_stride, w, panel, 1, rows, accumulate, buffer, kPanelColumns);
    for (int64_t i = 0; i < rows; ++i) {
      std::copy_n(buffer + i * kPanelColumns, columns, to + i * out_stride);
    }
  }
}

}  // namespace

float PackedMatrix::at(int64_t row, int64_t column) const {
  const unsigned char* from = panel(row / kPanelColumns);
  const int64_t lane = row % kPanelColumns;
  if (dtype == Dtype::kBf16) {
    const int64_t half = 2 * (column * (kPanelColumns / 2) + lane % 16) + lane / 16;
    return load_as_f32(from, Dtype::kBf16, static_cast<size_t>(half));
  }
  return load_as_f32(from, Dtype::kF32, static_cast<size_t>(column * kPanelColumns + lane));
}

PackedMatrix pack_matrix(const HostMatrix* blocks, int num_blocks, ThreadPool& threads) {
  PackedMatrix packed;
  packed.dtype = Dtype::kBf16;
  packed.columns = blocks[0].columns;
  for (int i = 0; i < num_blocks; ++i) {
    packed.rows += blocks[i].rows;
    if (blocks[i].dtype != Dtype::kBf16) packed.dtype = Dtype::kF32;
  }
  packed.data =
      allocate_aligned<unsigned char>(static_cast<size_t>(packed.panels()) * packed.panel_bytes());
  if (packed.data == nullptr) return packed;
  threads.parallel_for(packed.panels(), [&](int64_t index, int) {
    unsigned char* panel = packed.data.get() + static_cast<size_t>(index) * packed.panel_bytes();
    std::memset(panel, 0, packed.panel_bytes());
    int64_t first = 0;  // output feature that the block begins with
    for (int i = 0; i < num_blocks; first += blocks[i++].rows) {
      const int64_t begin = std::max(first, index * kPanelColumns);
      const int64_t end = std::min(first + blocks[i].rows, (index + 1) * kPanelColumns);
      for (int64_t row = begin; row < end; ++row) {
        pack_row(blocks[i], row - first, row - index * kPanelColumns, packed, panel);
      }
    }
  });
  return packed;
}

void matmul(const float* x, int64_t x_stride, const PackedMatrix& w, int64_t num_rows,
            bool accumulate, float* out, int64_t out_stride, ThreadPool& threads) {
  const int64_t per_task = num_rows <= kPairRows ? 2 : 1;
  const int64_t whole = w.rows / kPanelColumns;
  threads.parallel_for((w.panels() + per_task - 1) / per_task, [&](int64_t task, int) {
    const int64_t first = task * per_task;
    const int64_t end = std::min(first + per_task, w.panels());
    const int64_t full = std::min(end, whole) - first;
    if (full > 0) {
      HWY_DYNAMIC_DISPATCH(MultiplyPanels)
      (x, x_stride, w, first, full, num_rows, accumulate, out + first * kPanelColumns, out_stride);
    }
    if (end > whole) {
      multiply_partial_panel(x, x_stride, w, whole, num_rows, accumulate, out, out_stride);
    }
  });
}

}  // namespace cpu
}  // namespace deltaserve
#endif
