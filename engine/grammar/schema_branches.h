// Keywords that are said as alternatives: each branch is a schema that the rest is combined with.
#pragma once
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"

namespace deltaserve::grammar {

struct SchemaBranches {
  boost::json::object rest;
  boost::json::array branches;
  std::string_view keyword;
};

// Takes the first of `contains` and of the members of dependentRequired, dependentSchemas and
// dependencies (draft 7) out of `schema`; nullopt if it has none. The branches of `contains` hold
// the items that must be there among the first ones: not all valid lists are generated.
absl::StatusOr<std::optional<SchemaBranches>> keyword_branches(const boost::json::object& schema);

}  // namespace deltaserve::grammar
