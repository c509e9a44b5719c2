// Tiles: a block has kOuts outputs of kRows rows; kStageDepth input features of both operands at a
// time travel through a ring of stages in shared memory.
#include "kernels/cuda/matmul/matmul_end.h"
#include "kernels/cuda/matmul/tensor_kernels.h"

namespace deltaserve::cuda {
namespace {

constexpr int kStageDepth = 64;
constexpr int kStageLoads = kStageDepth / kLoad;  // 16-byte loads of a row of a stage

template <int kOutWarps, int kRowWarps, int kWarpOutTiles_, int kWarpRowTiles_, int kStages_>
struct Tile {
  static constexpr int kThreads = kOutWarps * kRowWarps * simt::kWarp;
  static constexpr int kWarpOutTiles = kWarpOutTiles_;  // of a warp
  static constexpr int kWarpRowTiles = kWarpRowTiles_;
  static constexpr int kOuts = kOutWarps * kWarpOutTiles * kOutTile;
  static constexpr int kRows = kRowWarps * kWarpRowTiles * kRowTile;
  static constexpr int kStages = kStages_;
  static constexpr int kSharedBytes = kStages * (kOuts + kRows) * kStageDepth * 2;

  static DS_DEVICE int warp_out() {
    return simt::warp_index() % kOutWarps * kWarpOutTiles * kOutTile;
  }
  static DS_DEVICE int warp_row() {
    return simt::warp_index() / kOutWarps * kWarpRowTiles * kRowTile;
  }
};

// Returns where load `load` of a row stands in a stage. Neighbouring rows swap their halves of 64
// bytes, so that the 8 lanes that read at one time, 4 of each of two rows, meet all banks.
DS_DEVICE int stage_place(int row, int load) {
  return row * kStageLoads + (load ^ (row % 2 * 4));
}

template <class Tile, MatmulEnd kEnd>
class TileMatmul {
 public:
  DS_DEVICE explicit TileMatmul(const MatmulCall& call)
      : call_(call),
        stages_(static_cast<simt::Words4*>(simt::shared_memory())),
        first_out_(int64_t{simt::block_index().x} * Tile::kOuts),
        first_row_(int64_t{simt::block_index().y} * Tile::kRows),
        rows_(static_cast<int>(smaller(call.num_rows - first_row_, Tile::kRows))),
        factors_(call, static_cast<float*>(simt::shared_memory()) + Tile::kSharedBytes / 4) {}

  DS_DEVICE void run() {
    const auto num_stages = static_cast<int>((call_.w.stride + kStageDepth - 1) / kStageDepth);
    for (int s = 0; s < Tile::kStages - 1; ++s) start_stage(s, num_stages);
    factors_.compute(first_row_, 0, 1, rows_);
    for (int s = 0; s < num_stages; ++s) {
      simt::wait_copies<Tile::kStages - 2>();
      simt::sync_block();
      start_stage(s + Tile::kStages - 1, num_stages);
      multiply_stage(s);
      if ((s + 1) % kSegmentStages == 0) end_segment(s / kSegmentStages);
    }
    end_segment(num_stages / kSegmentStages);  // zeros, if the last was a whole one
    if constexpr (kEnd == MatmulEnd::kStore) {
      store();
    } else {
      store_by_rows();
    }
  }

 private:
  static constexpr int kStageWords = (Tile::kOuts + Tile::kRows) * kStageLoads;
  static constexpr int kSegmentStages = kTensorSegment / kStageDepth;

  // Returns the stage's place in the ring: weights, then activations.
  DS_DEVICE simt::Words4* stage(int index) const {
    return stages_ + index % Tile::kStages * kStageWords;
  }

  // Starts one group of copies, which is empty after the last stage.
  DS_DEVICE void start_stage(int index, int num_stages) const {
    if (index < num_stages) {
      simt::Words4* to = stage(index);
      const int64_t k = int64_t{index} * kStageDepth;
      start_rows<Tile::kOuts>(static_cast<const uint16_t*>(call_.w.data), call_.w.stride, k, to,
                              [&](int row) { return weight_row<kEnd>(call_, first_out_ + row); });
      // Rows that are not there repeat the last one and are not stored.
      start_rows<Tile::kRows>(
          call_.x_bf16, call_.x_bf16_stride, k, to + Tile::kOuts * kStageLoads,
          [&](int row) { return smaller(first_row_ + row, call_.num_rows - 1); });
    }
    simt::commit_copies();
  }

