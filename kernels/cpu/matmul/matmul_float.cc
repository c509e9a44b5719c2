// Matmuls of f32 and bf16 weights with float activations, or of bf16 weights with bf16 ones.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/matmul/panel_task.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul/matmul_float.cc"
#include "hwy/foreach_target.h"  // compiles this file once per target
#include "hwy/highway.h"
#include "kernels/cpu/matmul/row_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {

constexpr int64_t kInnerBlock = 256;  // input features per chain of additions

// A chain of sums that takes one input feature at a time: sum + w x.
struct FloatLinks {
  using Row = float;
  using Vector = FloatVec;
  static constexpr int64_t kStep = 1;

  static HWY_INLINE Vector factor(const Row* x) { return hn::Set(Floats(), *x); }
  static HWY_INLINE FloatVec add(FloatVec sum, Vector w, Vector x) { return hn::MulAdd(x, w, sum); }
};

// A chain of sums that takes two input features at a time: sum + w1 x1 + w0 x0, of the bf16 halves
// of words. With AVX-512 it needs a processor with AVX512_BF16 and is assembly, because this
// Highway has no such target; elsewhere, in tests, it is made of multiply-adds.
struct DotLinks {
  using Row = int16_t;
  using Words = hn::RebindToUnsigned<Floats>;
  using Vector = hn::Vec<Words>;
  static constexpr int64_t kStep = 2;

  static HWY_INLINE Vector factor(const Row* x) {
    uint32_t pair = 0;
    std::memcpy(&pair, x, 4);
    return hn::Set(Words(), pair);
  }
  static HWY_INLINE FloatVec add(FloatVec sum, Vector w, Vector x) {
#if HWY_TARGET <= HWY_AVX3
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(w.raw), "v"(x.raw));
    return sum;
#else
    return hn::MulAdd(low(w), low(x), hn::MulAdd(high(w), high(x), sum));
#endif
  }
  static HWY_INLINE FloatVec low(Vector words) {
    return hn::BitCast(Floats(), hn::ShiftLeft<16>(words));
  }
  static HWY_INLINE FloatVec high(Vector words) {
    return hn::BitCast(Floats(), hn::And(words, hn::Set(Words(), 0xffff0000u)));
  }
};

// Reads f32 weights in a panel.
struct F32Weights : FloatLinks {
  using Word = float;
  static constexpr int64_t kWords = cpu::kPanelColumns;  // per input feature
  static constexpr bool kWorthCopying = true;
  const Word* words;
  int64_t panel_stride;

  F32Weights(const Word* first, int64_t stride) : words(first), panel_stride(stride) {}
  // Returns where the two vectors of a group are among a panel's outputs.
  static constexpr int64_t output_of(int group, int half) { return (2 * group + half) * lanes(); }
  // Loads the weights from the input features of one link to a group of outputs.
  HWY_INLINE void load(int64_t k, int panel, int group, Vector* w) const {
    const Word* from = words + panel * panel_stride + k * kWords;
    for (int half : {0, 1}) w[half] = hn::Load(Floats(), from + output_of(group, half));
  }
};

// Reads bf16 weights in a panel and widens them.
struct Bf16Weights : FloatLinks {
  using Word = uint32_t;
  static constexpr int64_t kWords = cpu::kPanelColumns / 2;
  static constexpr bool kWorthCopying = true;
  const Word* words;
  int64_t panel_stride;

  Bf16Weights(const Word* first, int64_t stride) : words(first), panel_stride(stride) {}
  static constexpr int64_t output_of(int group, int half) {
    return group * lanes() + half * (cpu::kPanelColumns / 2);
  }
  HWY_INLINE void load(int64_t k, int panel, int group, Vector* w) const {
    const auto pair =
        hn::Load(DotLinks::Words(), words + panel * panel_stride + k * kWords + group * lanes());
    w[0] = DotLinks::low(pair);
    w[1] = DotLinks::high(pair);
  }
};

// Reads pairs of bf16 weights in a panel.
struct PairedWeights : DotLinks {
  using Word = uint32_t;
  static constexpr int64_t kWords = cpu::kPanelColumns / 2;
  static constexpr bool kWorthCopying = false;
  const Word* words;
  int64_t panel_stride;

  PairedWeights(const Word* first, int64_t stride) : words(first), panel_stride(stride) {}
  static constexpr int64_t output_of(int group, int half) {
    return F32Weights::output_of(group, half);
  }
  HWY_INLINE void load(int64_t k, int panel, int group, Vector* w) const {
    const Word* from = words + panel * panel_stride + k * kWords;
    for (int half : {0, 1}) w[half] = hn::Load(Words(), from + output_of(group, half));
  }
};

