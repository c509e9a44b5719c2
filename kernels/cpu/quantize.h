// Numbers to smaller ones: weights to integers once at load, activations to integers or bf16 in
// every product. Every instruction set computes the same bits.
#pragma once
#include <cstdint>

#include "kernels/base/thread_pool.h"
#include "kernels/cpu/aligned.h"
#include "kernels/cpu/packed_matrix.h"

namespace deltaserve::cpu {

// codes[i] = 128 + an integer of at most 127 in size; returns the scale s of weights[i] ~=
// (codes[i] - 128) * s.
float quantize_int8(const float* weights, int64_t count, uint8_t* codes);

// kInt4Group weights to indices of kInt4Levels; returns the bits of the bf16 scale.
uint16_t quantize_int4(const float* weights, uint8_t* codes);

// Input features of an activation row that share a scale.
inline constexpr int64_t kActivationBlock = 128;
constexpr int64_t activation_blocks(int64_t columns) {
  return (columns + kActivationBlock - 1) / kActivationBlock;
}
// Blocks whose int8 products are added up before the weights' scales are applied.
inline constexpr int64_t kInt8RunBlocks = 4;

// How the products multiply bytes.
enum class IntegerPath : uint8_t {
  kPlain,  // scalar code, slow, from which no path may differ by a bit
  kPairs,  // products of neighbours, added: any processor
  kQuads,  // four products of bytes and their sum in one instruction (VNNI)
};

// Rows of activations as integers of at most 127 in size, a block's times its scale, as bf16
// numbers or as they are. Rows of integers and of bf16 numbers are filled up with zeros to whole
// blocks.
struct ActivationRows {
  int64_t stride = 0;  // from row to row, in numbers, a multiple of kActivationBlock
  AlignedArray<int8_t> codes;
  // The codes as the int8 kernel of kPairs wants them, of each quad the codes 0, 2, 1, 3; or the
  // bits of the bf16 numbers.
  AlignedArray<int16_t> words;
  AlignedArray<float> scales;  // [row][block]
  // What a kernel's sums start from, so that weights may be unsigned: minus the zero of the weights
  // times the sum of the codes. int8: [row][block] in the first entries of a block's groups. int4:
  // [row][group], for kPairs two 16-bit sums, of the features 0, 1 and of the features 2, 3 of
  // every quad.
  AlignedArray<int32_t> starts;
  AlignedArray<float> floats;
  int64_t capacity = 0;  // numbers, of integers and bf16
  int64_t capacity_floats = 0;

  // Room for `rows` rows of at most `columns` features, as integers or bf16, and as floats. False:
  // the memory is not there.
  [[nodiscard]] bool reserve(int64_t rows, int64_t columns);
  [[nodiscard]] bool reserve_floats(int64_t rows, int64_t columns);
  // What both took.
  int64_t bytes() const;
};

// x [num_rows, columns] for a product with weights of this format.
void quantize_rows(const float* x, int64_t x_stride, int64_t num_rows, int64_t columns,
                   WeightFormat format, IntegerPath path, ActivationRows& out, ThreadPool& threads);

// x [num_rows, columns] to the nearest bf16 numbers, ties to even, in out.words.
void round_rows(const float* x, int64_t x_stride, int64_t num_rows, int64_t columns,
                ActivationRows& out, ThreadPool& threads);

// x [num_rows, columns] to out.floats: in x rows often stand at a distance of a power of two, and
// then more than a few of them push each other out of the caches.
void copy_rows(const float* x, int64_t x_stride, int64_t num_rows, int64_t columns,
               ActivationRows& out, ThreadPool& threads);

}  // namespace deltaserve::cpu
