// The number formats that weights are stored in, and exact conversions to and from float.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>

namespace deltaserve {

enum class Dtype : uint8_t { kF32, kBf16, kF16 };

constexpr size_t dtype_size(Dtype dtype) {
  return dtype == Dtype::kF32 ? 4 : 2;
}

constexpr const char* dtype_name(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF32: return "f32";
    case Dtype::kBf16: return "bf16";
    case Dtype::kF16: return "f16";
  }
  return "?";
}

constexpr float bf16_to_f32(uint16_t bits) {
  return std::bit_cast<float>(uint32_t{bits} << 16);
}

// Rounds to nearest even; NaN stays NaN.
constexpr uint16_t f32_to_bf16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float f16_to_f32(uint16_t bits) {
  const uint32_t sign = uint32_t{bits & 0x8000u} << 16;
  const uint32_t exponent = (bits >> 10) & 0x1fu;
  const uint32_t mantissa = bits & 0x3ffu;
  if (exponent == 0) {  // zero and subnormals: mantissa * 2^-24
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  const uint32_t widened = exponent == 31 ? 0xffu : exponent + 112;
  return std::bit_cast<float>(sign | (widened << 23) | (mantissa << 13));
}

// Returns element `index` of an array of `dtype`, as float. `data` needs no alignment.
inline float load_as_f32(const void* data, Dtype dtype, size_t index) {
  const auto* bytes = static_cast<const unsigned char*>(data) + index * dtype_size(dtype);
  if (dtype == Dtype::kF32) {
    uint32_t word = 0;
    __builtin_memcpy(&word, bytes, sizeof word);
    return std::bit_cast<float>(word);
  }
  uint16_t half = 0;
  __builtin_memcpy(&half, bytes, sizeof half);
  return dtype == Dtype::kBf16 ? bf16_to_f32(half) : f16_to_f32(half);
}

}  // namespace deltaserve
