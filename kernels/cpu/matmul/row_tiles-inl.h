// Cuts the rows and panels of a matmul into register tiles, per Highway target.

#if defined(DELTASERVE_KERNELS_CPU_ROW_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DELTASERVE_KERNELS_CPU_ROW_TILES_INL_H_
#undef DELTASERVE_KERNELS_CPU_ROW_TILES_INL_H_
#else
#define DELTASERVE_KERNELS_CPU_ROW_TILES_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cpu/base/dense-inl.h"
#include "kernels/cpu/matmul/packed_matrix.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {

// A panel is cut into groups of two vectors of outputs.
constexpr int kGroups = static_cast<int>(cpu::kPanelColumns) / (2 * lanes());
// Rows of a register tile with one group: all sums, two weights and a factor stay in registers.
constexpr int kManyRows = HWY_TARGET <= HWY_AVX3 ? 12 : 6;
// Says how many groups a tile of kRows rows processes at once.
template <int kRows>
constexpr int kTileGroups = kRows* kGroups <= kManyRows ? kGroups : 1;

// Memory that a tile prefetches while it computes: two lines with every unit, into the second-level
// cache. The processor's own prefetching follows the weights only while a tile reads them for the
// first time.
struct Ahead {
  static constexpr int64_t kStep = 128;

  const unsigned char* lines;
  int64_t step;  // kStep, or 0 to repeat the same two lines

  HWY_INLINE void ask(int64_t unit) const {
    __builtin_prefetch(lines + unit * step, 0, 2);
    __builtin_prefetch(lines + unit * step + kStep / 2, 0, 2);
  }
  HWY_INLINE Ahead from_unit(int64_t unit) const { return {lines + unit * step, step}; }
};

// Memory that is prefetched window by window, one window per tile.
struct Lookahead {
  const unsigned char* next;
  const unsigned char* end;

  HWY_INLINE Ahead take(int64_t num_units) {
    if (next >= end) return {end - Ahead::kStep, 0};
    const Ahead ahead = {next, Ahead::kStep};
    next += num_units * Ahead::kStep;
    return ahead;
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace deltaserve
HWY_AFTER_NAMESPACE();

#endif
