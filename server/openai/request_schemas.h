// JSON schemas of the bodies of requests, made from the tables of the parsers.
#pragma once
#include <boost/json/object.hpp>

#include "server/base/limits.h"
#include "server/base/served_model.h"
#include "server/service/parameters.h"

namespace deltaserve {

// Returns the schema of a completion or a chat.
boost::json::object generation_schema(Interface interface, const ServedModel& model,
                                      const ServerLimits& limits);
boost::json::object embeddings_schema(const ServedModel& model, const ServerLimits& limits);
boost::json::object responses_schema(const ServedModel& model, const ServerLimits& limits);
boost::json::object messages_schema(const ServedModel& model, const ServerLimits& limits);
boost::json::object tokenize_schema(const ServedModel& model, const ServerLimits& limits);
boost::json::object detokenize_schema(const ServedModel& model, const ServerLimits& limits);
boost::json::object empty_schema(const ServedModel& model, const ServerLimits& limits);

}  // namespace deltaserve
