// Strict reading of foreign JSON: Boost.JSON with a bound on depth and number of values, and with
// duplicate keys refused (the library would keep the last one). Private to models/.
#pragma once
#include <boost/json/object.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace deltaserve {

// Parses `text`, which must hold one JSON object. `origin` begins the message of an error.
absl::StatusOr<boost::json::object> parse_json_object(std::string_view text,
                                                      std::string_view origin);

// `text` with every Infinity outside of strings, which Python's json writes and JSON does not know,
// as null, at the same length.
std::string infinity_as_null(std::string_view text);

// A value in a message: numbers and words as they are, long text and nested values cut short.
std::string json_text(const boost::json::value& value);

}  // namespace deltaserve
