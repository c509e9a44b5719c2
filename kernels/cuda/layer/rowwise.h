// Operations on rows of activations outside the mixer. They write an output's floats and its copy
// in bf16, whichever of the two it has.
#pragma once
#include "kernels/cuda/device/rows.h"
#include "kernels/cuda/device/simt.h"
#include "kernels/program/mixer_shape.h"
#include "kernels/program/step.h"

namespace deltaserve::cuda {

// Kernels find the token of a row through these arrays; pointers are to the device's memory.
struct RowTokens {
  const int32_t* token_ids = nullptr;     // [num_rows]
  const int32_t* row_segments = nullptr;  // [num_rows] the segment of each row
  const Segment* segments = nullptr;
  const int32_t* last_tokens = nullptr;  // [slots], the tokens that kTokenOfSlot means
};

// out[r] = table[token of row r]; rows of padding become zeros.
void launch_embed(simt::Stream stream, const DeviceMatrix& table, const RowTokens& tokens,
                  int num_rows, const DeviceRows& out);
// out[r] = x[s] / sqrt(mean(x[s]^2) + eps) * weight with s = source_rows[r], or r if it is null.
void launch_rms_norm(simt::Stream stream, const DeviceRows& x, const int32_t* source_rows,
                     const float* weight, float eps, int num_rows, const DeviceRows& out);
// Does the same as launch_rms_norm without the factor of a row, which a matmul computes:
// out.bf16[r] = x[r] * weight, and the sums of squares of x[r], [num_rows,
// square_groups(x.columns)]. Does not change out.data.
void launch_scale_rows(simt::Stream stream, const DeviceRows& x, const float* weight, int num_rows,
                       const DeviceRows& out, float* squares);
// out[r][column + c] += bias[c], c < n
void launch_add_bias(simt::Stream stream, const float* bias, int64_t n, int num_rows,
                     const DeviceRows& out, int64_t column);
// out = activation(x[:, :n]) * x[:, n:] with n = out.columns
void launch_gate(simt::Stream stream, Activation activation, const DeviceRows& x, int num_rows,
                 const DeviceRows& out);

}  // namespace deltaserve::cuda
