// Converts numbers to smaller formats: weights to integers once at load, activations to integers or
// bf16 in every matmul. Every instruction set computes the same bits.
#pragma once
#include <cstdint>

#include "kernels/base/thread_pool.h"
#include "kernels/cpu/base/aligned.h"
#include "kernels/cpu/matmul/packed_matrix.h"

namespace deltaserve::cpu {

// Sets codes[i] to 128 + an integer of magnitude 127 at most; returns the scale s with weights[i]
// ~= (codes[i] - 128) * s.
float quantize_int8(const float* weights, int64_t count, uint8_t* codes);

// Converts kInt4Group weights to indices of kInt4Levels; returns the bits of the bf16 scale.
uint16_t quantize_int4(const float* weights, uint8_t* codes);

// Number of input features of an activation row that share a scale.
inline constexpr int64_t kActivationBlock = 128;
constexpr int64_t activation_blocks(int64_t columns) {
  return (columns + kActivationBlock - 1) / kActivationBlock;
}
// Number of blocks whose int8 products are added up before the weights' scales are applied.
inline constexpr int64_t kInt8RunBlocks = 4;

// The way in which matmuls multiply bytes.
enum class IntegerPath : uint8_t {
  kPlain,  // scalar code, slow; every other path must give its bits
  kPairs,  // adds the products of neighbours; works on any processor
  kQuads,  // multiplies four bytes and adds them in one instruction (VNNI)
};

// Rows of activations for a matmul: as integers of magnitude 127 at most with one scale per block,
// as bf16 numbers, or as floats. Rows of integers and of bf16 numbers are padded with zeros to
// whole blocks.
struct ActivationRows {
  int64_t stride = 0;  // distance of rows, in numbers, a multiple of kActivationBlock
  AlignedArray<int8_t> codes;
  // The codes for the int8 kernel of kPairs, in the order 0, 2, 1, 3 in each quad; or the bits of
  // the bf16 numbers.
  AlignedArray<int16_t> words;
  AlignedArray<float> scales;  // [row][block]
  // The initial values of a kernel's sums, which allow unsigned weights: minus the zero of the
  // weights times the sum of the codes. int8: [row][block] in the first entries of a block's
  // groups. int4: [row][group]; for kPairs two 16-bit sums, one of the features 0 and 1 of every
  // quad, one of the features 2 and 3.
  AlignedArray<int32_t> starts;
  AlignedArray<float> floats;
  int64_t capacity = 0;  // in numbers, of integers and bf16
  int64_t capacity_floats = 0;

  // Allocates room for `rows` rows of at most `columns` features: reserve() as integers or bf16,
  // reserve_floats() as floats. Returns false if there is not enough memory.
  [[nodiscard]] bool reserve(int64_t rows, int64_t columns);
  [[nodiscard]] bool reserve_floats(int64_t rows, int64_t columns);
  // Returns the bytes that both took.
  int64_t bytes() const;
};

// Quantizes x [num_rows, columns] for a matmul with weights of this format.
void quantize_rows(const float* x, int64_t x_stride, int64_t num_rows, int64_t columns,
                   WeightFormat format, IntegerPath path, ActivationRows& out, ThreadPool& threads);

// Rounds x [num_rows, columns] to the nearest bf16 numbers, ties to even, in out.words.
void round_rows(const float* x, int64_t x_stride, int64_t num_rows, int64_t columns,
                ActivationRows& out, ThreadPool& threads);

// Copies x [num_rows, columns] to out.floats. Rows of x are often a power of two apart, and then
// more than a few of them evict each other from the caches.
void copy_rows(const float* x, int64_t x_stride, int64_t num_rows, int64_t columns,
               ActivationRows& out, ThreadPool& threads);

}  // namespace deltaserve::cpu
