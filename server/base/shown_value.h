// Quotes what a client sent in the message of an error. Long values are cut, so that they cannot
// fill a log or a reply.
#pragma once
#include <boost/json/value.hpp>
#include <string>
#include <string_view>

#include "absl/numeric/int128.h"

namespace deltaserve {

// Returns the value as JSON.
std::string shown(const boost::json::value& value);
// Returns the text as a JSON string.
std::string shown(std::string_view text);
std::string shown(double number);
std::string shown(const absl::int128& number);

}  // namespace deltaserve
