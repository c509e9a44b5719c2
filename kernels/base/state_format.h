// The formats in which the recurrent state S is kept in memory. All arithmetic on a state is float;
// a state is rounded to its format whenever it is carried across a point of the 64-token grid.
//
// Each format is one struct, which holds everything about it, and one line of
// DELTASERVE_STATE_FORMATS. Kernels are templates over the struct and are chosen by
// visit_state_format(). Vector forms of load, store and round are next to the vector types
// (kernels/cpu/rule/state_rows-inl.h, kernels/cuda/rule/state_vector.h).
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/base/dtype.h"

namespace deltaserve {

struct F32State {
  using Stored = float;
  static constexpr const char* kName = "f32";
  // Is true if loading a stored float gives the same float.
  static constexpr bool kExact = true;

  static constexpr float load(Stored stored) { return stored; }
  static constexpr Stored store(float value) { return value; }
  static constexpr float round(float value) { return value; }
};

struct Bf16State {
  using Stored = uint16_t;
  static constexpr const char* kName = "bf16";
  static constexpr bool kExact = false;

  static constexpr float load(Stored stored) { return bf16_to_f32(stored); }
  // Rounds to nearest even.
  static constexpr Stored store(float value) { return f32_to_bf16(value); }
  static constexpr float round(float value) { return load(store(value)); }
};

// X(enumerator, struct)
#define DELTASERVE_STATE_FORMATS(X) \
  X(kF32, F32State)                 \
  X(kBf16, Bf16State)

enum class StateFormat : uint8_t {
#define X(format, type) format,
  DELTASERVE_STATE_FORMATS(X)
#undef X
};

inline constexpr StateFormat kAllStateFormats[] = {
#define X(format, type) StateFormat::format,
    DELTASERVE_STATE_FORMATS(X)
#undef X
};

// Calls visit(Format{}) with the struct that `format` names and returns its result.
template <class Visitor>
constexpr decltype(auto) visit_state_format(StateFormat format, Visitor&& visit) {
  switch (format) {
#define X(format, type) \
  case StateFormat::format: return visit(type{});
    DELTASERVE_STATE_FORMATS(X)
#undef X
  }
  __builtin_unreachable();
}

// Does the same for a state that decays (kDecays) or does not. Rounding errors of a state without
// decay never wash out, so it may have exact formats only, and no kernel is compiled for the
// others.
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
