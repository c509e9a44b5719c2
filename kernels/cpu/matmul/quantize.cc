#include "kernels/cpu/matmul/quantize.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/base/dtype.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul/quantize.cc"
#include "hwy/foreach_target.h"  // compiles this file once per target
#include "hwy/highway.h"

// These are plain loops of fixed length, which the compiler turns into vectors. The file is built
// without contraction of multiplications and additions, so that all targets round alike.
HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {

// Returns the integer nearest to `value`, ties to even, for magnitudes below 2^22.
HWY_INLINE int32_t nearest(float value) {
  return std::bit_cast<int32_t>(value + 12582912.0f) - 0x4b400000;
}

// Returns the bits of the largest magnitude. Infinity and the NaNs have larger bits than numbers.
HWY_INLINE uint32_t largest_bits(const float* x, int64_t count) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, std::bit_cast<uint32_t>(x[i]) & 0x7fffffffu);
  }
  return largest;
}

constexpr uint32_t kInfinity = 0x7f800000u;
// A block whose magnitudes are below this counts as zero: its inverse scale would overflow.
constexpr float kTiny = 1e-30f;

// Computes codes[i] * scale ~= x[i] and returns the scale. If some x[i] is not finite, the scale is
// NaN, and with it every result of the row.
float QuantizeRun(const float* x, int64_t count, int8_t* codes) {
  const uint32_t bits = largest_bits(x, count);
  const float largest = std::bit_cast<float>(bits);
  const bool finite = bits < kInfinity;
  const float inverse = finite && largest > kTiny ? 127.0f / largest : 0.0f;
  if (inverse == 0) {
    std::fill_n(codes, count, int8_t{0});
    return finite ? 0.0f : std::bit_cast<float>(0x7fc00000u);
  }
  for (int64_t i = 0; i < count; ++i) codes[i] = static_cast<int8_t>(nearest(x[i] * inverse));
  return largest / 127.0f;
}

HWY_INLINE int32_t sum_of(const int8_t* codes, int64_t count) {
  int32_t sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += codes[i];
  return sum;
}

HWY_INLINE int32_t int4_pair_start(const int8_t* group) {
  int32_t even = 0;
  int32_t odd = 0;
  for (int64_t k = 0; k < cpu::kInt4Group; k += cpu::kQuad) {
    even += group[k] + group[k + 1];
    odd += group[k + 2] + group[k + 3];
  }
  const auto low = static_cast<uint16_t>(-cpu::kInt4Zero * even);
  const auto high = static_cast<uint16_t>(-cpu::kInt4Zero * odd);
  return static_cast<int32_t>(uint32_t{low} | uint32_t{high} << 16);
}

// Writes `count` numbers as bf16, then zeros up to `width`.
void RoundRun(const float* x, int64_t count, int64_t width, int16_t* words) {
  for (int64_t i = 0; i < count; ++i) words[i] = static_cast<int16_t>(f32_to_bf16(x[i]));
  std::fill(words + count, words + width, int16_t{0});
}

// Quantizes one block of a row: codes, scale, starts.
void QuantizeBlock(const float* x, int64_t count, WeightFormat format, cpu::IntegerPath path,
                   int8_t* codes, int16_t* pairs, float* scale, int32_t* starts) {
  constexpr int64_t kBlock = cpu::kActivationBlock;
  constexpr int64_t kGroup = cpu::kInt4Group;
  *scale = QuantizeRun(x, count, codes);
  std::fill(codes + count, codes + kBlock, int8_t{0});
  if (format == WeightFormat::kInt8) {
    starts[0] = -cpu::kInt8Zero * sum_of(codes, kBlock);
    if (path == cpu::IntegerPath::kQuads) return;
    for (int64_t k = 0; k < kBlock; k += cpu::kQuad) {
      pairs[k] = codes[k];
      pairs[k + 1] = codes[k + 2];
      pairs[k + 2] = codes[k + 1];
      pairs[k + 3] = codes[k + 3];
    }
    return;
  }
  for (int64_t g = 0; g < kBlock / kGroup; ++g) {
    const int8_t* group = codes + g * kGroup;
    starts[g] = path == cpu::IntegerPath::kPairs ? int4_pair_start(group)
                                                 : -cpu::kInt4Zero * sum_of(group, kGroup);
  }
}

// Returns the midpoint of the levels i - 1 and i of int4.
constexpr float int4_middle(int i) {
  return 0.5f * static_cast<float>(cpu::kInt4Levels[i] + cpu::kInt4Levels[i - 1]);
}

