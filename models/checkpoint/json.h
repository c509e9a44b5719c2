// Parses JSON strictly: Boost.JSON with a limit on depth and number of values, and with duplicate
// keys refused (the library would keep the last one). Private to models/.
//
// Some things that Python programs write are not in JSON but are read, too: a byte order mark, the
// words NaN, Infinity and -Infinity, and the objects {"__float__": "Infinity"} that transformers 5
// and fla 0.6 write instead.
#pragma once
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace deltaserve {

// Parses `text`, which must hold one JSON value. `origin` begins the message of an error, whose
// byte counts after replacing those words.
absl::StatusOr<boost::json::value> parse_json(std::string_view text, std::string_view origin);

// Does the same with text that must hold an object.
absl::StatusOr<boost::json::object> parse_json_object(std::string_view text,
                                                      std::string_view origin);

// Formats a value for a message: numbers and words as they are, long text and nested values
// shortened.
std::string json_text(const boost::json::value& value);

}  // namespace deltaserve