// Reads one group of a panel, widened once for many tiles.
template <class Panel>
struct CopiedWeights : FloatLinks {
  const float* vectors;

  explicit CopiedWeights(const float* first) : vectors(first) {}
  static constexpr int64_t output_of(int group, int half) { return Panel::output_of(group, half); }
  HWY_INLINE void load(int64_t k, int, int, Vector* w) const {
    for (int half : {0, 1}) w[half] = hn::Load(Floats(), vectors + (2 * k + half) * lanes());
  }
};

template <class Row>
struct Rows {
  const Row* x;
  int64_t x_stride;
  float* out;
  int64_t out_stride;

  HWY_INLINE Rows from_row(int64_t row) const {
    return {x + row * x_stride, x_stride, out + row * out_stride, out_stride};
  }
};

// A block of input features. `first` starts the sums of the outputs; otherwise they continue from
// the values in `out`.
struct Block {
  int64_t inner;
  bool first;

  // Returns the number of steps of a tile.
  template <class Weights>
  int64_t units() const {
    return (inner + Weights::kStep - 1) / Weights::kStep;
  }
};

// Adds the products of a block for kRows rows and the groups [group, group + kCount) of kPanels
// panels. It is a function of its own with unrolled loops, so that the sums are in registers from
// the start.
template <int kRows, int kCount, int kPanels, class Weights>
HWY_NOINLINE void tile(const Rows<typename Weights::Row>& rows, const Weights& weights, int group,
                       const Block& block, const Ahead& ahead) {
  const Floats d;
  const auto [x, x_stride, out, out_stride] = rows;
  const auto [inner, first] = block;
  FloatVec sum[kRows][kPanels][kCount][2];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 16
      for (int g = 0; g < kCount; ++g) sum[r][p][g][0] = sum[r][p][g][1] = hn::Zero(d);
    }
  }
  for (int64_t unit = 0, k = 0; k < inner; ++unit, k += Weights::kStep) {
    ahead.ask(unit);
#pragma GCC unroll 16
    for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 16
      for (int g = 0; g < kCount; ++g) {
        typename Weights::Vector w[2];
        weights.load(k, p, group + g, w);
#pragma GCC unroll 16
        for (int r = 0; r < kRows; ++r) {
          const auto factor = Weights::factor(x + r * x_stride + k);
          sum[r][p][g][0] = Weights::add(sum[r][p][g][0], w[0], factor);
          sum[r][p][g][1] = Weights::add(sum[r][p][g][1], w[1], factor);
        }
      }
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int p = 0; p < kPanels; ++p) {
#pragma GCC unroll 16
      for (int g = 0; g < kCount; ++g) {
#pragma GCC unroll 16
        for (int half = 0; half < 2; ++half) {
          float* to =
              out + r * out_stride + p * cpu::kPanelColumns + Weights::output_of(group + g, half);
          const FloatVec value = sum[r][p][g][half];
          hn::StoreU(first ? value : hn::Add(hn::LoadU(d, to), value), d, to);
        }
      }
    }
  }
}

// Computes tiles, each of which loads its weights from the panel.
template <class Weights>
struct PanelTile {
  const Rows<typename Weights::Row>& rows;
  const Weights& weights;
  const Block& block;
  Lookahead& lookahead;

  template <int kRows>
  HWY_INLINE void run(int64_t row) const {
    constexpr int kCount = kTileGroups<kRows>;
    for (int group = 0; group < kGroups; group += kCount) {
      tile<kRows, kCount, 1>(rows.from_row(row), weights, group, block,
                             lookahead.take(block.units<Weights>()));
    }
  }
};

// Computes tiles over one group that stays in the first-level cache.
template <class Weights>
struct GroupTile {
  const Rows<typename Weights::Row>& rows;
  const Weights& weights;
  int group;
  const Block& block;
  Lookahead& lookahead;

  template <int kRows>
  HWY_INLINE void run(int64_t row) const {
    tile<kRows, 1, 1>(rows.from_row(row), weights, group, block,
                      lookahead.take(block.units<Weights>()));
  }
};

template <class Weights>
HWY_INLINE void multiply_group(const Rows<float>& rows, int64_t num_rows, const Weights& weights,
                               int group, const Block& block, Lookahead& lookahead) {
  alignas(64) float vectors[2 * kInnerBlock * lanes()];
  const Floats d;
  for (int64_t k = 0; k < block.inner; ++k) {
    FloatVec w[2];
    weights.load(k, 0, group, w);
    hn::Store(w[0], d, vectors + 2 * k * lanes());
    hn::Store(w[1], d, vectors + (2 * k + 1) * lanes());
  }
  const CopiedWeights<Weights> copied(vectors);
  const GroupTile<CopiedWeights<Weights>> tile = {rows, copied, group, block, lookahead};
  for_row_tiles<kManyRows>(tile, num_rows);
}

