// Turns keywords into alternatives: each branch is a schema that is combined with the rest of the
// schema.
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
// dependencies (draft 7) out of `schema`; nullopt if it has none. The branches of `contains` put
// the required items among the first ones, so not all valid lists are generated.
absl::StatusOr<std::optional<SchemaBranches>> keyword_branches(const boost::json::object& schema);

}  // namespace deltaserve::grammar
