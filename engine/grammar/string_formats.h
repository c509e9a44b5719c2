// The supported values of JSON Schema's `format`.
#pragma once
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/grammar/dfa.h"

namespace deltaserve::grammar {

// Returns the strings of a format: date, time, date-time (RFC 3339, years 0001 to 9999, no leap
// seconds), uuid, ipv4, email (a dotted ASCII local part and domain). INVALID_ARGUMENT for all
// others.
absl::StatusOr<Dfa> format_dfa(std::string_view format, AutomatonBudget* budget);

}  // namespace deltaserve::grammar
