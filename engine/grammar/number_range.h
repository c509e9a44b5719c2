// Automata of the decimal numbers between bounds. They compare digits exactly, without arithmetic.
#pragma once
#include <boost/json/value.hpp>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/grammar/dfa.h"

namespace deltaserve::grammar {

struct NumberBounds {
  struct Bound {
    boost::json::value number;  // an integer or a double
    bool exclusive = false;
  };
  std::vector<Bound> min = {};  // all hold
  std::vector<Bound> max = {};
  std::optional<boost::json::value> multiple_of = std::nullopt;
};

// Returns the integers of at most grammar_limits::kIntegerDigits digits; there may be none.
// INVALID_ARGUMENT if `multiple_of` is not above 0, or has too many digits.
absl::StatusOr<Dfa> integers_between(const NumberBounds& bounds, AutomatonBudget* budget);

// Returns the numbers without an exponent and of at most kBoundedNumberDigits digits: with this few
// digits no two of them, and no number and bound, are the same double. INVALID_ARGUMENT if a bound
// has more digits, or `multiple_of` as above.
absl::StatusOr<Dfa> numbers_between(const NumberBounds& bounds, AutomatonBudget* budget);

}  // namespace deltaserve::grammar
