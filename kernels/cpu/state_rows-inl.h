// The vector forms of a state format: load, store and round, per Highway target.

#if defined(DELTASERVE_KERNELS_CPU_STATE_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DELTASERVE_KERNELS_CPU_STATE_ROWS_INL_H_
#undef DELTASERVE_KERNELS_CPU_STATE_ROWS_INL_H_
#else
#define DELTASERVE_KERNELS_CPU_STATE_ROWS_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/base/state_format.h"
#include "kernels/cpu/dense-inl.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {

using StateBits = hn::RebindToUnsigned<Floats>;

// The high half of each word is the nearest bf16, ties to even. A NaN that the processor computed
// stays NaN.
HWY_INLINE hn::Vec<StateBits> rounded_to_bf16(FloatVec x) {
  const StateBits d;
  const auto bits = hn::BitCast(d, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1u));
  return hn::Add(hn::Add(bits, hn::Set(d, 0x7fffu)), odd);
}

HWY_INLINE FloatVec load_state(F32State, const float* from) {
  return hn::Load(Floats(), from);
}
HWY_INLINE FloatVec load_state(Bf16State, const uint16_t* from) {
  const hn::Rebind<uint16_t, Floats> halves;
  const auto bits = hn::PromoteTo(StateBits(), hn::Load(halves, from));
  return hn::BitCast(Floats(), hn::ShiftLeft<16>(bits));
}

HWY_INLINE void store_state(F32State, FloatVec x, float* to) {
  hn::Store(x, Floats(), to);
}
HWY_INLINE void store_state(Bf16State, FloatVec x, uint16_t* to) {
  const hn::Rebind<uint16_t, Floats> halves;
  const hn::RebindToSigned<Floats> words;
  const auto high = hn::ShiftRight<16>(rounded_to_bf16(x));
  hn::Store(hn::DemoteTo(halves, hn::BitCast(words, high)), halves, to);
}

// Returns what remains of a state after storing it in a format and loading it again.
HWY_INLINE FloatVec round_state(F32State, FloatVec x) {
  return x;
}
HWY_INLINE FloatVec round_state(Bf16State, FloatVec x) {
  return hn::BitCast(Floats(), hn::And(rounded_to_bf16(x), hn::Set(StateBits(), 0xffff0000u)));
}

}  // namespace HWY_NAMESPACE
}  // namespace deltaserve
HWY_AFTER_NAMESPACE();

#endif
