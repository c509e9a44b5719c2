// The description of the HTTP interface that GET /openapi.json returns (OpenAPI 3.1). The
// parameters of requests come from the tables that the parsers use.
#pragma once
#include <boost/json/object.hpp>
#include <string>
#include <string_view>

#include "server/base/limits.h"
#include "server/base/served_model.h"

namespace deltaserve {

struct ApiFacts {
  std::string_view version;  // of the server
  bool needs_key = false;
};

std::string openapi_json(const ServedModel& model, const ServerLimits& limits,
                         const ApiFacts& facts);

}  // namespace deltaserve
