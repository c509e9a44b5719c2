// Functions for one chunk of one head that both paths of prefill share.
#pragma once
#include <cmath>

#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/rule_view.h"

namespace deltaserve::cuda {

// Rows that are inverted, and anchored to one decay, together.
inline constexpr int kBlockTokens = 16;
inline constexpr int kChunkBlocks = kChunkTokens / kBlockTokens;

// Stride of the rows of a chunk's square matrices in shared memory; with it, reading blocks has few
// bank conflicts.
inline constexpr int kSquareStride = kChunkTokens + 4;
inline constexpr int kSquareFloats = kChunkTokens * kSquareStride;

// G_i, the inclusive sums of the log decays of the chunk's n tokens, in double: differences of
// large sums would lose the small decays between neighbours. From n on they stay; without decay
// they are 0. All threads of the block, at least 64; `steps` [64] and `sums` [64] in shared memory.
// Ends with a barrier.
template <class Mixer>
DS_DEVICE void sum_log_decays(const HeadTokens& tokens, int n, float* steps, double* sums) {
  const int i = simt::thread_index();
  if (i < kChunkTokens) {
    steps[i] = Mixer::kDecay == Decay::kPerHead && i < n ? *tokens.g.at(i) : 0.0f;
  }
  simt::sync_block();
  if (i < kChunkTokens) {
    double sum = 0;
    for (int j = 0; j <= i; ++j) sum += static_cast<double>(steps[j]);
    sums[i] = sum;
  }
  simt::sync_block();
}

// e^{G_i - G_j}, j <= i. No exponent is positive.
DS_DEVICE float decay_between(const double* sums, int j, int i) {
  return expf(static_cast<float>(sums[i] - sums[j]));
}

// Returns the index of a segment's first chunk. All threads of the block must call it. `found` is
// in shared memory and may be used again after the next barrier.
DS_DEVICE int first_chunk(const LayerCall& call, int segment, int* found) {
  for (int c = simt::thread_index(); c < call.num_chunks; c += simt::block_threads()) {
    if (call.chunks[c].segment != segment) continue;
    if (c == 0 || call.chunks[c - 1].segment != segment) *found = c;
  }
  simt::sync_block();
  return *found;
}

// Returns true if the state after a chunk goes to the segment's keep slot, too, as it does after
// the last whole one. `left` counts the rows of the segment from the chunk on.
DS_DEVICE bool keeps_behind_chunk(const Segment& segment, int left) {
  return segment.keep_slot >= 0 && left / kChunkTokens == 1;
}

// Writes padding's zeros to the block's columns [x columns, (x + 1) columns) of a head's rows.
DS_DEVICE void write_zeros(const RuleView& view, const Segment& segment, int head, int columns) {
  const int first = simt::block_index().x * columns;
  const int left = static_cast<int>(view.size().value_dim) - first;
  const int width = left < columns ? left : columns;
  for (int at = simt::thread_index(); at < segment.num_rows * width; at += simt::block_threads()) {
    view.out(segment.first_row + at / width, head)[first + at % width] = 0;
  }
}

}  // namespace deltaserve::cuda
