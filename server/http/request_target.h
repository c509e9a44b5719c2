// The target of a request, as RFC 9112 (3.2) spells it.
#pragma once
#include <string>
#include <string_view>

namespace deltaserve {

// Returns the path of a target, percent-decoded and without its query: "/a%2Fb?c" and
// "http://host/a/b" are both "/a/b". "*" is itself. A path whose encoding is broken is returned as
// it is, so that it names nothing.
std::string path_of_target(std::string_view target);

}  // namespace deltaserve
