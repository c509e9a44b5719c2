// Decides which names a request may have for this server, and which pages may send it. A page
// anywhere can make a browser send requests to a server on the browser's own machine, also under a
// name of its own that it lets point there (DNS rebinding).
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace deltaserve {

// Constant after construction.
class HostPolicy {
 public:
  // Makes a policy that accepts every name.
  HostPolicy() = default;
  // Makes a policy that accepts these names, localhost and the loopback addresses, each with any
  // port. Returns INVALID_ARGUMENT, which names it, if one is no name or address, or has a port.
  static absl::StatusOr<HostPolicy> only(const std::vector<std::string>& names);

  // `host` is the value of a Host header, or what a target says instead: name[:port].
  bool allows(std::string_view host) const;

 private:
  bool any_ = true;
  std::vector<std::string> names_;  // in small letters
};

// Returns true if a page of `origin` ("http://name:port") comes from the server that it calls
// `host`. The scheme does not count: a proxy in front may have another.
bool is_own_origin(std::string_view origin, std::string_view host);

}  // namespace deltaserve
