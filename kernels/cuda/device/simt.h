// A kernel uses this of the machine that runs it: thread indices, barriers, exchanges inside a
// warp, shared memory, wide loads, the tensor core's multiply-add. nvcc makes instructions of it,
// any other compiler calls of an emulation (simt_host.h), so that tests run the very same
// kernels without a GPU, and sanitizers see their memory.
//
// A kernel is a DS_KERNEL function of plain structs. It is started by launch() in blocks of whole
// warps. Barriers and exchanges must be reached by all threads of the block or warp.
//
// Blocks may start while the kernel before still runs: every thread of every kernel calls
// await_launches_before(), in front of which it writes nothing and reads nothing but weights and
// what the launch before does not write. The launches before that one have ended by then, because
// none lets the next start before it has awaited its own.
#pragma once
#include <cstdint>

#include "kernels/base/dtype.h"
#include "kernels/mixer/delta_rule.h"

namespace deltaserve::simt {

inline constexpr int kWarp = 32;
// Every device of compute capability 8.0 and more gives a block this much shared memory.
inline constexpr int kMaxSharedBytes = 99 * 1024;
// No device gives more than this (9.0 and 10.0); most_shared_bytes() is what this one gives.
inline constexpr int kLargestSharedBytes = 227 * 1024;
// A grid has at most this many blocks in y and in z.
inline constexpr int kMaxGridYZ = 65535;

struct Grid {
  int x = 1;
  int y = 1;
  int z = 1;
};

struct alignas(16) Float4 {
  float x[4];
};
// One load or store moves at most this much.
struct alignas(16) Words4 {
  uint32_t word[4];
};

// Two bf16 in one word, the first in the low half.
struct Bf16Pair {
  uint32_t bits;
};

// A lane holds these operands when a warp does D += A B with A [16, 16] and B [16, 8] of bf16
// and D [16, 8] of float. With group = lane / 4 and pair = lane % 4 a lane holds
//   a[0] A(group, 2 pair ..)      a[1] A(group + 8, 2 pair ..)
//   a[2] A(group, 2 pair + 8 ..)  a[3] A(group + 8, 2 pair + 8 ..)
//   b[0] B(2 pair .., group)      b[1] B(2 pair + 8 .., group)
//   d[0..1] D(group, 2 pair ..)   d[2..3] D(group + 8, 2 pair ..)
// (PTX ISA, mma.m16n8k16). Sums are float, in an order that the hardware chooses.
struct MmaA {
  Bf16Pair a[4];
};
struct MmaB {
  Bf16Pair b[2];
};
struct MmaD {
  float d[4];
};

}  // namespace deltaserve::simt

#ifdef __CUDACC__
#include "kernels/cuda/device/simt_device.h"
#else
#include "kernels/cuda/device/simt_host.h"
#endif

namespace deltaserve::simt {

DS_DEVICE int lane_index() {
  return thread_index() % kWarp;
}
DS_DEVICE int warp_index() {
  return thread_index() / kWarp;
}

// Sums over the block's threads, the same bits in each. `scratch`: block_threads() / 32 floats of
// shared memory, free again after the next barrier.
DS_DEVICE float block_sum(float value, float* scratch) {
  value = warp_sum(value);
  if (lane_index() == 0) scratch[warp_index()] = value;
  sync_block();
  float sum = 0;
  for (int w = 0; w < block_threads() / kWarp; ++w) sum += scratch[w];
  return sum;
}

}  // namespace deltaserve::simt
