#include <cmath>

#include "kernels/cuda/matmul/matmul.h"

namespace deltaserve::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kTileOuts = 64;
constexpr int kOutThreads = 16;  // the other dimension of the block's threads is rows
constexpr int kRowThreads = kThreads / kOutThreads;

// A block's outputs [kRows, kTileOuts]; kDepth input features of both operands are in shared memory
// at a time. With few rows kDepth is larger, for more bytes under way.
template <int kRows_, int kDepth_>
struct PlainTile {
  static constexpr int kRows = kRows_;
  static constexpr int kDepth = kDepth_;
};

DS_DEVICE float weight_at(const float* data, int64_t index) {
  return data[index];
}
DS_DEVICE float weight_at(const uint16_t* data, int64_t index) {
  return bf16_to_f32(data[index]);
}

// grid [tiles of outputs, tiles of rows]
template <class Weight, class Tile>
DS_KERNEL void DS_BOUNDS(kThreads, 1) plain_kernel(MatmulCall call) {
  simt::await_launches_before();
  constexpr int kOuts = kTileOuts / kOutThreads;
  constexpr int kRows = Tile::kRows / kRowThreads;
  constexpr int kPitch = Tile::kDepth + 1;
  auto* w_tile = static_cast<float*>(simt::shared_memory());  // [kTileOuts, kPitch]
  float* x_tile = w_tile + kTileOuts * kPitch;                // [Tile::kRows, kPitch]
  const auto* weights = static_cast<const Weight*>(call.w.data);
  const int64_t first_out = int64_t{simt::block_index().x} * kTileOuts;
  const int64_t first_row = int64_t{simt::block_index().y} * Tile::kRows;
  const int thread = simt::thread_index();
  const int out_thread = thread % kOutThreads;
  const int row_thread = thread / kOutThreads;

  float sums[kRows][kOuts] = {};
  for (int64_t k0 = 0; k0 < call.w.columns; k0 += Tile::kDepth) {
    for (int i = thread; i < kTileOuts * Tile::kDepth; i += kThreads) {
      const int64_t out = first_out + i / Tile::kDepth;
      const int64_t k = k0 + i % Tile::kDepth;
      const bool inside = out < call.w.rows && k < call.w.columns;
      w_tile[i / Tile::kDepth * kPitch + i % Tile::kDepth] =
          inside ? weight_at(weights, out * call.w.stride + k) : 0.0f;
    }
    for (int i = thread; i < Tile::kRows * Tile::kDepth; i += kThreads) {
      const int64_t row = first_row + i / Tile::kDepth;
      const int64_t k = k0 + i % Tile::kDepth;
      const bool inside = row < call.num_rows && k < call.w.columns;
      x_tile[i / Tile::kDepth * kPitch + i % Tile::kDepth] =
          inside ? call.x[row * call.x_stride + k] : 0.0f;
    }
    simt::sync_block();
    for (int k = 0; k < Tile::kDepth; ++k) {
      float w[kOuts];
      DS_UNROLL
      for (int j = 0; j < kOuts; ++j) w[j] = w_tile[(out_thread + j * kOutThreads) * kPitch + k];
      DS_UNROLL
      for (int i = 0; i < kRows; ++i) {
        const float x = x_tile[(row_thread + i * kRowThreads) * kPitch + k];
        DS_UNROLL
        for (int j = 0; j < kOuts; ++j) sums[i][j] = fmaf(x, w[j], sums[i][j]);
      }
    }
    simt::sync_block();
  }

  DS_UNROLL
  for (int i = 0; i < kRows; ++i) {
    const int64_t row = first_row + row_thread + i * kRowThreads;
    DS_UNROLL
    for (int j = 0; j < kOuts; ++j) {
      const int64_t out = first_out + out_thread + j * kOutThreads;
      if (row >= call.num_rows || out >= call.w.rows) continue;
      float& to = call.out[row * call.out_stride + out];
      to = call.accumulate ? to + sums[i][j] : sums[i][j];
    }
  }
}

template <class Weight, class Tile>
void launch_tile(simt::Stream stream, const MatmulCall& call) {
  const simt::Grid grid = {static_cast<int>((call.w.rows + kTileOuts - 1) / kTileOuts),
                           (call.num_rows + Tile::kRows - 1) / Tile::kRows};
  const int shared =
      (kTileOuts + Tile::kRows) * (Tile::kDepth + 1) * static_cast<int>(sizeof(float));
  simt::launch(stream, grid, kThreads, shared, plain_kernel<Weight, Tile>, call);
}

template <class Weight>
void launch_weight(simt::Stream stream, const MatmulCall& call) {
  if (call.num_rows <= 8) return launch_tile<Weight, PlainTile<8, 64>>(stream, call);
  launch_tile<Weight, PlainTile<64, 16>>(stream, call);
}

// grid [rows]
DS_KERNEL void DS_BOUNDS(kThreads, 1)
    round_kernel(const float* x, int64_t x_stride, int64_t columns, int64_t padded, uint16_t* to) {
  simt::await_launches_before();
  const int64_t row = simt::block_index().x;
  auto* pairs = reinterpret_cast<simt::Bf16Pair*>(to + row * padded);
  const float* from = x + row * x_stride;
  for (int64_t i = simt::thread_index(); i < padded / 2; i += simt::block_threads()) {
    const float low = 2 * i < columns ? from[2 * i] : 0.0f;
    const float high = 2 * i + 1 < columns ? from[2 * i + 1] : 0.0f;
    pairs[i] = simt::pack_bf16(low, high);
  }
}

}  // namespace

void launch_plain_matmul(simt::Stream stream, const MatmulCall& call) {
  if (call.w.dtype == Dtype::kF32) return launch_weight<float>(stream, call);
  launch_weight<uint16_t>(stream, call);
}

void launch_round_rows(simt::Stream stream, const float* x, int64_t x_stride, int64_t columns,
                       int num_rows, uint16_t* to) {
  simt::launch(stream, {num_rows}, kThreads, 0, round_kernel, x, x_stride, columns,
               padded_to_8(columns), to);
}

}  // namespace deltaserve::cuda
