// The vector forms of a state format on CUDA: load and store of 16 bytes, and round.
#pragma once
#include <bit>

#include "kernels/base/state_format.h"
#include "kernels/cuda/device/simt.h"

namespace deltaserve::cuda {

// `from`: 4 floats, 16-byte aligned.
DS_DEVICE void load_state(F32State, const float* from, float* to) {
  const simt::Words4 v = simt::load_once(reinterpret_cast<const simt::Words4*>(from));
  DS_UNROLL
  for (int i = 0; i < 4; ++i) to[i] = std::bit_cast<float>(v.word[i]);
}
// `from`: 8 numbers in bf16, 16-byte aligned.
DS_DEVICE void load_state(Bf16State, const uint16_t* from, float* to) {
  const simt::Words4 v = simt::load_once(reinterpret_cast<const simt::Words4*>(from));
  DS_UNROLL
  for (int i = 0; i < 4; ++i) {
    to[2 * i] = std::bit_cast<float>(v.word[i] << 16);
    to[2 * i + 1] = std::bit_cast<float>(v.word[i] & 0xffff0000u);
  }
}

DS_DEVICE void store_state(F32State, const float* from, float* to) {
  simt::Words4 v;
  DS_UNROLL
  for (int i = 0; i < 4; ++i) v.word[i] = std::bit_cast<uint32_t>(from[i]);
  simt::store_once(reinterpret_cast<simt::Words4*>(to), v);
}
// Rounds to nearest even.
DS_DEVICE void store_state(Bf16State, const float* from, uint16_t* to) {
  simt::Words4 v;
  DS_UNROLL
  for (int i = 0; i < 4; ++i) v.word[i] = simt::pack_bf16(from[2 * i], from[2 * i + 1]).bits;
  simt::store_once(reinterpret_cast<simt::Words4*>(to), v);
}

// Does to a value what storing does: `round` of the format, by the device's own conversion.
DS_DEVICE float rounded(F32State, float value) {
  return value;
}
DS_DEVICE float rounded(Bf16State, float value) {
  return std::bit_cast<float>(simt::pack_bf16(value, 0.0f).bits << 16);
}

}  // namespace deltaserve::cuda