  // Row r of the stage is row source(r) of `from`.
  template <int kRows, class Source>
  DS_DEVICE void start_rows(const uint16_t* from, int64_t stride, int64_t first_k, simt::Words4* to,
                            const Source& source) const {
    DS_UNROLL
    for (int i = 0; i < kRows * kStageLoads / Tile::kThreads; ++i) {
      const int index = i * Tile::kThreads + simt::thread_index();
      const int row = index / kStageLoads;
      const int64_t k = first_k + index % kStageLoads * kLoad;
      simt::Words4* place = to + stage_place(row, index % kStageLoads);
      if (k < call_.w.stride) {
        simt::copy_async(place, from + source(row) * stride + k);
      } else {
        *place = simt::Words4{};
      }
    }
  }

  DS_DEVICE void multiply_stage(int index) {
    const int group = simt::lane_index() / 4;
    const int pair = simt::lane_index() % 4;
    const simt::Words4* w_rows = stage(index);
    const simt::Words4* x_rows = w_rows + Tile::kOuts * kStageLoads;
    DS_UNROLL
    for (int depth = 0; depth < kStageDepth / kDepth; ++depth) {
      DS_UNROLL
      for (int o = 0; o < Tile::kWarpOutTiles; ++o) {
        factors_.change_sums(index * kStageDepth + depth * kDepth, Tile::warp_row(), sums_[o]);
      }
      const int load = depth * 4 + pair;
      simt::Words4 x[Tile::kWarpRowTiles];
      DS_UNROLL
      for (int r = 0; r < Tile::kWarpRowTiles; ++r) {
        x[r] = x_rows[stage_place(Tile::warp_row() + r * kRowTile + group, load)];
      }
      DS_UNROLL
      for (int o = 0; o < Tile::kWarpOutTiles; ++o) {
        const int out = Tile::warp_out() + o * kOutTile + group;
        const simt::Words4 low = w_rows[stage_place(out, load)];
        const simt::Words4 high = w_rows[stage_place(out + 8, load)];
        DS_UNROLL
        for (int r = 0; r < Tile::kWarpRowTiles; ++r) {
          multiply_depth(low, high, x[r], sums_[o][r]);
        }
      }
    }
  }

  DS_DEVICE void end_segment(int segment) {
    DS_UNROLL
    for (int r = 0; r < Tile::kWarpRowTiles; ++r) {
      DS_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int row = Tile::warp_row() + r * kRowTile + simt::lane_index() % 4 * 2 + i % 2;
        const float factor = row < rows_ ? factors_.of_segment(row, segment) : 0.0f;
        DS_UNROLL
        for (int o = 0; o < Tile::kWarpOutTiles; ++o) {
          totals_[o][r].d[i] = fmaf(factor, sums_[o][r].d[i], totals_[o][r].d[i]);
          sums_[o][r].d[i] = 0;
        }
      }
    }
  }

  // Stores the sums through shared memory, so that the outputs of a row meet.
  DS_DEVICE void store_by_rows() const {
    static_assert(Tile::kRows * Tile::kOuts * 4 <= Tile::kSharedBytes);
    auto* sums = static_cast<float*>(simt::shared_memory());  // [kRows, kOuts]
    simt::wait_copies<0>();
    simt::sync_block();
    each_sum([&](int o, int r, int i) {
      const int out = Tile::warp_out() + o * kOutTile + simt::lane_index() / 4 + i / 2 * 8;
      const int row = Tile::warp_row() + r * kRowTile + simt::lane_index() % 4 * 2 + i % 2;
      sums[row * Tile::kOuts + out] = totals_[o][r].d[i];
    });
    simt::sync_block();
    for (int i = simt::thread_index(); i < rows_ * Tile::kOuts; i += Tile::kThreads) {
      const int row = i / Tile::kOuts;
      OutputEnd<kEnd>(call_, first_row_ + row, first_out_ + i % Tile::kOuts, true).store(sums[i]);
    }
  }

