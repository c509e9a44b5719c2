// The target of a request, as RFC 9112 (3.2) spells it.
#pragma once
#include <string>
#include <string_view>

namespace deltaserve {

// Returns the path of a target, percent-decoded and without its query: "/a%2Fb?c" and
// "http://host/a/b" are both "/a/b". "*" is itself. A path whose encoding is broken is returned as
// it is, so that it names nothing.
std::string path_of_target(std::string_view target);

// Returns name and port of the server in a target of the absolute form, "host:80" of
// "http://host:80/a". They count instead of the Host header. Empty: the target has another form.
std::string_view authority_of_target(std::string_view target);

}  // namespace deltaserve
