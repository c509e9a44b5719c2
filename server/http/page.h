// The page at "/": server/page/index.html, built into the binary.
#pragma once
#include <string>
#include <string_view>

namespace deltaserve {

std::string_view page_html();

// Header lines for it. Scripts and styles run only if they stand in the page itself, word for word:
// the policy lists their hashes. Nothing is loaded from elsewhere.
const std::string& page_headers();

}  // namespace deltaserve
