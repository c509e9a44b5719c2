// The ids of requests, which clients may choose and logs show.
#pragma once
#include <string>
#include <string_view>

namespace deltaserve {

// Returns whether an id is short and printable, so that it may be sent back and logged.
bool is_usable_request_id(std::string_view id, size_t max_bytes);
std::string make_request_id();

// Returns whether the text is a header traceparent of W3C's Trace Context: "00-<32 hexadecimal
// digits>-<16>-<2>", and the fields that later versions put after it.
bool is_traceparent(std::string_view text);

}  // namespace deltaserve