// From this many rows on, copying a group of a block once costs less than widening it for every
// tile.
constexpr int64_t kCopyRows = 3 * kManyRows;
// Up to this many rows, matmuls take two panels at a time, for more independent sums.
constexpr int64_t kPairRows = 2;

// A task whose weights are blocks of kInnerBlock input features. It computes one block of all
// panels after the other.
template <class Weights>
struct PanelBlocks {
  using Row = typename Weights::Row;
  using Word = typename Weights::Word;
  static constexpr int64_t kFeatureBytes = Weights::kWords * sizeof(Word);

  const cpu::PanelTask& task;
  const Row* x;
  int64_t x_stride;

  int64_t columns() const { return task.w->columns; }
  Block block(int64_t k) const {
    return {std::min(kInnerBlock, columns() - k), k == 0 && !task.accumulate};
  }
  Rows<Row> rows(int64_t p, int64_t k) const {
    return {x + task.first_row * x_stride + k, x_stride, task.out + p * cpu::kPanelColumns,
            task.out_stride};
  }
  // Returns the first weight of a block; panels are counted from the task's first.
  const unsigned char* begin(int64_t p, int64_t k) const {
    return task.w->panel(task.first_panel + p) + k * kFeatureBytes;
  }
  Weights weights(int64_t p, int64_t k) const {
    return {reinterpret_cast<const Word*>(begin(p, k)),
            static_cast<int64_t>(task.w->panel_bytes() / sizeof(Word))};
  }
  // Returns the memory to prefetch: the block after this one.
  Lookahead lookahead(int64_t p, int64_t k) const {
    if (++p == task.num_panels) {
      p = 0;
      k += kInnerBlock;
    }
    if (k >= columns()) {
      p = task.next_panel - task.first_panel;
      k = 0;
    }
    const unsigned char* next = begin(p, k);
    const unsigned char* end = next + block(k).inner * kFeatureBytes;
    // If a panel has only one tile, that tile reads memory at full speed and prefetches nothing.
    return {task.num_rows > kManyRows ? next : end, end};
  }
};

template <class Weights>
HWY_INLINE void multiply_panel(const PanelBlocks<Weights>& blocks, int64_t p, int64_t k) {
  const int64_t num_rows = blocks.task.num_rows;
  const Weights weights = blocks.weights(p, k);
  const auto rows = blocks.rows(p, k);
  const Block block = blocks.block(k);
  Lookahead lookahead = blocks.lookahead(p, k);
  if constexpr (Weights::kWorthCopying) {
    if (num_rows >= kCopyRows) {
      for (int group = 0; group < kGroups; ++group) {
        multiply_group(rows, num_rows, weights, group, block, lookahead);
      }
      return;
    }
  }
  for_row_tiles<kManyRows>(PanelTile<Weights>{rows, weights, block, lookahead}, num_rows);
}

template <class Weights>
HWY_INLINE void multiply_pair(const PanelBlocks<Weights>& blocks, int64_t p, int64_t k) {
  const unsigned char* begin = blocks.begin(p, k);
  for (int64_t r = 0; r < blocks.task.num_rows; ++r) {
    tile<1, kGroups, 2>(blocks.rows(p, k).from_row(r), blocks.weights(p, k), 0, blocks.block(k),
                        {begin, 0});
  }
}

template <class Weights>
HWY_NOINLINE void multiply_panels(const PanelBlocks<Weights>& blocks) {
  const int64_t num_panels = blocks.task.num_panels;
  for (int64_t k = 0; k < blocks.columns(); k += kInnerBlock) {
    int64_t p = 0;
    if (blocks.task.num_rows <= kPairRows) {
      for (; p + 1 < num_panels; p += 2) multiply_pair(blocks, p, k);
    }
    for (; p < num_panels; ++p) multiply_panel(blocks, p, k);
  }
}

void MultiplyFloatPanels(const cpu::PanelTask& task) {
  if (task.w->paired_bf16()) {
    const cpu::ActivationRows& x = *task.rounded;
    multiply_panels(PanelBlocks<PairedWeights>{task, x.words.get(), x.stride});
  } else if (task.w->format == WeightFormat::kBf16) {
    multiply_panels(PanelBlocks<Bf16Weights>{task, task.x, task.x_stride});
  } else {
    multiply_panels(PanelBlocks<F32Weights>{task, task.x, task.x_stride});
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
