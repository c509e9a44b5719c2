#pragma once
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>

#include "absl/strings/str_format.h"

namespace deltaserve {

// Returns a text such as "4.2 GiB".
inline std::string human_bytes(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.*f %s", unit == 0 ? 0 : 1, value, kUnits[unit]);
}

}  // namespace deltaserve