// Rounds a group's weights to the nearest levels of the grid that `scale` makes and returns the sum
// of the squared errors.
HWY_INLINE float int4_error(const float* weights, float scale) {
  float error[cpu::kInt4Group];
  const float inverse = 1.0f / scale;
  for (int64_t k = 0; k < cpu::kInt4Group; ++k) {
    const float value = weights[k] * inverse;
    float level = static_cast<float>(cpu::kInt4Levels[0]);
    for (int i = 1; i < 16; ++i) {
      const auto step = static_cast<float>(cpu::kInt4Levels[i] - cpu::kInt4Levels[i - 1]);
      level += value > int4_middle(i) ? step : 0.0f;
    }
    const float difference = weights[k] - level * scale;
    error[k] = difference * difference;
  }
  // Summing halves repeatedly makes the order independent of the vectors' length.
  for (int64_t n = cpu::kInt4Group / 2; n > 0; n /= 2) {
    for (int64_t k = 0; k < n; ++k) error[k] += error[k + n];
  }
  return error[0];
}

// Computes the indices of the nearest levels; 0 for a NaN.
void Int4Codes(const float* weights, float scale, uint8_t* codes) {
  int32_t indices[cpu::kInt4Group];
  const float inverse = scale == 0 ? 0.0f : 1.0f / scale;
  for (int64_t k = 0; k < cpu::kInt4Group; ++k) {
    const float value = weights[k] * inverse;
    int32_t index = 0;
    for (int i = 1; i < 16; ++i) index += value > int4_middle(i) ? 1 : 0;
    indices[k] = index;
  }
  for (int64_t k = 0; k < cpu::kInt4Group; ++k) codes[k] = static_cast<uint8_t>(indices[k]);
}

// A bf16 scale and the squared error that results from it.
struct ScaleChoice {
  uint16_t bits = 0;
  int step = 0;
  float error = std::numeric_limits<float>::infinity();
};

// Tries the scale that puts the largest weight at 12 + 3/8 `step`; `sign` mirrors the levels.
HWY_INLINE void try_int4_scale(const float* weights, float largest, float sign, int step,
                               ScaleChoice& best) {
  const float ends_at = 12.0f + 0.375f * static_cast<float>(step);
  const uint16_t bits = f32_to_bf16(sign * largest / ends_at);
  const float error = int4_error(weights, bf16_to_f32(bits));
  if (error < best.error) best = {bits, step, error};
}

// Searches for the best of 32 scales: tries every third one, then the neighbours of the best.
// Outliers may be cut, because the scales put the largest weight up to 23.6, beyond the last level.
HWY_INLINE ScaleChoice best_int4_scale(const float* weights, float largest, float sign) {
  ScaleChoice best;
  for (int step = 1; step < 32; step += 3) try_int4_scale(weights, largest, sign, step, best);
  const int middle = best.step;
  for (const int step : {middle - 1, middle + 1}) {
    if (step < 32) try_int4_scale(weights, largest, sign, step, best);
  }
  return best;
}

