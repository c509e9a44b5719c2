#include "kernels/cpu/rowwise.h"

#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rowwise.cc"
#include "hwy/foreach_target.h"  // compiles this file once per target
#include "hwy/highway.h"
#include "kernels/cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {

void RmsNormRow(const float* x, const float* weight, float eps, int64_t n, float* out) {
  const float squares = sum_over(n, [x](auto d, int64_t i) HWY_ATTR {
    const auto v = hn::LoadU(d, x + i);
    return hn::Mul(v, v);
  });
  const float scale = 1.0f / std::sqrt(squares / static_cast<float>(n) + eps);
  for_each_vector(n, [=](auto d, int64_t i) HWY_ATTR {
    const auto v = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, scale));
    hn::StoreU(hn::Mul(v, hn::LoadU(d, weight + i)), d, out + i);
  });
}

void SwigluRow(const float* gate, const float* up, int64_t n, float* out) {
  for_each_vector(n, [=](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(silu(d, hn::LoadU(d, gate + i)), hn::LoadU(d, up + i)), d, out + i);
  });
}

void SiluRow(const float* x, int64_t n, float* out) {
  for_each_vector(
      n, [=](auto d, int64_t i) HWY_ATTR { hn::StoreU(silu(d, hn::LoadU(d, x + i)), d, out + i); });
}

void ConvSiluRow(const float* const* rows, const float* weight, int64_t weight_stride, int width,
                 int64_t channels, float* out) {
  for_each_vector(channels, [=](auto d, int64_t i) HWY_ATTR {
    auto sum = hn::Mul(hn::LoadU(d, rows[0] + i), hn::LoadU(d, weight + i));
    for (int j = 1; j < width; ++j) {
      sum =
          hn::MulAdd(hn::LoadU(d, rows[j] + i), hn::LoadU(d, weight + j * weight_stride + i), sum);
    }
    hn::StoreU(silu(d, sum), d, out + i);
  });
}

void L2NormRow(float* x, int64_t n) {
  const float squares = sum_over(n, [x](auto d, int64_t i) HWY_ATTR {
    const auto v = hn::LoadU(d, x + i);
    return hn::Mul(v, v);
  });
  const float scale = 1.0f / std::sqrt(squares + 1e-6f);
  for_each_vector(n, [=](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, scale)), d, x + i);
  });
}

void ExpRow(const float* x, float shift, float factor, int64_t n, float* out) {
  for_each_vector(n, [=](auto d, int64_t i) HWY_ATTR {
    const auto scaled =
        hn::Mul(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, shift)), hn::Set(d, factor));
    // Exp's argument reduction wants a bounded input; below this everything is zero anyway.
    hn::StoreU(hn::Exp(d, hn::Max(scaled, hn::Set(d, -104.0f))), d, out + i);
  });
}

double LogSumExp(const float* x, int64_t n, float* max) {
  float largest = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  *max = largest;
  double sum = 0;
  constexpr int64_t kBlock = 256;  // floats summed before the sum goes on in double
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t count = n - begin < kBlock ? n - begin : kBlock;
    const float* block = x + begin;
    sum += sum_over(count, [=](auto d, int64_t i) HWY_ATTR {
      const auto v = hn::Sub(hn::LoadU(d, block + i), hn::Set(d, largest));
      return hn::Exp(d, hn::Max(v, hn::Set(d, -104.0f)));
    });
  }
  return static_cast<double>(largest) + std::log(sum);
}

}  // namespace HWY_NAMESPACE
}  // namespace deltaserve
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace deltaserve {
HWY_EXPORT(RmsNormRow);
HWY_EXPORT(SwigluRow);
HWY_EXPORT(SiluRow);
HWY_EXPORT(ConvSiluRow);
HWY_EXPORT(L2NormRow);
HWY_EXPORT(ExpRow);
HWY_EXPORT(LogSumExp);
namespace cpu {

void rms_norm_row(const float* x, const float* weight, float eps, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(RmsNormRow)(x, weight, eps, n, out);
}

void swiglu_row(const float* gate, const float* up, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(SwigluRow)(gate, up, n, out);
}

void silu_row(const float* x, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(SiluRow)(x, n, out);
}

void conv_silu_row(const float* const* rows, const float* weight, int64_t weight_stride, int width,
                   int64_t channels, float* out) {
  HWY_DYNAMIC_DISPATCH(ConvSiluRow)(rows, weight, weight_stride, width, channels, out);
}

void l2_norm_row(float* x, int64_t n) {
  HWY_DYNAMIC_DISPATCH(L2NormRow)(x, n);
}

void exp_row(const float* x, float shift, float factor, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(ExpRow)(x, shift, factor, n, out);
}

double log_sum_exp(const float* x, int64_t n, float* max) {
  return HWY_DYNAMIC_DISPATCH(LogSumExp)(x, n, max);
}

}  // namespace cpu
}  // namespace deltaserve
#endif
