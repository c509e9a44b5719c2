// Products on the tensor core (simt::multiply_add): 16 outputs by 8 rows, weights as A, activations
// as B, so that eight rows of a decode step waste nothing.
//
// A lane loads 16 bytes, 8 neighbouring input features of one row, and gives them to two products:
// of 32 input features, lane pair p has 8 p .. 8 p + 7, the first four of which go into the first
// matmul. Both operands are permuted alike, so no fragment needs an exchange or a transposing
// load, and every kernel sums in the same order.
#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/matmul/matmul.h"

namespace deltaserve::cuda {
namespace {

constexpr int kOutTile = 16;  // A's rows
constexpr int kRowTile = 8;   // B's columns
constexpr int kDepth = 32;    // input features of one 16-byte load of each lane
constexpr int kLoad = 8;      // bf16 in it

constexpr int64_t kMultiprocessors = 132;  // of the device that times are of: an H200

// Two matmuls of 32 input features: `low`, `high` of outputs group and group + 8, `x` of row
// group, each the lane's 8 features.
DS_DEVICE void multiply_depth(const simt::Words4& low, const simt::Words4& high,
                              const simt::Words4& x, simt::MmaD& sum) {
  DS_UNROLL
  for (int half = 0; half < 2; ++half) {
    const simt::MmaA a = {{{low.word[2 * half]},
                           {high.word[2 * half]},
                           {low.word[2 * half + 1]},
                           {high.word[2 * half + 1]}}};
    const simt::MmaB b = {{{x.word[2 * half]}, {x.word[2 * half + 1]}}};
    simt::multiply_add(a, b, sum);
  }
}

DS_DEVICE int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}

// ---- Few rows: a block has 16 outputs of all rows, each of its warps some of the segments. A
// warp's loads of a segment are all under way before its first matmul.

constexpr int kSegmentLoads = kTensorSegment / kDepth;

// More accumulators leave registers for fewer warps.
constexpr int few_rows_warps(int row_tiles) {
  return row_tiles == 1 ? 16 : 8;
}

// A segment of the block's outputs.
class SegmentMatmul {
 public:
  DS_DEVICE SegmentMatmul(const MatmulCall& call, int64_t first_out)
      : call_(call),
        first_out_(first_out + simt::lane_index() / 4),
        k_lane_(simt::lane_index() % 4 * kLoad) {}

  // Asks for the weights.
  DS_DEVICE void load(int segment) {
    first_k_ = int64_t{segment} * kTensorSegment;
    if (is_whole()) {
      load_weights<true>();
    } else {
      load_weights<false>();
    }
  }
  // sums += the segment's matmuls, of 8 rows a tile.
  template <int kRowTiles>
  DS_DEVICE void multiply(simt::MmaD (&sums)[kRowTiles]) const {
    if (is_whole()) {
      multiply_rows<true>(sums);
    } else {
      multiply_rows<false>(sums);
    }
  }

 private:
  // Returns true if no row ends inside the segment, so that no load depends on a condition.
  DS_DEVICE bool is_whole() const { return first_k_ + kTensorSegment <= call_.w.stride; }

  template <bool kWhole>
  DS_DEVICE void load_weights() {
    const auto* weights = static_cast<const uint16_t*>(call_.w.data);
    // Outputs that are not there repeat the last one and are not stored.
    const uint16_t* low = weights + smaller(first_out_, call_.w.rows - 1) * call_.w.stride;
    const uint16_t* high = weights + smaller(first_out_ + 8, call_.w.rows - 1) * call_.w.stride;
    DS_UNROLL
    for (int i = 0; i < kSegmentLoads; ++i) {
      const int64_t k = first_k_ + k_lane_ + i * kDepth;
      w_[i][0] = w_[i][1] = {};
      if (kWhole || k < call_.w.stride) {
        w_[i][0] = simt::load_once(reinterpret_cast<const simt::Words4*>(low + k));
        w_[i][1] = simt::load_once(reinterpret_cast<const simt::Words4*>(high + k));
      }
    }
  }

  template <bool kWhole, int kRowTiles>
  DS_DEVICE void multiply_rows(simt::MmaD (&sums)[kRowTiles]) const {
    DS_UNROLL
    for (int i = 0; i < kSegmentLoads; ++i) {
      const int64_t k = first_k_ + k_lane_ + i * kDepth;
      DS_UNROLL
      for (int tile = 0; tile < kRowTiles; ++tile) {
        const int row = tile * kRowTile + simt::lane_index() / 4;
        simt::Words4 x = {};
        if (row < call_.num_rows && (kWhole || k < call_.w.stride)) {
          x = *reinterpret_cast<const simt::Words4*>(call_.x_bf16 + row * call_.x_bf16_stride + k);
        }
        multiply_depth(w_[i][0], w_[i][1], x, sums[tile]);
      }
    }
  }

