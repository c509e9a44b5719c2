// Answers of a server, by libcurl.
#include <curl/curl.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <utility>

#include "models/base/text.h"
#include "server/chat/answer_source.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr size_t kMaxReplyBytes = size_t{1} << 20;  // of what is not a stream
constexpr long kConnectSeconds = 10;

// Returns the message of an error in the form of OpenAI, or the beginning of the text.
std::string error_text(const std::string& reply) {
  boost::system::error_code ec;
  const json::value value = json::parse(reply, ec);
  if (!ec) {
    const json::value* message = value.find_pointer("/error/message", ec);
    if (message != nullptr && message->is_string()) return std::string(message->get_string());
  }
  return reply.substr(0, std::min<size_t>(reply.size(), 200));
}

// One request under way.
struct Transfer {
  CURL* curl = nullptr;
  const std::atomic<bool>* stop = nullptr;
  const AnswerSource::Take* take = nullptr;  // null: the reply is kept
  std::string reply;
  bool too_long = false;
};

size_t on_bytes(char* bytes, size_t size, size_t count, void* data) {
  auto* transfer = static_cast<Transfer*>(data);
  const std::string_view piece(bytes, size * count);
  long status = 0;
  curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &status);
  if (transfer->take != nullptr && status == 200) {
    return (*transfer->take)(piece) ? piece.size() : 0;
  }
  if (transfer->reply.size() + piece.size() > kMaxReplyBytes) {
    transfer->too_long = true;
    return 0;
  }
  transfer->reply.append(piece);
  return piece.size();
}

int on_progress(void* data, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto* stop = static_cast<Transfer*>(data)->stop;
  return stop != nullptr && *stop ? 1 : 0;
}

class RemoteAnswers final : public AnswerSource {
 public:
  explicit RemoteAnswers(RemoteServer server)
      : server_(std::move(server)), curl_(curl_easy_init()) {
    headers_ = curl_slist_append(headers_, "Content-Type: application/json");
    if (!server_.api_key.empty()) {
      headers_ = curl_slist_append(headers_, ("Authorization: Bearer " + server_.api_key).c_str());
    }
  }
  ~RemoteAnswers() override {
    curl_slist_free_all(headers_);
    curl_easy_cleanup(curl_);
  }
  RemoteAnswers(const RemoteAnswers&) = delete;
  RemoteAnswers& operator=(const RemoteAnswers&) = delete;

  absl::Status ask(const std::string& body, const std::atomic<bool>& stop,
                   const Take& take) override {
    Transfer transfer;
    transfer.stop = &stop;
    transfer.take = &take;
    return exchange("/chat/completions", &body, &transfer);
  }

  std::string model() const override { return server_.model; }

  absl::Status find_model() {
    if (!server_.model.empty()) return absl::OkStatus();
    Transfer transfer;
    if (absl::Status status = exchange("/models", nullptr, &transfer); !status.ok()) return status;
    boost::system::error_code ec;
    const json::value value = json::parse(transfer.reply, ec);
    if (!ec) {
      const json::value* name = value.find_pointer("/data/0/id", ec);
      if (name != nullptr && name->is_string()) server_.model = std::string(name->get_string());
    }
    if (!server_.model.empty()) return absl::OkStatus();
    return invalid_argument(server_.url, " lists no model: name one as MODEL");
  }

 private:
  std::string address(const char* path) const {
    std::string base = server_.url;
    while (base.ends_with('/')) base.pop_back();
    if (!base.ends_with("/v1")) base += "/v1";
    return base + path;
  }

  absl::Status exchange(const char* path, const std::string* body, Transfer* transfer) {
    if (curl_ == nullptr) return absl::ResourceExhaustedError("no memory for a connection");
    transfer->curl = curl_;
    const std::string url = address(path);
    curl_easy_reset(curl_);
    curl_easy_setopt(curl_, CURLOPT_URL, url.c_str());
    curl_easy_setopt(curl_, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl_, CURLOPT_HTTPHEADER, headers_);
    curl_easy_setopt(curl_, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
    curl_easy_setopt(curl_, CURLOPT_NOSIGNAL, 1L);
    if (body != nullptr) {
      curl_easy_setopt(curl_, CURLOPT_POSTFIELDS, body->data());
      curl_easy_setopt(curl_, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body->size()));
    }
    curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(curl_, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(curl_, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl_, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl_, CURLOPT_XFERINFODATA, transfer);
    const CURLcode code = curl_easy_perform(curl_);
    if (code == CURLE_ABORTED_BY_CALLBACK) return absl::CancelledError();
    if (transfer->too_long) return invalid_argument(url, " sends too long a reply");
    if (code == CURLE_WRITE_ERROR) return absl::CancelledError();
    if (code != CURLE_OK) {
      const bool is_unreachable =
          code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST;
      return absl::UnavailableError(str_cat(
          url, ": ", curl_easy_strerror(code),
          is_unreachable ? "; start a server with 'deltaserve serve MODEL', or correct --url"
                         : ""));
    }
    long status = 0;
    curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &status);
    if (status == 200) return absl::OkStatus();
    return invalid_argument(url, " answers ", status, ": ", error_text(transfer->reply));
  }

  RemoteServer server_;
  CURL* const curl_;
  curl_slist* headers_ = nullptr;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AnswerSource>> remote_answers(RemoteServer server) {
  auto source = std::make_unique<RemoteAnswers>(std::move(server));
  if (absl::Status status = source->find_model(); !status.ok()) return status;
  return std::unique_ptr<AnswerSource>(std::move(source));
}

}  // namespace deltaserve
