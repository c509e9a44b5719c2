// The vector forms of a state format on CUDA: 16 bytes to floats and back, and round.
#pragma once
#include <bit>

#include "kernels/base/state_format.h"
#include "kernels/cuda/device/simt.h"

namespace deltaserve::cuda {

DS_DEVICE void unpack_state(F32State, const simt::Words4& from, float (&to)[4]) {
  DS_UNROLL
  for (int i = 0; i < 4; ++i) to[i] = std::bit_cast<float>(from.word[i]);
}
DS_DEVICE void unpack_state(Bf16State, const simt::Words4& from, float (&to)[8]) {
  DS_UNROLL
  for (int i = 0; i < 4; ++i) {
    to[2 * i] = std::bit_cast<float>(from.word[i] << 16);
    to[2 * i + 1] = std::bit_cast<float>(from.word[i] & 0xffff0000u);
  }
}

DS_DEVICE simt::Words4 pack_state(F32State, const float (&from)[4]) {
  simt::Words4 v;
  DS_UNROLL
  for (int i = 0; i < 4; ++i) v.word[i] = std::bit_cast<uint32_t>(from[i]);
  return v;
}
// Rounds to nearest even.
DS_DEVICE simt::Words4 pack_state(Bf16State, const float (&from)[8]) {
  simt::Words4 v;
  DS_UNROLL
  for (int i = 0; i < 4; ++i) v.word[i] = simt::pack_bf16(from[2 * i], from[2 * i + 1]).bits;
  return v;
}

// Does to a value what storing does: `round` of the format, by the device's own conversion.
DS_DEVICE float rounded(F32State, float value) {
  return value;
}
DS_DEVICE float rounded(Bf16State, float value) {
  return std::bit_cast<float>(simt::pack_bf16(value, 0.0f).bits << 16);
}

}  // namespace deltaserve::cuda
