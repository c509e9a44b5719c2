// The ids of requests, which clients may choose and logs show.
#pragma once
#include <string>
#include <string_view>

namespace deltaserve {

// Whether an id is short and printable, so that it may be sent back and logged.
bool is_usable_request_id(std::string_view id, size_t max_bytes);
std::string make_request_id();

}  // namespace deltaserve
