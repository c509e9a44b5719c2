#include "models/hub/http_client.h"

#include <curl/curl.h>

#include <cstring>

#include "absl/strings/ascii.h"
#include "models/base/limits.h"
#include "models/base/text.h"

namespace deltaserve {
namespace {

constexpr long kConnectSeconds = 20;
// A download that is slower than this many bytes a second for this long has stalled.
constexpr long kSlowBytes = 256;
constexpr long kSlowSeconds = 30;
constexpr uint64_t kDroppedBodyBytes = 1 << 20;  // of an answer whose body is not used

using Address = std::unique_ptr<CURLU, void (*)(CURLU*)>;

Address parse_address(const std::string& url) {
  Address address(curl_url(), curl_url_cleanup);
  if (address != nullptr &&
      curl_url_set(address.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) {
    address.reset();
  }
  return address;
}

std::string part_of(CURLU* address, CURLUPart part, unsigned int flags = 0) {
  char* text = nullptr;
  if (curl_url_get(address, part, &text, flags) != CURLUE_OK) return "";
  std::string copy = text;
  curl_free(text);
  return copy;
}

// Returns scheme, host and port as one text; empty if the address is malformed.
std::string origin_of(const std::string& url) {
  const Address address = parse_address(url);
  if (address == nullptr) return "";
  return absl::AsciiStrToLower(str_cat(part_of(address.get(), CURLUPART_SCHEME), "://",
                                       part_of(address.get(), CURLUPART_HOST), ":",
                                       part_of(address.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT)));
}

// Returns an address for a message, without its query, which may have a signature.
std::string shown(const std::string& url) {
  return quoted(std::string_view(url).substr(0, url.find('?')));
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

}  // namespace

// The data that the callbacks of one request use.
struct HubHttpClient::Transfer {
  const HttpRequest& request;
  CURL* curl;
  HttpAnswer answer = {};
  size_t header_bytes = 0;
  uint64_t dropped = 0;
  absl::Status status = absl::OkStatus();

  static size_t on_header(char* data, size_t, size_t size, void* self) {
    return static_cast<Transfer*>(self)->header_line({data, size}) ? size : 0;
  }
  static size_t on_body(char* data, size_t, size_t size, void* self) {
    return static_cast<Transfer*>(self)->body({data, size}) ? size : 0;
  }

  bool header_line(std::string_view line) {
    header_bytes += line.size();
    if (header_bytes > limits::kHubHeaderBytes) {
      status = invalid_argument(shown(request.url), " has more than ", limits::kHubHeaderBytes,
                                " bytes of headers");
      return false;
    }
    if (line.starts_with("HTTP/")) answer.headers.clear();  // of an interim answer
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return true;
    std::string value(line.substr(colon + 1));
    absl::StripAsciiWhitespace(&value);
    answer.headers[absl::AsciiStrToLower(as_piece(line.substr(0, colon)))] = std::move(value);
    return true;
  }

  bool body(std::string_view piece) {
    long code = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &code);
    answer.status = static_cast<int>(code);
    if ((code == 200 || code == 206) && request.take) {
      status = request.take(answer, piece);
      return status.ok();
    }
    dropped += piece.size();
    if (dropped <= kDroppedBodyBytes) return true;
    status = invalid_argument(shown(request.url), " answers ", code, " with more than ",
                              kDroppedBodyBytes, " bytes");
    return false;
  }
};

std::string HttpAnswer::header(const std::string& name) const {
  const auto entry = headers.find(name);
  return entry == headers.end() ? "" : entry->second;
}

HubHttpClient::HubHttpClient(const HubSettings& settings)
    : origin_(origin_of(settings.endpoint)),
      token_(settings.token),
      certificates_(settings.certificates) {
  static const CURLcode initialized = curl_global_init(CURL_GLOBAL_DEFAULT);
  curl_ = initialized == CURLE_OK ? curl_easy_init() : nullptr;
}

HubHttpClient::~HubHttpClient() {
  curl_easy_cleanup(curl_);
}

std::string HubHttpClient::escaped(std::string_view segment) {
  char* text = curl_easy_escape(nullptr, segment.data(), static_cast<int>(segment.size()));
  std::string copy = text == nullptr ? "" : text;
  curl_free(text);
  return copy;
}

std::string HubHttpClient::resolved(const std::string& base, const std::string& reference) {
  const Address address = parse_address(base);
  if (address == nullptr ||
      curl_url_set(address.get(), CURLUPART_URL, reference.c_str(), 0) != CURLUE_OK) {
    return "";
  }
  return part_of(address.get(), CURLUPART_URL);
}

absl::StatusOr<HttpAnswer> HubHttpClient::get(const HttpRequest& request) {
  std::string url = request.url;
  for (int redirects = 0; redirects <= limits::kHubRedirects; ++redirects) {
    absl::StatusOr<HttpAnswer> answer = get_once(request, url);
    if (!answer.ok() || !is_redirect(answer->status)) return answer;
    const std::string location = answer->header("location");
    const std::string next = location.empty() ? "" : resolved(url, location);
    const std::string origin = origin_of(next);
    if (request.only_head && origin != origin_) return answer;
    const bool is_http = origin.starts_with("http://") && origin_.starts_with("http://");
    if (!is_http && !origin.starts_with("https://")) {
      return invalid_argument(shown(request.url), " redirects to ", quoted(location),
                              ", which is no address that this server may send to");
    }
    url = next;
  }
  return invalid_argument(shown(request.url), " redirects more than ", limits::kHubRedirects,
                          " times");
}

absl::StatusOr<HttpAnswer> HubHttpClient::get_once(const HttpRequest& request,
                                                   const std::string& url) {
  if (curl_ == nullptr) return absl::ResourceExhaustedError("libcurl cannot be initialized");
  CURL* const curl = curl_;
  curl_easy_reset(curl);  // keeps connections
  Transfer transfer{request, curl};
  transfer.answer.url = url;
  curl_slist* headers = nullptr;
  if (!token_.empty() && origin_of(url) == origin_) {
    headers = curl_slist_append(headers, str_cat("Authorization: Bearer ", token_).c_str());
  }
  const std::unique_ptr<curl_slist, void (*)(curl_slist*)> owner(headers, curl_slist_free_all);
  char message[CURL_ERROR_SIZE] = "";
  const std::string range = str_cat(request.first_byte, "-");
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "deltaserve");
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  if (!certificates_.empty()) curl_easy_setopt(curl, CURLOPT_CAINFO, certificates_.c_str());
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, message);
  curl_easy_setopt(curl, CURLOPT_NOBODY, request.only_head ? 1L : 0L);
  if (request.first_byte > 0) curl_easy_setopt(curl, CURLOPT_RANGE, range.c_str());
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, kSlowBytes);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, kSlowSeconds);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT, static_cast<long>(request.time_limit));
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, &Transfer::on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &Transfer::on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  const CURLcode code = curl_easy_perform(curl);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, nullptr);
  if (!transfer.status.ok()) return transfer.status;
  if (code != CURLE_OK) {
    const std::string sentence =
        str_cat(shown(url), ": ", message[0] != '\0' ? message : curl_easy_strerror(code));
    const bool is_of_certificates =
        code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
    return is_of_certificates ? absl::FailedPreconditionError(sentence)
                              : absl::UnavailableError(sentence);
  }
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  transfer.answer.status = static_cast<int>(status);
  return std::move(transfer.answer);
}

}  // namespace deltaserve
