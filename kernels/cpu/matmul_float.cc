// Products of f32 and bf16 weights with float activations.
#include <algorithm>
#include <type_traits>

#include "kernels/cpu/panel_task.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul_float.cc"
#include "hwy/foreach_target.h"  // compiles this file once per target
#include "hwy/highway.h"
#include "kernels/cpu/row_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {

constexpr int64_t kInnerBlock = 256;  // input features of one chain of additions

// Where the two vectors of a group stand among a panel's outputs.
HWY_INLINE constexpr int64_t output_of(const float*, int group, int half) {
  return (2 * group + half) * lanes();
}
HWY_INLINE constexpr int64_t output_of(const uint32_t*, int group, int half) {
  return group * lanes() + half * (cpu::kPanelColumns / 2);
}

// Weights in a panel: words of kPanelColumns floats or of half as many pairs of bf16 a feature.
template <class Word>
struct PanelWeights {
  static constexpr int64_t kWords =
      cpu::kPanelColumns / (std::is_same_v<Word, float> ? 1 : 2);  // of a feature
  const Word* words;
  int64_t panel_stride;

  // Of one input feature to a group of outputs, widened.
  HWY_INLINE void load(int64_t k, int panel, int group, FloatVec* w) const {
    const Floats d;
    const Word* from = words + panel * panel_stride + k * kWords;
    if constexpr (std::is_same_v<Word, float>) {
      w[0] = hn::Load(d, from + output_of(words, group, 0));
      w[1] = hn::Load(d, from + output_of(words, group, 1));
    } else {
      const hn::RebindToUnsigned<Floats> u;
      const auto pair = hn::Load(u, from + group * lanes());
      w[0] = hn::BitCast(d, hn::ShiftLeft<16>(pair));
      w[1] = hn::BitCast(d, hn::And(pair, hn::Set(u, 0xffff0000u)));
    }
  }
};

// One group, widened once for many tiles.
struct WidenedWeights {
  const float* vectors;

  HWY_INLINE void load(int64_t k, int, int, FloatVec* w) const {
    const Floats d;
    w[0] = hn::Load(d, vectors + 2 * k * lanes());
    w[1] = hn::Load(d, vectors + (2 * k + 1) * lanes());
  }
};

struct Rows {
  const float* x;
  int64_t x_stride;
  float* out;
  int64_t out_stride;

  HWY_INLINE Rows from_row(int64_t row) const {
    return {x + row * x_stride, x_stride, out + row * out_stride, out_stride};
  }
};

// A block of input features. `first` starts the sums of the outputs, otherwise they go on from what
// is in `out`.
struct Block {
  int64_t inner;
  bool first;
};

// Adds a block's products for kRows rows and the groups [group, group + kCount) of kPanels panels.
// A function of its own: there the sums get registers.
template <int kRows, int kCount, int kPanels, class Word, class Weights>
HWY_NOINLINE void tile(const Rows& rows, const Weights& weights, int group, const Block& block) {
  const Floats d;
  const auto [x, x_stride, out, out_stride] = rows;
  const auto [inner, first] = block;
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
        weights.load(k, p, group + g, w);
        for (int r = 0; r < kRows; ++r) {
          const FloatVec factor = hn::Set(d, x[r * x_stride + k]);
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
          float* to = out + r * out_stride + p * cpu::kPanelColumns +
                      output_of(static_cast<const Word*>(nullptr), group + g, half);
          const FloatVec value = sum[r][p][g][half];
          hn::StoreU(first ? value : hn::Add(hn::LoadU(d, to), value), d, to);
        }
      }
    }
  }
}

// Tiles over weights that each widens itself.
template <class Word>
struct PanelTile {
  const Rows& rows;
  const PanelWeights<Word>& weights;
  const Block& block;

  template <int kRows>
  HWY_INLINE void run(int64_t row) const {
    constexpr int kCount = kTileGroups<kRows>;
    for (int group = 0; group < kGroups; group += kCount) {
      tile<kRows, kCount, 1, Word>(rows.from_row(row), weights, group, block);
    }
  }
};

// Tiles over one group that stays in the first-level cache.
template <class Word, class Weights>
struct GroupTile {
  const Rows& rows;
  const Weights& weights;
  int group;
  const Block& block;

  template <int kRows>
  HWY_INLINE void run(int64_t row) const {
    tile<kRows, 1, 1, Word>(rows.from_row(row), weights, group, block);
  }
};

template <class Word>
HWY_INLINE void multiply_group(const Rows& rows, int64_t num_rows,
                               const PanelWeights<Word>& weights, int group, const Block& block) {
  alignas(64) float vectors[2 * kInnerBlock * lanes()];
  const Floats d;
  for (int64_t k = 0; k < block.inner; ++k) {
    FloatVec w[2];
    weights.load(k, 0, group, w);
    hn::Store(w[0], d, vectors + 2 * k * lanes());
    hn::Store(w[1], d, vectors + (2 * k + 1) * lanes());
  }
  const WidenedWeights widened = {vectors};
  for_row_tiles(GroupTile<Word, WidenedWeights>{rows, widened, group, block}, num_rows);
}

// From here on copying a group of a block once pays for the way through memory.
constexpr int64_t kWidenRows = 3 * kManyRows;
// Products with few rows take two panels at a time, for more independent sums.
constexpr int64_t kPairRows = 2;

template <class Word>
HWY_NOINLINE void multiply_panels(const cpu::PanelTask& task) {
  const auto stride = static_cast<int64_t>(task.w->panel_bytes() / sizeof(Word));
  const auto* panels = reinterpret_cast<const Word*>(task.w->panel(task.first_panel));
  for (int64_t k = 0; k < task.w->columns; k += kInnerBlock) {
    const Block block = {std::min(kInnerBlock, task.w->columns - k), k == 0 && !task.accumulate};
    for (int64_t p = 0; p < task.num_panels; ++p) {
      const PanelWeights<Word> weights = {panels + p * stride + k * PanelWeights<Word>::kWords,
                                          stride};
      const Rows rows = {task.x + task.first_row * task.x_stride + k, task.x_stride,
                         task.out + p * cpu::kPanelColumns, task.out_stride};
      if (task.num_rows >= kWidenRows) {
        for (int group = 0; group < kGroups; ++group) {
          multiply_group(rows, task.num_rows, weights, group, block);
        }
      } else if (task.num_rows <= kPairRows && p + 1 < task.num_panels) {
        for (int64_t r = 0; r < task.num_rows; ++r) {
          tile<1, kGroups, 2, Word>(rows.from_row(r), weights, 0, block);
        }
        ++p;
      } else {
        for_row_tiles(PanelTile<Word>{rows, weights, block}, task.num_rows);
      }
    }
  }
}

void MultiplyFloatPanels(const cpu::PanelTask& task) {
  if (task.w->format == WeightFormat::kBf16) {
    multiply_panels<uint32_t>(task);
  } else {
    multiply_panels<float>(task);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace deltaserve
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace deltaserve {
HWY_EXPORT(MultiplyFloatPanels);
namespace cpu {

void multiply_float_panels(const PanelTask& task) {
  HWY_DYNAMIC_DISPATCH(MultiplyFloatPanels)(task);
}

}  // namespace cpu
}  // namespace deltaserve
#endif
