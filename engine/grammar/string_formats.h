// The supported values of JSON Schema's `format`.
#pragma once
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/grammar/dfa.h"

namespace deltaserve::grammar {

// Returns strings of a format, not always all of them: date, time, date-time (RFC 3339, years 0001
// to 9999, no leap seconds), duration, uuid, ipv4, ipv6 (without a tail in the form of ipv4),
// hostname and email (ASCII), uri, uri-reference, json-pointer, relative-json-pointer, and byte,
// which is base64. Their internationalised variants (idn-email, idn-hostname, iri, iri-reference)
// are generated in the same way. Null for formats that do not say anything about the characters
// (binary, password) and for those that the specification does not know. INVALID_ARGUMENT for regex
// and uri-template.
absl::StatusOr<std::optional<Dfa>> format_dfa(std::string_view format, AutomatonBudget* budget);

}  // namespace deltaserve::grammar
