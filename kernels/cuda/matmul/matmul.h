// Matmuls of activations and weights, out (+)= x w^T, summed in float.
//
// The bits of an output depend on its row of activations and its row of weights only, never on how
// many rows are multiplied together. launch_plain_matmul: one chain of multiply-adds over the
// inner index in order. launch_tensor_matmul: the inner index is cut into segments of
// kTensorSegment; a segment is one chain of the tensor core's products from zero, and the segments
// are added in order, total = factor * segment + total with one rounding. All its kernels give the
// same bits.
#pragma once
#include "kernels/cuda/device/rows.h"
#include "kernels/cuda/device/simt.h"

namespace deltaserve::cuda {

inline constexpr int kTensorSegment = 256;

// Says how a total is used.
enum class MatmulEnd : uint8_t {
  kStore,     // out (+)= total
  kNextNorm,  // out += total, and writes the row for the next norm, without its factor
  kGate,      // the first half of the outputs, through SiLU, times the second
};

// More parts would leave no kernel enough shared memory for their factors.
inline constexpr int kMostFactorParts = 128;

// Rows may lack the factor of their norm, which the matmul then computes: for each of `parts` equal
// parts of a row's columns, 1 / sqrt(mean of squares + eps).
struct RowFactors {
  // [num_rows, parts, groups], see kSquareGroup; null: factors of 1
  const float* squares = nullptr;
  // There are at most kMostFactorParts. If there is more than one, each has a multiple of 32
  // columns.
  int32_t parts = 1;
  int32_t groups = 0;
  float eps = 0;
};

struct MatmulCall {
  DeviceMatrix w;
  const float* x = nullptr;  // [num_rows, w.columns]; launch_plain_matmul reads it
  int64_t x_stride = 0;
  // The same rounded to bf16, [num_rows, w.stride]: zeros from w.columns on, rows 16-byte aligned.
  // launch_tensor_matmul reads it.
  const uint16_t* x_bf16 = nullptr;
  int64_t x_bf16_stride = 0;
  float* out = nullptr;  // [num_rows, w.rows]
  int64_t out_stride = 0;
  int32_t num_rows = 0;
  bool accumulate = false;

  // Only launch_tensor_matmul reads the members below.
  RowFactors factors = {};
  MatmulEnd end = MatmulEnd::kStore;
  // kNextNorm: out_bf16 = out * next_norm, and the sums of squares of out.
  const float* next_norm = nullptr;  // [w.rows]
  float* squares = nullptr;          // [num_rows, square_groups(w.rows)]
  // kNextNorm fills it, [num_rows, w.rows]; so does kGate, which writes nothing else, [num_rows,
  // w.rows / 2].
  uint16_t* out_bf16 = nullptr;
  int64_t out_bf16_stride = 0;
};

// Takes any weights. It is the reference and the fallback of launch_tensor_matmul.
void launch_plain_matmul(simt::Stream stream, const MatmulCall& call);

// The kernels of launch_tensor_matmul, which takes bf16 weights. kAuto chooses the one that should
// be fastest on any device.
enum class TensorKernel : uint8_t {
  kAuto,
  kFewRows,  // streams weights from memory into registers; up to kMaxFewRows rows
  kTile32,   // blocks of 32 outputs of 32 rows
  kTile64,
  kTile128,
  kWide,  // weights into registers, segments over the blocks of a cluster (capability 9.0)
};
inline constexpr int kMaxFewRows = 32;
// Returns the kernel that should be fastest for the shape of the weights and the number of rows.
// With `wide`, kWide may be chosen.
TensorKernel fastest_kernel(const MatmulCall& call, bool wide = false);
// Returns true if the kernel supports the shape and the number of rows.
bool takes_kernel(const MatmulCall& call, TensorKernel kernel);
void launch_tensor_matmul(simt::Stream stream, const MatmulCall& call,
                          TensorKernel kernel = TensorKernel::kAuto);

// to [num_rows, padded to a multiple of 8 columns] = x [num_rows, columns] to nearest even, then
// zeros.
void launch_round_rows(simt::Stream stream, const float* x, int64_t x_stride, int64_t columns,
                       int num_rows, uint16_t* to);

constexpr int64_t padded_to_8(int64_t n) {
  return (n + 7) / 8 * 8;
}

}  // namespace deltaserve::cuda
