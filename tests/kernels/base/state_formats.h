// The formats that a state may have, and single elements of states in them.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/base/state_format.h"

namespace deltaserve {

// Returns the formats of a state that decays or does not.
inline std::vector<StateFormat> state_formats(bool decays) {
  std::vector<StateFormat> formats;
  for (const StateFormat format : kAllStateFormats) {
    if (decays || state_format_is_exact(format)) formats.push_back(format);
  }
  return formats;
}

// Returns the formats that round a state.
inline std::vector<StateFormat> rounding_state_formats() {
  std::vector<StateFormat> formats = state_formats(true);
  std::erase_if(formats, state_format_is_exact);
  return formats;
}

// Returns what names of cases end with: nothing for f32.
inline std::string state_format_suffix(StateFormat format) {
  return format == StateFormat::kF32 ? "" : std::string("_") + state_format_name(format);
}

inline float load_stored(StateFormat format, const void* state, int64_t index) {
  return visit_state_format(format, [&](auto f) {
    using Format = decltype(f);
    return Format::load(static_cast<const typename Format::Stored*>(state)[index]);
  });
}

inline void store_rounded(StateFormat format, float value, void* state, int64_t index) {
  visit_state_format(format, [&](auto f) {
    using Format = decltype(f);
    static_cast<typename Format::Stored*>(state)[index] = Format::store(value);
  });
}

inline float round_to(StateFormat format, float value) {
  return visit_state_format(format, [&](auto f) { return decltype(f)::round(value); });
}

}  // namespace deltaserve
