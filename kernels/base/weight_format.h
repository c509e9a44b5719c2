// The formats in which a backend keeps a model's matrices in memory.
#pragma once
#include <cstdint>

namespace deltaserve {

enum class WeightFormat : uint8_t {
  kAuto,  // as the checkpoint stores them: bf16 where every part is bf16, f32 otherwise
  kF32,
  kBf16,  // rounded to nearest even
  kInt8,  // one scale per output feature
  kInt4,  // one scale per 32 input features of an output feature
};

constexpr const char* weight_format_name(WeightFormat format) {
  switch (format) {
    case WeightFormat::kAuto: return "auto";
    case WeightFormat::kF32: return "f32";
    case WeightFormat::kBf16: return "bf16";
    case WeightFormat::kInt8: return "int8";
    case WeightFormat::kInt4: return "int4";
  }
  return "?";
}

}  // namespace deltaserve
