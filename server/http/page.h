// The page at "/": server/page/index.html, built into the binary.
#pragma once
#include <string>
#include <string_view>

namespace deltaserve {

std::string_view page_html();

// Returns header lines for the page. Only scripts and styles that are in the page itself run: the
// policy lists their hashes. Nothing is loaded from elsewhere.
const std::string& page_headers();

}  // namespace deltaserve