  const MatmulCall& call_;
  int64_t first_out_;  // of the lane
  int k_lane_;
  int64_t first_k_ = 0;
  simt::Words4 w_[kSegmentLoads][2];
};

// grid [tiles of 16 outputs]; shared memory float [segments, 8 kRowTiles, 16]
template <int kRowTiles>
DS_KERNEL void DS_BOUNDS(few_rows_warps(kRowTiles) * simt::kWarp, 1)
    few_rows_kernel(MatmulCall call, int segments) {
  constexpr int kBlockSums = kRowTiles * kRowTile * kOutTile;
  const int num_warps = simt::block_threads() / simt::kWarp;
  auto* partial = static_cast<float*>(simt::shared_memory());
  const int64_t first_out = int64_t{simt::block_index().x} * kOutTile;
  const int group = simt::lane_index() / 4;
  const int pair = simt::lane_index() % 4;
  SegmentMatmul matmul(call, first_out);
  matmul.load(simt::warp_index());  // weights are there; what they are multiplied with may not be
  simt::await_launches_before();
  for (int s = simt::warp_index(); s < segments; s += num_warps) {
    simt::MmaD sums[kRowTiles] = {};
    if (s >= num_warps) matmul.load(s);
    matmul.multiply(sums);
    DS_UNROLL
    for (int tile = 0; tile < kRowTiles; ++tile) {
      DS_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int row = tile * kRowTile + 2 * pair + i % 2;
        partial[s * kBlockSums + row * kOutTile + group + i / 2 * 8] = sums[tile].d[i];
      }
    }
  }
  simt::sync_block();
  for (int i = simt::thread_index(); i < kBlockSums; i += simt::block_threads()) {
    const int row = i / kOutTile;
    const int64_t out = first_out + i % kOutTile;
    if (row >= call.num_rows || out >= call.w.rows) continue;
    float total = 0;
    for (int s = 0; s < segments; ++s) total += partial[s * kBlockSums + i];
    float& to = call.out[row * call.out_stride + out];
    to = call.accumulate ? to + total : total;
  }
}

int segments_of(const MatmulCall& call) {
  return static_cast<int>((call.w.stride + kTensorSegment - 1) / kTensorSegment);
}
// Shared memory of a block.
int few_rows_bytes(const MatmulCall& call) {
  const int row_tiles = call.num_rows <= 8 ? 1 : call.num_rows <= 16 ? 2 : 4;
  return segments_of(call) * row_tiles * kRowTile * kOutTile * static_cast<int>(sizeof(float));
}
bool takes_few_rows(const MatmulCall& call) {
  constexpr int kMaxBytes = 96 * 1024;
  return call.num_rows <= kMaxFewRows && few_rows_bytes(call) <= kMaxBytes;
}

template <int kRowTiles>
void launch_few_rows(simt::Stream stream, const MatmulCall& call) {
  const int segments = segments_of(call);
  // All warps have as many segments, or one less.
  const int rounds = (segments + few_rows_warps(kRowTiles) - 1) / few_rows_warps(kRowTiles);
  const int threads = (segments + rounds - 1) / rounds * simt::kWarp;
  const simt::Grid grid = {static_cast<int>((call.w.rows + kOutTile - 1) / kOutTile)};
  simt::launch(stream, grid, threads, few_rows_bytes(call), few_rows_kernel<kRowTiles>, call,
               segments);
}

// ---- Tiles: a block has kOuts outputs of kRows rows; kStageDepth input features of both operands
// at a time travel through a ring of stages in shared memory.

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

template <class Tile>
class TileMatmul {
 public:
  DS_DEVICE explicit TileMatmul(const MatmulCall& call)
      : call_(call),
        stages_(static_cast<simt::Words4*>(simt::shared_memory())),
        first_out_(int64_t{simt::block_index().x} * Tile::kOuts),
        first_row_(int64_t{simt::block_index().y} * Tile::kRows) {}

  DS_DEVICE void run() {
    const auto num_stages = static_cast<int>((call_.w.stride + kStageDepth - 1) / kStageDepth);
    for (int s = 0; s < Tile::kStages - 1; ++s) start_stage(s, num_stages);
    for (int s = 0; s < num_stages; ++s) {
      simt::wait_copies<Tile::kStages - 2>();
      simt::sync_block();
      start_stage(s + Tile::kStages - 1, num_stages);
      multiply_stage(s);
      if ((s + 1) % (kTensorSegment / kStageDepth) == 0) end_segment();
    }
    end_segment();  // zeros, if the last was a whole one
    store();
  }

 private:
  static constexpr int kStageWords = (Tile::kOuts + Tile::kRows) * kStageLoads;

  // The stage's place in the ring: weights, then activations.
  DS_DEVICE simt::Words4* stage(int index) const {
    return stages_ + index % Tile::kStages * kStageWords;
  }

  // One group of copies, empty behind the last stage.
  DS_DEVICE void start_stage(int index, int num_stages) const {
    if (index < num_stages) {
      simt::Words4* to = stage(index);
      const int64_t k = int64_t{index} * kStageDepth;
      start_rows<Tile::kOuts>(static_cast<const uint16_t*>(call_.w.data), call_.w.stride,
                              first_out_, call_.w.rows, k, to);
      start_rows<Tile::kRows>(call_.x_bf16, call_.x_bf16_stride, first_row_, call_.num_rows, k,
                              to + Tile::kOuts * kStageLoads);
    }
    simt::commit_copies();
  }

