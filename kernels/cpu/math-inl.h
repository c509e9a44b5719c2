// Activations and loops on vectors, per Highway target.

#if defined(DELTASERVE_KERNELS_CPU_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DELTASERVE_KERNELS_CPU_MATH_INL_H_
#undef DELTASERVE_KERNELS_CPU_MATH_INL_H_
#else
#define DELTASERVE_KERNELS_CPU_MATH_INL_H_
#endif

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"
#include "kernels/cpu/dense-inl.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {

// x / (1 + e^-x). e^-x overflows to infinity below -88, where the quotient rightly is -0.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V silu(D d, V x) {
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), hn::Exp(d, hn::Neg(x))));
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