  DS_DEVICE void store() const {
    const int group = simt::lane_index() / 4;
    const int pair = simt::lane_index() % 4;
    each_sum([&](int o, int r, int i) {
      const int64_t out = first_out_ + Tile::warp_out() + o * kOutTile + group + i / 2 * 8;
      const int64_t row = first_row_ + Tile::warp_row() + r * kRowTile + 2 * pair + i % 2;
      if (row >= call_.num_rows || out >= call_.w.rows) return;
      float& to = call_.out[row * call_.out_stride + out];
      const float total = totals_[o][r].d[i];
      to = call_.accumulate ? to + total : total;
    });
  }

  template <class Visit>
  DS_DEVICE void each_sum(const Visit& visit) const {
    DS_UNROLL
    for (int o = 0; o < Tile::kWarpOutTiles; ++o) {
      DS_UNROLL
      for (int r = 0; r < Tile::kWarpRowTiles; ++r) {
        DS_UNROLL
        for (int i = 0; i < 4; ++i) visit(o, r, i);
      }
    }
  }

  const MatmulCall& call_;
  simt::Words4* stages_;
  int64_t first_out_, first_row_;  // of the block
  int rows_;
  BlockFactors factors_;  // their place is after the stages
  simt::MmaD sums_[Tile::kWarpOutTiles][Tile::kWarpRowTiles] = {};
  simt::MmaD totals_[Tile::kWarpOutTiles][Tile::kWarpRowTiles] = {};
};

// grid [tiles of outputs, tiles of rows]
template <class Tile, MatmulEnd kEnd>
DS_KERNEL void DS_BOUNDS(Tile::kThreads, 1) tile_kernel(MatmulCall call) {
  simt::await_launches_before();
  TileMatmul<Tile, kEnd>(call).run();
}

// No block takes more shared memory than the smallest multiprocessors give it, 99 KB.
using Tile32 = Tile<2, 2, 1, 2, 6>;
using Tile64 = Tile<2, 2, 2, 4, 4>;
using Tile128 = Tile<2, 4, 4, 4, 3>;
// The smallest takes every matmul.
static_assert(Tile32::kSharedBytes + Tile32::kRows * kMostFactorParts * kFactorBytes <=
              simt::kMaxSharedBytes);

template <class Visit>
auto visit_tile(int outs, const Visit& visit) {
  switch (outs) {
    case 128: return visit.template operator()<Tile128>();
    case 64: return visit.template operator()<Tile64>();
    default: return visit.template operator()<Tile32>();
  }
}

// The block's tiles of outputs and of rows.
template <class Tile>
simt::Grid grid_of(const MatmulCall& call) {
  int64_t outs = 0;
  visit_end(call, [&]<MatmulEnd kEnd>() { outs = tiled_outs<kEnd>(call); });
  return {static_cast<int>((outs + Tile::kOuts - 1) / Tile::kOuts),
          (call.num_rows + Tile::kRows - 1) / Tile::kRows};
}
template <class Tile>
int shared_bytes(const MatmulCall& call) {
  return Tile::kSharedBytes + factor_bytes(call, Tile::kRows);
}

}  // namespace

bool takes_tile(const MatmulCall& call, int outs) {
  return visit_tile(outs, [&]<class Tile>() {
    return shared_bytes<Tile>(call) <= simt::kMaxSharedBytes &&
           grid_of<Tile>(call).y <= simt::kMaxGridYZ;
  });
}

int64_t tiles_of(const MatmulCall& call, int outs) {
  return visit_tile(outs, [&]<class Tile>() {
    const simt::Grid grid = grid_of<Tile>(call);
    return int64_t{grid.x} * grid.y;
  });
}

void launch_tile(simt::Stream stream, const MatmulCall& call, int outs) {
  visit_tile(outs, [&]<class Tile>() {
    visit_end(call, [&]<MatmulEnd kEnd>() {
      simt::launch(stream, grid_of<Tile>(call), Tile::kThreads, shared_bytes<Tile>(call),
                   tile_kernel<Tile, kEnd>, call);
    });
  });
}

}  // namespace deltaserve::cuda
