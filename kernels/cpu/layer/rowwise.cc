#include "kernels/cpu/layer/rowwise.h"

#include <cmath>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/layer/rowwise.cc"
#include "hwy/foreach_target.h"  // compiles this file once per target
#include "hwy/highway.h"
#include "kernels/cpu/base/math-inl.h"
#include "kernels/mixer/gates.h"

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
    hn::StoreU(weight == nullptr ? v : hn::Mul(v, hn::LoadU(d, weight + i)), d, out + i);
  });
}

// NaN stays NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V activate(D d, Activation act, V x) {
  const V zero = hn::Zero(d);
  switch (act) {
    case Activation::kNone: return x;
    case Activation::kSilu: return silu(d, x);
    case Activation::kRelu: return hn::IfThenElse(hn::Le(x, zero), zero, x);
    case Activation::kEluPlusOne:
      return hn::IfThenElse(hn::Gt(x, zero), hn::Add(x, hn::Set(d, 1.0f)), exp_of(d, x));
    case Activation::kSigmoid: return sigmoid(d, x);
  }
  return x;
}

void ActivateRow(Activation act, const float* x, int64_t n, float* out) {
  for_each_vector(n, [=](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(activate(d, act, hn::LoadU(d, x + i)), d, out + i);
  });
}

void GateRow(Activation act, const float* gate, const float* x, int64_t n, float* out) {
  for_each_vector(n, [=](auto d, int64_t i) HWY_ATTR {
    const auto opened = activate(d, act, hn::LoadU(d, gate + i));
    hn::StoreU(hn::Mul(opened, hn::LoadU(d, x + i)), d, out + i);
  });
}

void MultiplyRow(const float* x, const float* y, int64_t n, float* out) {
  for_each_vector(n, [=](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::LoadU(d, y + i)), d, out + i);
  });
}

void DivideRow(const float* x, const float* y, int64_t n, float* out) {
  for_each_vector(n, [=](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::Div(hn::LoadU(d, x + i), hn::LoadU(d, y + i)), d, out + i);
  });
}

void AddScaledRow(float factor, const float* y, int64_t n, float* x) {
  for_each_vector(n, [=](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::MulAdd(hn::Set(d, factor), hn::LoadU(d, y + i), hn::LoadU(d, x + i)), d, x + i);
  });
}

void ConvRow(const float* const* rows, const float* weight, int64_t weight_stride, int width,
             const float* bias, bool with_silu, int64_t channels, float* out) {
  for_each_vector(channels, [=](auto d, int64_t i) HWY_ATTR {
    auto sum = hn::Mul(hn::LoadU(d, rows[0] + i), hn::LoadU(d, weight + i));
    for (int j = 1; j < width; ++j) {
      sum =
          hn::MulAdd(hn::LoadU(d, rows[j] + i), hn::LoadU(d, weight + j * weight_stride + i), sum);
    }
    if (bias != nullptr) sum = hn::Add(sum, hn::LoadU(d, bias + i));
    hn::StoreU(with_silu ? silu(d, sum) : sum, d, out + i);
  });
}

float DotRow(const float* x, const float* y, int64_t n) {
  return sum_over(n, [=](auto d, int64_t i)
                         HWY_ATTR { return hn::Mul(hn::LoadU(d, x + i), hn::LoadU(d, y + i)); });
}

void FeatureNormRow(FeatureNorm norm, float* x, int64_t n) {
  float divisor = 1;
  if (norm == FeatureNorm::kL2) {
    divisor = std::sqrt(DotRow(x, x, n) + kL2NormEps);
  } else {
    divisor = sum_over(n, [x](auto d, int64_t i) HWY_ATTR { return hn::LoadU(d, x + i); });
    if (norm == FeatureNorm::kSumPlusEps) divisor += kSumNormEps;
  }
  const float scale = 1.0f / divisor;
  for_each_vector(n, [=](auto d, int64_t i) HWY_ATTR {
    hn::StoreU(hn::Mul(hn::LoadU(d, x + i), hn::Set(d, scale)), d, x + i);
  });
}

void DecayGateRow(DecayGate gate, const float* x, const float* bias, float rate, float bound,
                  int64_t n, float* g) {
  for_each_vector(n, [=](auto d, int64_t i) HWY_ATTR {
    auto logit = hn::LoadU(d, x + i);
    if (bias != nullptr) logit = hn::Add(logit, hn::LoadU(d, bias + i));
    auto log_decay = hn::Zero(d);
    if (gate == DecayGate::kSoftplus) {
      log_decay = hn::Mul(hn::Set(d, -rate), softplus(d, logit));
    } else if (gate == DecayGate::kBoundedSigmoid) {
      log_decay = hn::Mul(hn::Set(d, bound), sigmoid(d, hn::Mul(hn::Set(d, rate), logit)));
    } else {  // log(sigmoid(x)) = -softplus(-x)
      log_decay = hn::Mul(hn::Set(d, -kLogSigmoidFactor), softplus(d, hn::Neg(logit)));
      const auto least = hn::Set(d, bound);
      log_decay = hn::IfThenElse(hn::Lt(log_decay, least), least, log_decay);
    }
    hn::StoreU(log_decay, d, g + i);
  });
}

void DecayedSumRow(const float* g, int64_t num_g, const float* add, int64_t n, float* sum) {
  const float decay = num_g == 1 ? std::exp(g[0]) : 1.0f;
  for_each_vector(n, [=](auto d, int64_t i) HWY_ATTR {
    const auto a = num_g > 1 ? exp_of(d, hn::LoadU(d, g + i)) : hn::Set(d, decay);
    const auto term = add == nullptr ? hn::Set(d, 1.0f) : hn::LoadU(d, add + i);
    hn::StoreU(hn::MulAdd(a, hn::LoadU(d, sum + i), term), d, sum + i);
  });
}

