// Operations on one row of activations. Rows are contiguous floats; n need not be padded.
#pragma once
#include <cstdint>

namespace deltaserve::cpu {

// out = x / sqrt(mean(x^2) + eps) * weight
void rms_norm_row(const float* x, const float* weight, float eps, int64_t n, float* out);

// out = silu(gate) * up
void swiglu_row(const float* gate, const float* up, int64_t n, float* out);

// out = silu(x)
void silu_row(const float* x, int64_t n, float* out);

// out[c] = silu(sum_j weight[j][c] * rows[j][c]) over `width` raw rows, oldest first; weight is
// [width, weight_stride]. Products are added in order of j.
void conv_silu_row(const float* const* rows, const float* weight, int64_t weight_stride, int width,
                   int64_t channels, float* out);

// x = x / sqrt(sum(x^2) + 1e-6)
void l2_norm_row(float* x, int64_t n);

// log(sum_i exp(x[i] - max)) + max with *max the largest element; NaN counts as -inf.
double log_sum_exp(const float* x, int64_t n, float* max);

// out[i] = exp((x[i] - shift) * factor)
void exp_row(const float* x, float shift, float factor, int64_t n, float* out);

}  // namespace deltaserve::cpu
