// Exact dot products of small integers, per Highway target. If the processor has no instruction for
// one, other instructions compute the same integers.

#if defined(DELTASERVE_KERNELS_CPU_INTEGER_DOT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DELTASERVE_KERNELS_CPU_INTEGER_DOT_INL_H_
#undef DELTASERVE_KERNELS_CPU_INTEGER_DOT_INL_H_
#else
#define DELTASERVE_KERNELS_CPU_INTEGER_DOT_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/cpu/base/dense-inl.h"

HWY_BEFORE_NAMESPACE();
namespace deltaserve {
namespace HWY_NAMESPACE {

using Int32s = hn::RebindToSigned<Floats>;
using Int16s = hn::Repartition<int16_t, Int32s>;
using Uint16s = hn::RebindToUnsigned<Int16s>;
using Bytes = hn::Repartition<uint8_t, Int32s>;
using Int32Vec = hn::Vec<Int32s>;
using Int16Vec = hn::Vec<Int16s>;
using ByteVec = hn::Vec<Bytes>;

// Return the low and the high bytes of 16-bit words, as unsigned and as signed bytes.
HWY_INLINE Int16Vec low_unsigned(ByteVec bytes) {
  const Int16s d;
  return hn::And(hn::BitCast(d, bytes), hn::Set(d, 0x00ff));
}
HWY_INLINE Int16Vec high_unsigned(ByteVec bytes) {
  return hn::BitCast(Int16s(), hn::ShiftRight<8>(hn::BitCast(Uint16s(), bytes)));
}
HWY_INLINE Int16Vec low_signed(ByteVec bytes) {
  return hn::ShiftRight<8>(hn::ShiftLeft<8>(hn::BitCast(Int16s(), bytes)));
}
HWY_INLINE Int16Vec high_signed(ByteVec bytes) {
  return hn::ShiftRight<8>(hn::BitCast(Int16s(), bytes));
}

// Lane i: a[2i] b[2i] + a[2i + 1] b[2i + 1].
HWY_INLINE Int32Vec dot_pairs(Int16Vec a, Int16Vec b) {
#if HWY_TARGET <= HWY_AVX3
  return Int32Vec{_mm512_madd_epi16(a.raw, b.raw)};
#elif HWY_TARGET == HWY_AVX2
  return Int32Vec{_mm256_madd_epi16(a.raw, b.raw)};
#elif HWY_TARGET == HWY_SSE4
  return Int32Vec{_mm_madd_epi16(a.raw, b.raw)};
#else
  const Int32s d;
  const auto a32 = hn::BitCast(d, a);
  const auto b32 = hn::BitCast(d, b);
  const auto low = hn::Mul(hn::ShiftRight<16>(hn::ShiftLeft<16>(a32)),
                           hn::ShiftRight<16>(hn::ShiftLeft<16>(b32)));
  return hn::Add(low, hn::Mul(hn::ShiftRight<16>(a32), hn::ShiftRight<16>(b32)));
#endif
}

// Lane i: u[2i] s[2i] + u[2i + 1] s[2i + 1] of unsigned and signed bytes; must fit 16 bits.
HWY_INLINE Int16Vec dot_byte_pairs(ByteVec u, ByteVec s) {
#if HWY_TARGET <= HWY_AVX3
  return Int16Vec{_mm512_maddubs_epi16(u.raw, s.raw)};
#elif HWY_TARGET == HWY_AVX2
  return Int16Vec{_mm256_maddubs_epi16(u.raw, s.raw)};
#elif HWY_TARGET == HWY_SSE4
  return Int16Vec{_mm_maddubs_epi16(u.raw, s.raw)};
#else
  return hn::Add(hn::Mul(low_unsigned(u), low_signed(s)),
                 hn::Mul(high_unsigned(u), high_signed(s)));
#endif
}

// Return sum + dot_pairs(a, b) and sum + dot_byte_pairs(u, s). With AVX2 each is one piece of
// assembly, because the compiler would first multiply everything and then run out of the 16
// registers.
HWY_INLINE Int32Vec add_pairs(Int32Vec sum, Int16Vec a, Int16Vec b) {
#if HWY_TARGET == HWY_AVX2
  __m256i product;
  asm("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0"
      : "+x"(sum.raw), "=&x"(product)
      : "x"(a.raw), "x"(b.raw));
  return sum;
#else
  return hn::Add(sum, dot_pairs(a, b));
#endif
}
HWY_INLINE Int16Vec add_byte_pairs(Int16Vec sum, ByteVec u, ByteVec s) {
#if HWY_TARGET == HWY_AVX2
  __m256i product;
  asm("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0"
      : "+x"(sum.raw), "=&x"(product)
      : "x"(u.raw), "x"(s.raw));
  return sum;
#else
  return hn::Add(sum, dot_byte_pairs(u, s));
#endif
}

// Keeps a vector in its register; otherwise the compiler would load it again for every use.
template <class V>
HWY_INLINE void keep(V& vector) {
#if HWY_TARGET == HWY_AVX2
  asm("" : "+x"(vector.raw));
#else
  (void)vector;
#endif
}

// Lane i: sum[i] plus the products of four unsigned and four signed bytes. With AVX2 and AVX-512
// this needs a processor with VNNI; it is assembly because this Highway has no such target.
HWY_INLINE Int32Vec add_byte_quads(Int32Vec sum, ByteVec u, ByteVec s) {
#if HWY_TARGET <= HWY_AVX3
  asm("vpdpbusd %2, %1, %0" : "+v"(sum.raw) : "v"(u.raw), "v"(s.raw));
  return sum;
#elif HWY_TARGET == HWY_AVX2
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum.raw) : "x"(u.raw), "x"(s.raw));
  return sum;
#else
  return hn::Add(sum, hn::Add(dot_pairs(low_unsigned(u), low_signed(s)),
                              dot_pairs(high_unsigned(u), high_signed(s))));
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace deltaserve
HWY_AFTER_NAMESPACE();

#endif
