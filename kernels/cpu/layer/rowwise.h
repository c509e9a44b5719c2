// Operations on one row of activations. Rows are contiguous floats; n need not be padded.
#pragma once
#include <cstdint>

#include "kernels/program/mixer_shape.h"

namespace deltaserve::cpu {

// out = x / sqrt(mean(x^2) + eps) * weight; a null weight is 1.
void rms_norm_row(const float* x, const float* weight, float eps, int64_t n, float* out);

// out = act(x); may be in place.
void activate_row(Activation act, const float* x, int64_t n, float* out);

// out = act(gate) * x
void gate_row(Activation act, const float* gate, const float* x, int64_t n, float* out);

// out = x * y
void multiply_row(const float* x, const float* y, int64_t n, float* out);

// x += factor * y
void add_scaled_row(float factor, const float* y, int64_t n, float* x);

// out[c] = bias[c] + sum_j weight[j][c] * rows[j][c] over `width` raw rows, oldest first, then SiLU
// if `silu` is true. weight is [width, weight_stride], bias may be null. Products are added in
// order of j.
void conv_row(const float* const* rows, const float* weight, int64_t weight_stride, int width,
              const float* bias, bool silu, int64_t channels, float* out);

// x . y
float dot_row(const float* x, const float* y, int64_t n);

// Normalises one head of `n` channels, in place.
void feature_norm_row(FeatureNorm norm, float* x, int64_t n);

// Computes log decays of one head's channels from their logits, for the gates kSoftplus,
// kBoundedSigmoid and kLogSigmoid of DecayGate. rate = exp(a_log); bias may be null.
void decay_gate_row(DecayGate gate, const float* x, const float* bias, float rate, float bound,
                    int64_t n, float* g);

// sum = e^g sum + add. g has `num_g` entries: none (no decay), one for all, or n. A null `add` is
// 1.
void decayed_sum_row(const float* g, int64_t num_g, const float* add, int64_t n, float* sum);

// out = x / y
void divide_row(const float* x, const float* y, int64_t n, float* out);

// Processes one token of a preconditioner (see mixer/preconditioned.h): squares = decay squares +
// beta k^2, then the multiplier.
struct PreconditionArgs {
  float decay, beta, center;
  float log_squash, eps;  // ln x, squash_eps
};
void precondition_row(const PreconditionArgs& args, const float* k, int64_t n, float* squares,
                      float* multiplier);

// Returns the largest element; -infinity if there are only NaN.
float largest_of(const float* x, int64_t n);

// Returns log(sum_i exp(x[i] - max)) + max and sets *max to the largest element; NaN counts as
// -inf.
double log_sum_exp(const float* x, int64_t n, float* max);

// out[i] = exp((x[i] - shift) * factor)
void exp_row(const float* x, float shift, float factor, int64_t n, float* out);

}  // namespace deltaserve::cpu
