// How the recurrent state S stands in memory. All arithmetic on a state is float; what is carried
// from one point of the 64-token grid to the next is rounded to the format.
//
// Everything that a format is stands in its struct here. Kernels name the struct's `Stored` type
// and are chosen by visit_state_format(), the one place that looks at the enumeration; vector forms
// of load and store stand beside the vector types (kernels/cpu/state_rows-inl.h,
// kernels/cuda/state_vector.h).
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/base/dtype.h"

namespace deltaserve {

enum class StateFormat : uint8_t { kF32, kBf16 };

struct F32State {
  using Stored = float;
  static constexpr StateFormat kFormat = StateFormat::kF32;
  static constexpr const char* kName = "f32";
  // Whether storing a float gives it back unchanged.
  static constexpr bool kExact = true;

  static constexpr float load(Stored stored) { return stored; }
  static constexpr Stored store(float value) { return value; }
  static constexpr float round(float value) { return value; }
};

struct Bf16State {
  using Stored = uint16_t;
  static constexpr StateFormat kFormat = StateFormat::kBf16;
  static constexpr const char* kName = "bf16";
  static constexpr bool kExact = false;

  static constexpr float load(Stored stored) { return bf16_to_f32(stored); }
  // Rounds to nearest even.
  static constexpr Stored store(float value) { return f32_to_bf16(value); }
  static constexpr float round(float value) { return load(store(value)); }
};

// Returns visit(Format{}) of the struct that `format` names.
template <class Visitor>
constexpr decltype(auto) visit_state_format(StateFormat format, Visitor&& visit) {
  switch (format) {
    case StateFormat::kF32: return visit(F32State{});
    case StateFormat::kBf16: return visit(Bf16State{});
  }
  __builtin_unreachable();
}

// The same for the formats that a state can have which decays, or which does not: rounding errors
// of a state without decay would never wash out, so it takes exact formats only and no kernel is
// compiled for the others.
template <bool kDecays, class Visitor>
constexpr void visit_state_format_of(StateFormat format, Visitor&& visit) {
  visit_state_format(format, [&](auto chosen) {
    if constexpr (kDecays || decltype(chosen)::kExact) visit(chosen);
  });
}

constexpr size_t state_format_size(StateFormat format) {
  return visit_state_format(format, [](auto f) { return sizeof(typename decltype(f)::Stored); });
}

constexpr const char* state_format_name(StateFormat format) {
  return visit_state_format(format, [](auto f) { return decltype(f)::kName; });
}

constexpr bool state_format_is_exact(StateFormat format) {
  return visit_state_format(format, [](auto f) { return decltype(f)::kExact; });
}

}  // namespace deltaserve