uint16_t BestInt4Scale(const float* weights) {
  const uint32_t largest_size = largest_bits(weights, cpu::kInt4Group);
  if (largest_size >= kInfinity) return 0x7fc0;  // NaN, so that it is not hidden
  const auto largest = std::bit_cast<float>(largest_size);
  if (largest <= kTiny) return 0;
  const ScaleChoice plain = best_int4_scale(weights, largest, 1.0f);
  const ScaleChoice mirrored = best_int4_scale(weights, largest, -1.0f);
  return mirrored.error < plain.error ? mirrored.bits : plain.bits;
}

}  // namespace HWY_NAMESPACE
}  // namespace deltaserve
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace deltaserve {
HWY_EXPORT(QuantizeRun);
HWY_EXPORT(QuantizeBlock);
HWY_EXPORT(RoundRun);
HWY_EXPORT(BestInt4Scale);
HWY_EXPORT(Int4Codes);
namespace cpu {

float quantize_int8(const float* weights, int64_t count, uint8_t* codes) {
  std::vector<int8_t> integers(static_cast<size_t>(count));
  const float scale = HWY_DYNAMIC_DISPATCH(QuantizeRun)(weights, count, integers.data());
  for (int64_t i = 0; i < count; ++i) {
    codes[i] = static_cast<uint8_t>(kInt8Zero + integers[static_cast<size_t>(i)]);
  }
  return scale;
}

uint16_t quantize_int4(const float* weights, uint8_t* codes) {
  const uint16_t bits = HWY_DYNAMIC_DISPATCH(BestInt4Scale)(weights);
  HWY_DYNAMIC_DISPATCH(Int4Codes)(weights, bf16_to_f32(bits), codes);
  return bits;
}

namespace {

// Calls body(row) for every row.
template <class Body>
void for_rows(int64_t num_rows, int64_t rows_per_task, ThreadPool& threads, const Body& body) {
  threads.parallel_for((num_rows + rows_per_task - 1) / rows_per_task, [&](int64_t task, int) {
    const int64_t end = std::min(num_rows, (task + 1) * rows_per_task);
    for (int64_t r = task * rows_per_task; r < end; ++r) body(r);
  });
}

constexpr int64_t kRowsPerTask = 8;

// Returns an odd number: rows at a distance of a power of two would share a few sets of the caches.
int64_t blocks_of_stride(int64_t columns) {
  return activation_blocks(columns) | 1;
}

}  // namespace

bool ActivationRows::reserve(int64_t rows, int64_t columns) {
  const int64_t width = blocks_of_stride(columns) * kActivationBlock;
  const auto count = static_cast<size_t>(rows * width);
  codes = allocate_aligned<int8_t>(count);
  words = allocate_aligned<int16_t>(count);
  scales = allocate_aligned<float>(count / kActivationBlock);
  starts = allocate_aligned<int32_t>(count / kInt4Group);
  if (codes == nullptr || words == nullptr || scales == nullptr || starts == nullptr) return false;
  // Filling touches every page at load instead of in a step.
  std::fill_n(codes.get(), count, int8_t{0});
  std::fill_n(words.get(), count, int16_t{0});
  capacity = rows * width;
  return true;
}

bool ActivationRows::reserve_floats(int64_t rows, int64_t columns) {
  capacity_floats = rows * blocks_of_stride(columns) * kActivationBlock;
  floats = allocate_aligned<float>(static_cast<size_t>(capacity_floats));
  if (floats == nullptr) return false;
  std::fill_n(floats.get(), capacity_floats, 0.0f);
  return true;
}

int64_t ActivationRows::bytes() const {
  const int64_t blocks = capacity / kActivationBlock * static_cast<int64_t>(sizeof(float));
  const int64_t groups = capacity / kInt4Group * static_cast<int64_t>(sizeof(int32_t));
  return capacity * 3 + blocks + groups + capacity_floats * static_cast<int64_t>(sizeof(float));
}

void quantize_rows(const float* x, int64_t x_stride, int64_t num_rows, int64_t columns,
                   WeightFormat format, IntegerPath path, ActivationRows& out,
                   ThreadPool& threads) {
  constexpr int64_t kBlocksPerTask = 64;
  const int64_t blocks = activation_blocks(columns);
  out.stride = blocks_of_stride(columns) * kActivationBlock;
  DS_CHECK(num_rows * out.stride <= out.capacity);
  const int64_t rows_per_task = std::max<int64_t>(1, kBlocksPerTask / blocks);
  for_rows(num_rows, rows_per_task, threads, [&](int64_t r) {
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t at = r * out.stride + b * kActivationBlock;
      HWY_DYNAMIC_DISPATCH(QuantizeBlock)
      (x + r * x_stride + b * kActivationBlock,
       std::min(kActivationBlock, columns - b * kActivationBlock), format, path,
       out.codes.get() + at, out.words.get() + at,
       &out.scales[static_cast<size_t>(at / kActivationBlock)], out.starts.get() + at / kInt4Group);
    }
  });
}

void round_rows(const float* x, int64_t x_stride, int64_t num_rows, int64_t columns,
                ActivationRows& out, ThreadPool& threads) {
  out.stride = blocks_of_stride(columns) * kActivationBlock;
  DS_CHECK(num_rows * out.stride <= out.capacity);
  for_rows(num_rows, kRowsPerTask, threads, [&](int64_t r) {
    HWY_DYNAMIC_DISPATCH(RoundRun)
    (x + r * x_stride, columns, out.stride, out.words.get() + r * out.stride);
  });
}

void copy_rows(const float* x, int64_t x_stride, int64_t num_rows, int64_t columns,
               ActivationRows& out, ThreadPool& threads) {
  out.stride = blocks_of_stride(columns) * kActivationBlock;
  DS_CHECK(num_rows * out.stride <= out.capacity_floats);
  for_rows(num_rows, kRowsPerTask, threads, [&](int64_t r) {
    std::copy_n(x + r * x_stride, columns, out.floats.get() + r * out.stride);
  });
}

}  // namespace cpu
}  // namespace deltaserve
#endif