void PreconditionRow(const cpu::PreconditionArgs& args, const float* k, int64_t n, float* squares,
                     float* multiplier) {
  for_each_vector(n, [=, &args](auto d, int64_t i) HWY_ATTR {
    const auto key = hn::LoadU(d, k + i);
    const auto square = hn::Mul(hn::Set(d, args.beta), hn::Mul(key, key));
    const auto sum = hn::MulAdd(hn::Set(d, args.decay), hn::LoadU(d, squares + i), square);
    hn::StoreU(sum, d, squares + i);
    const auto r = hn::Sub(hn::Log(d, hn::Add(sum, hn::Set(d, args.eps))), hn::Set(d, args.center));
    const auto squashed = hn::Div(r, hn::Add(hn::Set(d, 1.0f), hn::Abs(r)));
    hn::StoreU(exp_of(d, hn::Mul(hn::Set(d, -args.log_squash), squashed)), d, multiplier + i);
  });
}

void ExpRow(const float* x, float shift, float factor, int64_t n, float* out) {
  for_each_vector(n, [=](auto d, int64_t i) HWY_ATTR {
    const auto scaled =
        hn::Mul(hn::Sub(hn::LoadU(d, x + i), hn::Set(d, shift)), hn::Set(d, factor));
    // The argument reduction of Exp needs a bounded input; below this bound every result is zero.
    hn::StoreU(hn::Exp(d, hn::Max(scaled, hn::Set(d, -104.0f))), d, out + i);
  });
}

float LargestOf(const float* x, int64_t n) {
  const Floats d;
  FloatVec lane_largest = hn::Set(d, -std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + lanes() <= n; i += lanes()) {
    const FloatVec v = hn::LoadU(d, x + i);
    lane_largest = hn::IfThenElse(hn::Gt(v, lane_largest), v, lane_largest);
  }
  float largest = hn::GetLane(hn::MaxOfLanes(d, lane_largest));
  for (; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

double LogSumExp(const float* x, int64_t n, float* max) {
  const float largest = LargestOf(x, n);
  *max = largest;
  double sum = 0;
  constexpr int64_t kBlock = 256;  // floats summed before the sum continues in double
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
HWY_EXPORT(ActivateRow);
HWY_EXPORT(GateRow);
HWY_EXPORT(MultiplyRow);
HWY_EXPORT(DivideRow);
HWY_EXPORT(AddScaledRow);
HWY_EXPORT(ConvRow);
HWY_EXPORT(DotRow);
HWY_EXPORT(FeatureNormRow);
HWY_EXPORT(DecayGateRow);
HWY_EXPORT(DecayedSumRow);
HWY_EXPORT(PreconditionRow);
HWY_EXPORT(ExpRow);
HWY_EXPORT(LargestOf);
HWY_EXPORT(LogSumExp);
namespace cpu {

void rms_norm_row(const float* x, const float* weight, float eps, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(RmsNormRow)(x, weight, eps, n, out);
}

void activate_row(Activation act, const float* x, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(ActivateRow)(act, x, n, out);
}

void gate_row(Activation act, const float* gate, const float* x, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(GateRow)(act, gate, x, n, out);
}

void multiply_row(const float* x, const float* y, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(MultiplyRow)(x, y, n, out);
}

void divide_row(const float* x, const float* y, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(DivideRow)(x, y, n, out);
}

void add_scaled_row(float factor, const float* y, int64_t n, float* x) {
  HWY_DYNAMIC_DISPATCH(AddScaledRow)(factor, y, n, x);
}

void conv_row(const float* const* rows, const float* weight, int64_t weight_stride, int width,
              const float* bias, bool silu, int64_t channels, float* out) {
  HWY_DYNAMIC_DISPATCH(ConvRow)(rows, weight, weight_stride, width, bias, silu, channels, out);
}

float dot_row(const float* x, const float* y, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(DotRow)(x, y, n);
}

void feature_norm_row(FeatureNorm norm, float* x, int64_t n) {
  if (norm != FeatureNorm::kNone) HWY_DYNAMIC_DISPATCH(FeatureNormRow)(norm, x, n);
}

void decay_gate_row(DecayGate gate, const float* x, const float* bias, float rate, float bound,
                    int64_t n, float* g) {
  HWY_DYNAMIC_DISPATCH(DecayGateRow)(gate, x, bias, rate, bound, n, g);
}

void decayed_sum_row(const float* g, int64_t num_g, const float* add, int64_t n, float* sum) {
  HWY_DYNAMIC_DISPATCH(DecayedSumRow)(g, num_g, add, n, sum);
}

void precondition_row(const PreconditionArgs& args, const float* k, int64_t n, float* squares,
                      float* multiplier) {
  HWY_DYNAMIC_DISPATCH(PreconditionRow)(args, k, n, squares, multiplier);
}

void exp_row(const float* x, float shift, float factor, int64_t n, float* out) {
  HWY_DYNAMIC_DISPATCH(ExpRow)(x, shift, factor, n, out);
}

float largest_of(const float* x, int64_t n) {
  return HWY_DYNAMIC_DISPATCH(LargestOf)(x, n);
}

double log_sum_exp(const float* x, int64_t n, float* max) {
  return HWY_DYNAMIC_DISPATCH(LogSumExp)(x, n, max);
}

}  // namespace cpu
}  // namespace deltaserve
#endif
