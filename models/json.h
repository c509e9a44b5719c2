// Parses JSON strictly: Boost.JSON with a limit on depth and number of values, and with duplicate
// keys refused (the library would keep the last one). Private to models/.
#pragma once
#include <boost/json/object.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace deltaserve {

// Parses `text`, which must hold one JSON object. `origin` begins the message of an error.
absl::StatusOr<boost::json::object> parse_json_object(std::string_view text,
                                                      std::string_view origin);

// Returns `text`, at the same length, with null for every Infinity outside of strings. Python's
// json writes Infinity, but JSON has no such value.
std::string infinity_as_null(std::string_view text);

// Formats a value for a message: numbers and words as they are, long text and nested values
// shortened.
std::string json_text(const boost::json::value& value);

}  // namespace deltaserve
