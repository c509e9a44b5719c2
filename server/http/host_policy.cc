#include "server/http/host_policy.h"

#include <algorithm>
#include <boost/asio/ip/address.hpp>

#include "absl/strings/ascii.h"
#include "models/base/text.h"

namespace deltaserve {
namespace {

// Returns a Host header's value without port and without the dot that may end a name.
std::string_view without_port(std::string_view host) {
  const size_t bracket = host.starts_with('[') ? host.find(']') : 0;
  if (bracket == std::string_view::npos) return {};
  host = host.substr(0, host.find(':', bracket));
  if (host.ends_with('.')) host.remove_suffix(1);
  return host;
}

bool is_loopback(std::string_view name) {
  if (name == "localhost") return true;
  if (name.starts_with('[') && name.ends_with(']')) name = name.substr(1, name.size() - 2);
  boost::system::error_code ec;
  const auto address = boost::asio::ip::make_address(std::string(name), ec);
  return !ec && address.is_loopback();
}

bool is_name(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return c > 0x20 && c < 0x7f && c != '/' && c != '@' && c != ',' && c != '*';
  });
}

}  // namespace

absl::StatusOr<HostPolicy> HostPolicy::only(const std::vector<std::string>& names) {
  HostPolicy policy;
  policy.any_ = false;
  for (const std::string& name : names) {
    if (!is_name(name) || without_port(name) != name) {
      return invalid_argument("--allowed-host ", quoted(name),
                              " is not a name or an address without port, such as api.example or "
                              "[::1]");
    }
    policy.names_.push_back(absl::AsciiStrToLower(name));
  }
  return policy;
}

bool HostPolicy::allows(std::string_view host) const {
  if (any_) return true;
  if (host.find('@') != std::string_view::npos) return false;  // a user's name and password
  const std::string name = absl::AsciiStrToLower(std::string(without_port(host)));
  return is_loopback(name) || std::find(names_.begin(), names_.end(), name) != names_.end();
}

bool is_own_origin(std::string_view origin, std::string_view host) {
  const size_t scheme = origin.find("://");
  if (scheme == std::string_view::npos || host.empty()) return false;
  const std::string_view authority = origin.substr(scheme + 3);
  return std::equal(
      authority.begin(), authority.end(), host.begin(), host.end(),
      [](char a, char b) { return absl::ascii_tolower(a) == absl::ascii_tolower(b); });
}

}  // namespace deltaserve
