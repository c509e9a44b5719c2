// GET and HEAD over HTTP(S), by libcurl, from a server that is not trusted. Private to models/hub.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "models/hub/hub_settings.h"

namespace deltaserve {

struct HttpAnswer {
  int status = 0;
  std::string url;                             // after redirects
  std::map<std::string, std::string> headers;  // names in small letters

  // Returns the value of a header; empty if there is none.
  std::string header(const std::string& name) const;
};

struct HttpRequest {
  std::string url;
  bool only_head = false;   // HEAD, which follows no redirect to another host
  uint64_t first_byte = 0;  // more than 0: requests the rest of the file from this byte
  // The time limit of the whole request in seconds. 0: no limit, but a stalled download ends it.
  int time_limit = 0;
  // Receives the body of a 200 or 206 piece by piece. An error ends the request and is returned.
  std::function<absl::Status(const HttpAnswer& answer, std::string_view piece)> take = {};
};

// Thread safety: one thread at a time.
class HubHttpClient {
 public:
  // The token is sent only to the host and port of the endpoint, over the same scheme. If the
  // endpoint is https, no redirect to http is followed.
  explicit HubHttpClient(const HubSettings& settings);
  ~HubHttpClient();
  HubHttpClient(const HubHttpClient&) = delete;
  HubHttpClient& operator=(const HubHttpClient&) = delete;

  // Follows redirects and returns the answer, with any status. Returns UNAVAILABLE if the
  // connection failed or stalled, so that trying again may help. Returns FAILED_PRECONDITION if the
  // certificate is not trusted. Returns INVALID_ARGUMENT if the answer breaks a limit.
  absl::StatusOr<HttpAnswer> get(const HttpRequest& request);

  // Returns a segment of a path percent-encoded.
  static std::string escaped(std::string_view segment);
  // Returns the absolute address of `reference` in a document at `base`; empty if it is malformed.
  static std::string resolved(const std::string& base, const std::string& reference);

 private:
  struct Transfer;
  absl::StatusOr<HttpAnswer> get_once(const HttpRequest& request, const std::string& url);

  void* curl_;  // a CURL, whose connections are used again
  const std::string origin_;
  const std::string token_;
  const std::string certificates_;
};

}  // namespace deltaserve
