// Few rows: a block has 16 outputs of all rows, each of its warps some of the segments. A warp's
// loads of a segment are all under way before its first product.
#include "kernels/cuda/matmul/matmul_end.h"
#include "kernels/cuda/matmul/tensor_kernels.h"

namespace deltaserve::cuda {
namespace {

// More accumulators leave registers for fewer warps.
constexpr int few_rows_warps(int row_tiles) {
  return row_tiles == 1 ? 16 : 8;
}

// sums += a segment's products, with activations straight from memory.
template <bool kWhole, int kRowTiles, MatmulEnd kEnd>
DS_DEVICE void multiply_segment(const MatmulCall& call, const SegmentWeights<kEnd>& weights,
                                const BlockFactors& factors, simt::MmaD (&sums)[kRowTiles]) {
  const auto x = [&](int, int tile, int64_t k) {
    const int row = tile * kRowTile + simt::lane_index() / 4;
    if (row >= call.num_rows || (!kWhole && k >= call.w.stride)) return simt::Words4{};
    return *reinterpret_cast<const simt::Words4*>(call.x_bf16 + row * call.x_bf16_stride + k);
  };
  const auto before = [&](int64_t k, simt::MmaD(&at)[kRowTiles]) {
    factors.change_sums(static_cast<int>(k), 0, at);
  };
  weights.multiply(x, before, sums);
}

// grid [tiles of 16 outputs]; shared memory float [segments, 8 kRowTiles, 16], then the factors
template <int kRowTiles, MatmulEnd kEnd>
DS_KERNEL void DS_BOUNDS(few_rows_warps(kRowTiles) * simt::kWarp, 1)
    few_rows_kernel(MatmulCall call, int segments) {
  constexpr int kBlockSums = kRowTiles * kRowTile * kOutTile;
  const int num_warps = simt::block_threads() / simt::kWarp;
  auto* partial = static_cast<float*>(simt::shared_memory());
  const int64_t first_out = int64_t{simt::block_index().x} * kOutTile;
  const int group = simt::lane_index() / 4;
  const int pair = simt::lane_index() % 4;
  const BlockFactors factors(call, partial + segments * kBlockSums);
  SegmentWeights<kEnd> weights;
  // Weights are there; what they are multiplied with may not be.
  weights.load(call, first_out, simt::warp_index());
  simt::await_launches_before();
  factors.compute(0, 0, 1, call.num_rows);
  if (factors.change_inside_segments()) simt::sync_block();
  for (int s = simt::warp_index(); s < segments; s += num_warps) {
    simt::MmaD sums[kRowTiles] = {};
    if (s >= num_warps) weights.load(call, first_out, s);
    if (weights.is_whole(call)) {
      multiply_segment<true>(call, weights, factors, sums);
    } else {
      multiply_segment<false>(call, weights, factors, sums);
    }
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
    const bool is_there = row < call.num_rows;
    const OutputEnd<kEnd> end(call, row, first_out + i % kOutTile, is_there);
    float total = 0;
    for (int s = 0; s < segments; ++s) {
      const float factor = is_there ? factors.of_segment(row, s) : 0.0f;
      total = fmaf(factor, partial[s * kBlockSums + i], total);
    }
    end.store(total);
  }
}

int row_tiles_of(const MatmulCall& call) {
  return call.num_rows <= 8 ? 1 : call.num_rows <= 16 ? 2 : 4;
}
// Returns the shared memory of a block.
int few_rows_bytes(const MatmulCall& call) {
  const int rows = row_tiles_of(call) * kRowTile;
  return segments_of(call) * rows * kOutTile * 4 + factor_bytes(call, rows);
}

template <int kRowTiles, MatmulEnd kEnd>
void launch(simt::Stream stream, const MatmulCall& call) {
  const int segments = segments_of(call);
  // All warps have as many segments, or one less.
  const int rounds = (segments + few_rows_warps(kRowTiles) - 1) / few_rows_warps(kRowTiles);
  const int threads = (segments + rounds - 1) / rounds * simt::kWarp;
  const int64_t tiles = (tiled_outs<kEnd>(call) + kOutTile - 1) / kOutTile;
  simt::launch(stream, {static_cast<int>(tiles)}, threads, few_rows_bytes(call),
               few_rows_kernel<kRowTiles, kEnd>, call, segments);
}

}  // namespace

bool takes_few_rows(const MatmulCall& call) {
  constexpr int kMaxBytes = 96 * 1024;
  return call.num_rows <= kMaxFewRows && few_rows_bytes(call) <= kMaxBytes;
}

void launch_few_rows(simt::Stream stream, const MatmulCall& call) {
  visit_end(call, [&]<MatmulEnd kEnd>() {
    switch (row_tiles_of(call)) {
      case 1: return launch<1, kEnd>(stream, call);
      case 2: return launch<2, kEnd>(stream, call);
      default: return launch<4, kEnd>(stream, call);
    }
  });
}

}  // namespace deltaserve::cuda
