#include "server/http/cors.h"

#include <algorithm>

#include "models/base/text.h"

namespace deltaserve {
namespace {

// Accepts origins as browsers write them: no path, no spaces, nothing that could end a header line.
bool is_origin(std::string_view text) {
  const size_t scheme = text.find("://");
  if (scheme == std::string_view::npos || scheme == 0) return false;
  const std::string_view host = text.substr(scheme + 3);
  return !host.empty() && std::all_of(host.begin(), host.end(), [](char c) {
    return c > 0x20 && c < 0x7f && c != '/' && c != '*' && c != ',';
  });
}

}  // namespace

absl::StatusOr<CorsPolicy> CorsPolicy::parse(const std::vector<std::string>& origins) {
  CorsPolicy policy;
  for (const std::string& origin : origins) {
    if (origin == "*") {
      policy.any_ = true;
    } else if (is_origin(origin)) {
      policy.origins_.push_back(origin);
    } else {
      return invalid_argument("--cors-origin ", quoted(origin),
                              " is neither * nor of the form https://host:port");
    }
  }
  return policy;
}

bool CorsPolicy::allows(std::string_view origin) const {
  return any_ || std::find(origins_.begin(), origins_.end(), origin) != origins_.end();
}

std::string CorsPolicy::reply_headers(std::string_view origin) const {
  if (!enabled()) return {};
  std::string out = any_ ? "" : "Vary: Origin\r\n";
  if (!allows(origin)) return out;
  const std::string_view allowed = any_ ? "*" : origin;
  return str_cat(out, "Access-Control-Allow-Origin: ", allowed,
                 "\r\nAccess-Control-Expose-Headers: x-request-id, Retry-After\r\n");
}

std::string CorsPolicy::preflight_headers() const {
  if (!enabled()) return {};
  return "Access-Control-Allow-Methods: GET, POST, OPTIONS\r\n"
         "Access-Control-Allow-Headers: *, Authorization\r\n"
         "Access-Control-Max-Age: 600\r\n";
}

}  // namespace deltaserve
