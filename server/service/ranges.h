// The ranges of the numeric parameters, in one table: the rules check against it, and the
// description of the API shows it.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

#include "server/base/limits.h"
#include "server/base/served_model.h"

namespace deltaserve {

struct IntegerRange {
  int64_t low;
  int64_t high;
};

struct RealRange {
  double low;
  double high;
  bool low_is_outside = false;
};

// Both return nullopt for a name that is no parameter of the type.
std::optional<IntegerRange> integer_range(std::string_view name, const ServedModel& model,
                                          const ServerLimits& limits);
std::optional<RealRange> real_range(std::string_view name);

}  // namespace deltaserve
