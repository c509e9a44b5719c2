// How the products cut rows and panels into register tiles, per Highway target.

#if defined(DELTASERVE_KERNELS_CPU_ROW_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DELTASERVE_KERNELS_CPU_ROW_TILES_INL_H_
#undef DELTASERVE_KERNELS_CPU_ROW_TILES_INL_H_
#else
#define DELTASERVE_KERNELS_CPU_ROW_TILES_INL_H_
#endif

#include <cstdint>

#include "hwy/highway.h"
#include "kernels/cpu/dense-inl.h"
#include "kernels/cpu/packed_matrix.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {

// A panel is cut into groups of two vectors of outputs.
constexpr int kGroups = static_cast<int>(cpu::kPanelColumns) / (2 * lanes());
// Rows of a register tile with one group: all sums, two weights and a factor stay in registers.
constexpr int kManyRows = HWY_TARGET <= HWY_AVX3 ? 12 : 6;
// Groups that a tile of kRows rows takes at once.
template <int kRows>
constexpr int kTileGroups = kRows* kGroups <= kManyRows ? kGroups : 1;

template <int kMost, int kRows = 1, class Tile>
HWY_INLINE void row_tile(const Tile& tile, int64_t row, int64_t count) {
  if constexpr (kRows <= kMost) {
    if (count == kRows) {
      tile.template run<kRows>(row);
    } else {
      row_tile<kMost, kRows + 1>(tile, row, count);
    }
  }
}

// Calls tile.run<count>(row) for tiles of at most kMost rows and of about the same size: eight rows
// are four and four, not six and two.
template <int kMost, class Tile>
HWY_INLINE void for_row_tiles(const Tile& tile, int64_t num_rows) {
  if (num_rows <= kMost) {  // without a division
    if (num_rows > 0) row_tile<kMost>(tile, 0, num_rows);
    return;
  }
  const int64_t tiles = (num_rows + kMost - 1) / kMost;
  const int64_t few = num_rows / tiles;
  const int64_t larger = num_rows % tiles;  // tiles with a row more
  for (int64_t i = 0, row = 0; i < tiles; ++i) {
    const int64_t count = few + (i < larger ? 1 : 0);
    row_tile<kMost>(tile, row, count);
    row += count;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace deltaserve
HWY_AFTER_NAMESPACE();

#endif
