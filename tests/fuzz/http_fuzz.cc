// Fuzzes what a connection reads, as HttpReader reads it: heads, bodies and requests that follow
// each other, with limits that short inputs reach. How the bytes are cut into packets must not
// matter, and no head that two readers could understand differently may be served.
#include <algorithm>
#include <boost/beast/http/error.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"
#include "models/base/text.h"
#include "server/http/cors.h"
#include "server/http/host_policy.h"
#include "server/http/request_input.h"

namespace {

using namespace deltaserve;
namespace http = boost::beast::http;

ServerLimits small_limits() {
  ServerLimits limits;
  limits.header_bytes = 1024;
  limits.header_fields = 12;
  limits.pipelined_bytes = 2048;
  limits.body_bytes = 3000;
  limits.large_body_bytes = 600;
  return limits;
}

const ServerLimits kLimits = small_limits();
constexpr uint64_t kBudgetBytes = 2500;
// Unreadable input may be wrong in several ways; the packets decide which of them is seen first.
constexpr char kUnread[] = "unread";

// A client sends these bytes in packets of one size and then closes its side.
class Client {
 public:
  Client(std::span<const char> bytes, size_t packet) : rest_(bytes), packet_(packet) {}

  // Returns false if there is no more.
  bool send_some(size_t most, RequestInput* input) {
    if (rest_.empty()) return false;
    const auto room = input->room(std::min(most, packet_));
    DS_CHECK(room.size() > 0);
    const size_t size = std::min(room.size(), rest_.size());
    std::memcpy(room.data(), rest_.data(), size);
    input->received(size);
    rest_ = rest_.subspan(size);
    return true;
  }

 private:
  std::span<const char> rest_;
  const size_t packet_;
};

RequestInput::ErrorCode parse_some(size_t most, Client* client, RequestInput* input,
                                   HttpParser* parser) {
  for (;;) {
    const RequestInput::ErrorCode ec = input->parse(parser);
    if (ec != http::error::need_more) return ec;
    if (!client->send_some(most, input)) return RequestInput::end(parser);
  }
}

// A reply is one head, whatever the request was.
void check_reply(const RequestHead& head, const HttpReply& reply) {
  const std::string text = reply_head(head, reply);
  DS_CHECK(text.ends_with("\r\n\r\n") && text.find("\r\n\r\n") == text.size() - 4);
  DS_CHECK(std::count(text.begin(), text.end(), '\n') ==
           std::count(text.begin(), text.end(), '\r'));
  for (const char c : text) {
    DS_CHECK(c == '\r' || c == '\n' || absl::ascii_isprint(static_cast<unsigned char>(c)));
  }
}

void check_head(const HttpParser& parser, const RequestHead& head) {
  const auto& request = parser.get();
  DS_CHECK(!head.method.empty() && !head.target.empty());
  for (const char c : head.target) {
    const auto byte = static_cast<uint8_t>(c);
    DS_CHECK(byte > 0x20 && byte != 0x7f);
  }
  DS_CHECK(request.count(http::field::host) == 1 || head.http_minor == 0);
  DS_CHECK(request.count(http::field::content_length) <= 1);
  DS_CHECK(request.count(http::field::transfer_encoding) <= 1);
  DS_CHECK(request.count(http::field::transfer_encoding) == 0 ||
           request.count(http::field::content_length) == 0);
  for (const auto& field : request) {
    const std::string_view name = field.name_string();
    const std::string_view value = field.value();
    DS_CHECK(!name.empty() && name.find_first_of(" \t\r\n:") == std::string_view::npos);
    DS_CHECK(value.find_first_of(std::string_view("\r\n\0", 3)) == std::string_view::npos);
  }
}

// Serves one request. Returns what was understood; `goes_on` says whether another may follow.
std::string serve_one(Client* client, RequestInput* input, MemoryBudget* budget, bool* goes_on) {
  *goes_on = false;
  HttpParser parser;
  RequestHead head;
  input->begin_head(&parser);
  while (!parser.is_header_done()) {
    const auto ec = parse_some(RequestInput::kSmallReadBytes, client, input, &parser);
    if (!ec) continue;
    const std::optional<HttpReply> error = input->error_of_head(ec);
    if (error) check_reply(head, *error);
    return error ? kUnread : "gone";
  }
  const std::optional<HttpReply> refused = input->take_head(parser, &head);
  const auto& request = parser.get();
  static const CorsPolicy kCors = CorsPolicy::parse({"https://page.example"}).value();
  head.cors_headers = kCors.reply_headers(request[http::field::origin]);
  check_reply(head, refused.value_or(HttpReply{}));
  if (refused) return absl::StrCat(refused->status, refused->body);
  check_head(parser, head);
  const bool is_own = is_own_origin(request[http::field::origin], request[http::field::host]);
  std::string body;
  MemoryBudget::Lease lease(budget);
  BodyInput pieces(kLimits, &parser, &body, &lease);
  std::optional<HttpReply> error;
  while (!pieces.done()) {
    error = pieces.begin_piece();
    if (!error) {
      const auto ec = parse_some(pieces.next_read(), client, input, &parser);
      if (pieces.end_piece(ec, &error)) continue;
    }
    if (error) check_reply(head, *error);
    return error ? kUnread : "gone";
  }
  DS_CHECK(body.size() <= kLimits.body_bytes);
  DS_CHECK(body.size() == parser.content_length().value_or(body.size()));
  DS_CHECK(body.size() <= kLimits.large_body_bytes || lease.bytes() >= body.size());
  *goes_on = head.keep_alive;
  return str_cat(head.method, " ", head.target, " ", head.path, " ", head.http_minor,
                 head.timeout_ms, is_own ? " own " : " ", body);
}

std::string serve(std::span<const char> bytes, size_t packet) {
  Client client(bytes, packet);
  RequestInput input(kLimits);
  MemoryBudget budget(kBudgetBytes);
  std::string told;
  for (bool goes_on = true; goes_on;) {
    while (!input.skip_empty_lines()) {
      if (!client.send_some(RequestInput::kSmallReadBytes, &input)) return told;
    }
    told += serve_one(&client, &input, &budget, &goes_on) + "\n";
    DS_CHECK(budget.held() == 0);
  }
  return told;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::span bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  const std::string whole = serve(bytes, RequestInput::kLargeReadBytes);
  DS_CHECK(serve(bytes, 1 + data[0] % 16) == whole);
  static const HostPolicy kHosts = HostPolicy::only({"a.example"}).value();
  const std::string_view name(bytes.data(), bytes.size());
  DS_CHECK(!kHosts.allows(name) || name.find('@') == std::string_view::npos);
  return 0;
}