  // Rows that are not there repeat the last one and are not stored.
  template <int kRows>
  DS_DEVICE void start_rows(const uint16_t* from, int64_t stride, int64_t first, int64_t num_rows,
                            int64_t first_k, simt::Words4* to) const {
    DS_UNROLL
    for (int i = 0; i < kRows * kStageLoads / Tile::kThreads; ++i) {
      const int index = i * Tile::kThreads + simt::thread_index();
      const int row = index / kStageLoads;
      const int64_t k = first_k + index % kStageLoads * kLoad;
      simt::Words4* place = to + stage_place(row, index % kStageLoads);
      if (k < call_.w.stride) {
        simt::copy_async(place, from + smaller(first + row, num_rows - 1) * stride + k);
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

  DS_DEVICE void end_segment() {
    each_sum([&](int o, int r, int i) {
      totals_[o][r].d[i] += sums_[o][r].d[i];
      sums_[o][r].d[i] = 0;
    });
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
  simt::MmaD sums_[Tile::kWarpOutTiles][Tile::kWarpRowTiles] = {};
  simt::MmaD totals_[Tile::kWarpOutTiles][Tile::kWarpRowTiles] = {};
};

// grid [tiles of outputs, tiles of rows]
template <class Tile>
DS_KERNEL void DS_BOUNDS(Tile::kThreads, 1) tile_kernel(MatmulCall call) {
  simt::await_launches_before();
  TileMatmul<Tile>(call).run();
}

template <class Tile>
void launch_tile(simt::Stream stream, const MatmulCall& call) {
  const simt::Grid grid = {static_cast<int>((call.w.rows + Tile::kOuts - 1) / Tile::kOuts),
                           (call.num_rows + Tile::kRows - 1) / Tile::kRows};
  simt::launch(stream, grid, Tile::kThreads, Tile::kSharedBytes, tile_kernel<Tile>, call);
}

// No block takes more shared memory than the smallest multiprocessors give it, 99 KB.
using Tile32 = Tile<2, 2, 1, 2, 6>;
using Tile64 = Tile<2, 2, 2, 4, 4>;
using Tile128 = Tile<2, 4, 4, 4, 3>;

// Microseconds of a stage of kStageDepth input features on an H200: of the tiles that a
// multiprocessor works on, one after the other or side by side, the first few wait for memory only
// (`alone`), then each adds to the time. Fitted to measured matmuls of 8 to 8,192 rows and nine
// shapes, of which the least of these times is never more than 4 % behind the fastest
// (`gpu_bench products`).
struct StageTime {
  double alone, first, each;
};
template <class Tile>
double stage_time(const MatmulCall& call, const StageTime& time) {
  const int64_t tiles = ((call.w.rows + Tile::kOuts - 1) / Tile::kOuts) *
                        ((call.num_rows + Tile::kRows - 1) / Tile::kRows);
  const int64_t of_one = (tiles + kMultiprocessors - 1) / kMultiprocessors;
  return std::max(time.alone, time.first + time.each * static_cast<double>(of_one));
}

}  // namespace

TensorKernel fastest_kernel(const MatmulCall& call) {
  // Weights straight to registers: up to 24 rows at least as fast as the smallest tiles, then
  // where no multiprocessor has two blocks.
  const bool one_block_each = (call.w.rows + kOutTile - 1) / kOutTile <= kMultiprocessors;
  const int most = one_block_each ? kMaxFewRows : 24;
  if (call.num_rows <= most && takes_few_rows(call)) return TensorKernel::kFewRows;
  const double tile32 = stage_time<Tile32>(call, {0.33, 0.10, 0.151});
  const double tile64 = stage_time<Tile64>(call, {0.60, 0.10, 0.345});
  const double tile128 = stage_time<Tile128>(call, {1.25, 0, 1.28});
  if (tile128 <= std::min(tile32, tile64)) return TensorKernel::kTile128;
  return tile64 <= tile32 ? TensorKernel::kTile64 : TensorKernel::kTile32;
}

void launch_tensor_matmul(simt::Stream stream, const MatmulCall& call, TensorKernel kernel) {
  DS_CHECK(call.w.dtype == Dtype::kBf16 && call.w.stride % kLoad == 0);
  DS_CHECK(call.x_bf16 != nullptr && call.x_bf16_stride % kLoad == 0);
  if (call.num_rows == 0) return;
  switch (kernel == TensorKernel::kAuto ? fastest_kernel(call) : kernel) {
    case TensorKernel::kTile128: return launch_tile<Tile128>(stream, call);
    case TensorKernel::kTile64: return launch_tile<Tile64>(stream, call);
    case TensorKernel::kTile32: return launch_tile<Tile32>(stream, call);
    default: break;
  }
  DS_CHECK(takes_few_rows(call));
  if (call.num_rows <= 8) return launch_few_rows<1>(stream, call);
  if (call.num_rows <= 16) return launch_few_rows<2>(stream, call);
  launch_few_rows<4>(stream, call);
}

}  // namespace deltaserve::cuda
