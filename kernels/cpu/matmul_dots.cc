// Products of bf16 weights with activations rounded to bf16, two at a time: vdpbf16ps where the
// processor has it, the same sums from multiply-adds in tests.
#include <algorithm>
#include <cstring>

#include "kernels/cpu/panel_task.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul_dots.cc"
#include "hwy/foreach_target.h"  // compiles this file once per target
#include "hwy/highway.h"
#include "kernels/cpu/row_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {

constexpr int64_t kInnerBlock = 256;  // input features of one chain of additions
// Products with few rows take two panels at a time, for more independent sums.
constexpr int64_t kTwoPanelRows = 2;

using Words = hn::RebindToUnsigned<Floats>;
using WordVec = hn::Vec<Words>;

// Lane i: sum + a1 b1 + a0 b0, of the bf16 halves of words i. With AVX-512 only on processors with
// AVX512_BF16; written as assembly because this Highway has no such target.
HWY_INLINE FloatVec add_dot(FloatVec sum, WordVec a, WordVec b) {
#if HWY_TARGET <= HWY_AVX3
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum.raw) : "v"(a.raw), "v"(b.raw));
  return sum;
#else
  const Floats d;
  const auto mask = hn::Set(Words(), 0xffff0000u);
  const auto high =
      hn::MulAdd(hn::BitCast(d, hn::And(a, mask)), hn::BitCast(d, hn::And(b, mask)), sum);
  return hn::MulAdd(hn::BitCast(d, hn::ShiftLeft<16>(a)), hn::BitCast(d, hn::ShiftLeft<16>(b)),
                    high);
#endif
}

// One block of input features: pointers are the first row's and the first panel's.
struct DotBlock {
  const int16_t* x;
  int64_t x_stride;
  const uint32_t* words;  // [pair of input features][output of the panel]
  int64_t panel_stride;   // in words
  int64_t pairs;
  bool first;  // starts the sums of the outputs, otherwise they go on from what is in `out`
  float* out;
  int64_t out_stride;

  DotBlock from_row(int64_t row) const {
    DotBlock rest = *this;
    rest.x += row * x_stride;
    rest.out += row * out_stride;
    return rest;
  }
};

// kRows rows and the groups [group, group + kCount) of kPanels panels. A function of its own: there
// the sums get registers.
template <int kRows, int kCount, int kPanels>
HWY_NOINLINE void dot_tile(const DotBlock& block, int group) {
  const Floats d;
  const Words words;
  const DotBlock b = block;
  constexpr int kVectors = 2 * kCount;
  FloatVec sum[kRows][kPanels][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int p = 0; p < kPanels; ++p) {
      for (int v = 0; v < kVectors; ++v) sum[r][p][v] = hn::Zero(d);
    }
  }
  for (int64_t k = 0; k < b.pairs; ++k) {
    for (int p = 0; p < kPanels; ++p) {
      const uint32_t* from =
          b.words + p * b.panel_stride + k * cpu::kPanelColumns + 2 * group * lanes();
      WordVec w[kVectors];
      for (int v = 0; v < kVectors; ++v) w[v] = hn::Load(words, from + v * lanes());
      for (int r = 0; r < kRows; ++r) {
        uint32_t pair = 0;
        std::memcpy(&pair, b.x + r * b.x_stride + 2 * k, 4);
        const WordVec factor = hn::Set(words, pair);
        for (int v = 0; v < kVectors; ++v) sum[r][p][v] = add_dot(sum[r][p][v], w[v], factor);
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int p = 0; p < kPanels; ++p) {
      for (int v = 0; v < kVectors; ++v) {
        float* to = b.out + r * b.out_stride + p * cpu::kPanelColumns + (2 * group + v) * lanes();
        const FloatVec value = sum[r][p][v];
        hn::StoreU(b.first ? value : hn::Add(hn::LoadU(d, to), value), d, to);
      }
    }
  }
}

struct DotPanelTile {
  const DotBlock& block;

  template <int kRows>
  HWY_INLINE void run(int64_t row) const {
    constexpr int kCount = kTileGroups<kRows>;
    const DotBlock rows = block.from_row(row);
    for (int group = 0; group < kGroups; group += kCount) dot_tile<kRows, kCount, 1>(rows, group);
  }
};

void MultiplyDotPanels(const cpu::PanelTask& task) {
  const cpu::QuantizedRows& rows = *task.integers;
  const auto panel_stride = static_cast<int64_t>(task.w->panel_bytes() / sizeof(uint32_t));
  const auto* panels = reinterpret_cast<const uint32_t*>(task.w->panel(task.first_panel));
  for (int64_t k = 0; k < task.w->columns; k += kInnerBlock) {
    const int64_t inner = std::min(kInnerBlock, task.w->columns - k);
    for (int64_t p = 0; p < task.num_panels; ++p) {
      const DotBlock block = {rows.words.get() + task.first_row * rows.stride + k,
                              rows.stride,
                              panels + p * panel_stride + k / 2 * cpu::kPanelColumns,
                              panel_stride,
                              (inner + 1) / 2,
                              k == 0 && !task.accumulate,
                              task.out + p * cpu::kPanelColumns,
                              task.out_stride};
      if (task.num_rows <= kTwoPanelRows && p + 1 < task.num_panels) {
        for (int64_t r = 0; r < task.num_rows; ++r) dot_tile<1, kGroups, 2>(block.from_row(r), 0);
        ++p;
      } else {
        for_row_tiles(DotPanelTile{block}, task.num_rows);
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace deltaserve
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace deltaserve {
HWY_EXPORT(MultiplyDotPanels);
namespace cpu {

void multiply_dot_panels(const PanelTask& task) {
  HWY_DYNAMIC_DISPATCH(MultiplyDotPanels)(task);
}

}  // namespace cpu
}  // namespace deltaserve
#endif
