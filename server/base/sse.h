// Framing of server-sent events and of HTTP chunks.
#pragma once
#include <charconv>
#include <string>
#include <string_view>

namespace deltaserve {

// `json` must have no line breaks outside its escapes; the functions of openai/response.h write
// none.
inline void append_sse_event(std::string* out, std::string_view json) {
  out->append("data: ").append(json).append("\n\n");
}

inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";
inline constexpr std::string_view kSseKeepAlive = ": keep-alive\n\n";  // a comment

// `data` must not be empty: an empty chunk ends the body.
inline void append_http_chunk(std::string* out, std::string_view data) {
  char digits[16];
  const char* end = std::to_chars(digits, digits + sizeof digits, data.size(), 16).ptr;
  out->append(digits, static_cast<size_t>(end - digits)).append("\r\n");
  out->append(data).append("\r\n");
}

inline constexpr std::string_view kLastHttpChunk = "0\r\n\r\n";

}  // namespace deltaserve
