// Activations and loops on vectors, per Highway target.

#if defined(DELTASERVE_KERNELS_CPU_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DELTASERVE_KERNELS_CPU_MATH_INL_H_
#undef DELTASERVE_KERNELS_CPU_MATH_INL_H_
#else
#define DELTASERVE_KERNELS_CPU_MATH_INL_H_
#endif

#include <limits>

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "kernels/cpu/base/dense-inl.h"
#include "kernels/mixer/gates.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {

// e^x of every float. The library's Exp is right up to 104, far beyond the range of finite results,
// and returns 0 for NaN; here NaN stays NaN.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V exp_of(D d, V x) {
  const V power = hn::Exp(d, hn::Min(x, hn::Set(d, 104.0f)));
  return hn::IfThenElse(hn::IsNaN(x), x, power);
}

// Replaces `usual`, a value of silu or sigmoid, if e^-x overflows: 1 / (1 + e^-x) then equals e^x
// to the last bit, and is multiplied by `factor`. NaN stays NaN. Hardly any row has such an x.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V with_far_below(D d, V x, V factor, V usual) {
  const auto in_range = hn::Ge(x, hn::Set(d, kLeastExpArgument));
  if (HWY_LIKELY(hn::AllTrue(d, in_range))) return usual;
  const V far_below = hn::Mul(factor, exp_of(d, x));
  return hn::IfThenElse(in_range, usual, far_below);
}

// 1 / (1 + e^-x)
template <class D, class V = hn::Vec<D>>
HWY_INLINE V sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  return with_far_below(d, x, one, hn::Div(one, hn::Add(one, hn::Exp(d, hn::Neg(x)))));
}

// x / (1 + e^-x), and its limit -0 for negative infinity.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V silu(D d, V x) {
  const V usual = hn::Div(x, hn::Add(hn::Set(d, 1.0f), hn::Exp(d, hn::Neg(x))));
  const V lowest = hn::Set(d, std::numeric_limits<float>::lowest());
  return with_far_below(d, x, hn::IfThenElse(hn::Lt(x, lowest), lowest, x), usual);
}

// log(1 + e^x) without overflow. The maximum may lose a NaN, but e^-|x| keeps it.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V softplus(D d, V x) {
  return hn::Add(hn::Max(x, hn::Zero(d)), hn::Log1p(d, exp_of(d, hn::Neg(hn::Abs(x)))));
}

// Calls body(d, i) for the vectors of `n` floats, whole ones first, then one float at a time. An
// element's value therefore never depends on its neighbours.
template <class Body>
HWY_INLINE void for_each_vector(int64_t n, const Body& body) {
  const Floats d;
  int64_t i = 0;
  for (; i + lanes() <= n; i += lanes()) body(d, i);
  const HWY_CAPPED(float, 1) one;
  for (; i < n; ++i) body(one, i);
}

// Returns the sum over i of body(d, i). Each lane is summed first.
template <class Body>
HWY_INLINE float sum_over(int64_t n, const Body& body) {
  const Floats d;
  FloatVec sum = hn::Zero(d);
  int64_t i = 0;
  for (; i + lanes() <= n; i += lanes()) sum = hn::Add(sum, body(d, i));
  float total = hn::GetLane(hn::SumOfLanes(d, sum));
  const HWY_CAPPED(float, 1) one;
  for (; i < n; ++i) total += hn::GetLane(body(one, i));
  return total;
}

}  // namespace HWY_NAMESPACE
}  // namespace deltaserve
HWY_AFTER_NAMESPACE();

#endif
