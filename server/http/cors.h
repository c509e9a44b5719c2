// Decides which pages of other origins may call the server from a browser.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace deltaserve {

// Constant after construction.
class CorsPolicy {
 public:
  // Makes a policy without origins: browsers keep all foreign pages out.
  CorsPolicy() = default;
  // Each is "scheme://host[:port]", or "*" for all. INVALID_ARGUMENT names one that is neither.
  static absl::StatusOr<CorsPolicy> parse(const std::vector<std::string>& origins);

  bool enabled() const { return any_ || !origins_.empty(); }
  // Returns true if pages of `origin` may call.
  bool allows(std::string_view origin) const;
  // Returns header lines for a reply to a request from `origin` (empty = it named none). An origin
  // that is not allowed is never repeated.
  std::string reply_headers(std::string_view origin) const;
  // Returns the header lines that the answer to a preflight has in addition.
  std::string preflight_headers() const;

 private:
  bool any_ = false;
  std::vector<std::string> origins_;
};

}  // namespace deltaserve
