#include "models/hub/hub_download.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/checkpoint/file.h"

namespace deltaserve {
namespace {

constexpr std::chrono::milliseconds kPauseBetweenTries{250};  // doubles with each

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) { restart(); }

  void restart() { EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr); }
  void add(std::string_view bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }
  std::string finish() {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;
    EVP_DigestFinal_ex(context_.get(), digest, &size);
    std::string text;
    for (unsigned int i = 0; i < size; ++i) absl::StrAppendFormat(&text, "%02x", digest[i]);
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context_;
};

// The file of a blob while it is incomplete.
class IncompleteBlob {
 public:
  IncompleteBlob(const HubFile& file, std::string path) : file_(file), path_(std::move(path)) {}
  ~IncompleteBlob() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  IncompleteBlob(const IncompleteBlob&) = delete;
  IncompleteBlob& operator=(const IncompleteBlob&) = delete;

  uint64_t bytes() const { return bytes_; }
  bool was_resumed() const { return was_resumed_; }

  // Opens the file that an earlier download has left, or a new one.
  absl::Status open() {
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    struct stat info {};
    if (descriptor_ < 0 || ::fstat(descriptor_, &info) != 0) return failed("open");
    if (static_cast<uint64_t>(info.st_size) > file_.size) return restart();
    was_resumed_ = info.st_size > 0;
    std::vector<char> block(1 << 20);
    while (bytes_ < static_cast<uint64_t>(info.st_size)) {
      const ssize_t n = ::read(descriptor_, block.data(), block.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failed("read");
      if (n == 0) break;
      sum_.add({block.data(), static_cast<size_t>(n)});
      bytes_ += static_cast<uint64_t>(n);
    }
    return absl::OkStatus();
  }

  absl::Status restart() {
    sum_.restart();
    bytes_ = 0;
    was_resumed_ = false;
    if (::ftruncate(descriptor_, 0) != 0 || ::lseek(descriptor_, 0, SEEK_SET) != 0) {
      return failed("write");
    }
    return absl::OkStatus();
  }

  absl::Status append(std::string_view piece) {
    if (piece.size() > file_.size - bytes_) {
      return invalid_argument("the Hub sends more of ", quoted(file_.path), " than the ",
                              file_.size, " bytes that it lists");
    }
    if (!write_all(descriptor_, piece.data(), piece.size())) return failed("write");
    sum_.add(piece);
    bytes_ += piece.size();
    return absl::OkStatus();
  }

  // Gives the complete file its name. Empties the file and returns DATA_LOSS if it differs from the
  // Hub's list.
  absl::Status finish(const std::string& blob) {
    const std::string sum = sum_.finish();
    if (!file_.sha256.empty() && sum != file_.sha256) {
      absl::Status status = restart();
      if (!status.ok()) return status;
      return absl::DataLossError(str_cat("the SHA-256 of ", quoted(file_.path), " is ", sum,
                                         ", and the Hub lists ", file_.sha256));
    }
    if (::fsync(descriptor_) != 0 || ::rename(path_.c_str(), blob.c_str()) != 0) {
      return failed("write");
    }
    return absl::OkStatus();
  }

 private:
  absl::Status failed(const char* what) const {
    return absl::ErrnoToStatus(errno, str_cat("cannot ", what, " ", path_));
  }

  const HubFile& file_;
  const std::string path_;
  int descriptor_ = -1;
  uint64_t bytes_ = 0;
  bool was_resumed_ = false;
  Sha256 sum_;
};

// Returns the size of the whole file, of which the answer has all bytes or the last ones; -1 if the
// answer does not say. `*first` receives the place of the answer's first byte in the file.
int64_t announced_size(const HttpAnswer& answer, uint64_t* first) {
  int64_t size = -1;
  *first = 0;
  if (answer.status == 200) {
    return absl::SimpleAtoi(answer.header("content-length"), &size) ? size : -1;
  }
  // This is "bytes FIRST-LAST/SIZE".
  const std::string range = answer.header("content-range");
  const size_t dash = range.find('-'), slash = range.find('/');
  if (!range.starts_with("bytes ") || dash == std::string::npos || slash == std::string::npos ||
      !absl::SimpleAtoi(range.substr(6, dash - 6), first)) {
    *first = limits::kHubFileBytes.max + uint64_t{1};
    return -1;
  }
  return absl::SimpleAtoi(range.substr(slash + 1), &size) ? size : -1;
}

// Downloads one blob, with as many requests as necessary.
class Download {
 public:
  Download(HubHttpClient* client, const std::string& url, const HubFile& file,
           IncompleteBlob* incomplete, HubProgress* progress)
      : client_(client), url_(url), file_(file), incomplete_(incomplete), progress_(progress) {}

  // Requests the missing bytes until none is missing. The number of tries without a new byte is
  // bounded.
  absl::Status fill(const std::function<absl::Status(const HttpAnswer&)>& refused) {
    uint64_t furthest = incomplete_->bytes();
    int tries = 0;
    while (incomplete_->bytes() < file_.size || (file_.size == 0 && tries == 0)) {
      absl::Status status = ask(refused);
      if (!status.ok() && !absl::IsUnavailable(status)) return status;
      tries = incomplete_->bytes() > furthest ? 1 : tries + 1;
      furthest = std::max(furthest, incomplete_->bytes());
      if (incomplete_->bytes() == file_.size) break;
      if (tries == limits::kHubTries) {
        if (!status.ok()) return status;
        return absl::UnavailableError(str_cat("the Hub sends ", incomplete_->bytes(), " of the ",
                                              file_.size, " bytes of ", quoted(file_.path)));
      }
      std::this_thread::sleep_for(kPauseBetweenTries * (1 << (tries - 1)));
    }
    return absl::OkStatus();
  }

 private:
  absl::Status ask(const std::function<absl::Status(const HttpAnswer&)>& refused) {
    HttpRequest request;
    request.url = url_;
    request.first_byte = incomplete_->bytes();
    bool is_first = true;
    request.take = [&](const HttpAnswer& answer, std::string_view piece) -> absl::Status {
      absl::Status status;
      if (is_first) status = begin(answer, request.first_byte);
      is_first = false;
      if (status.ok()) status = incomplete_->append(piece);
      if (status.ok()) progress_->reach(incomplete_->bytes());
      return status;
    };
    const absl::StatusOr<HttpAnswer> answer = client_->get(request);
    if (!answer.ok()) return answer.status();
    if (answer->status == 416 && request.first_byte > 0) return incomplete_->restart();
    if (answer->status != 200 && answer->status != 206) return refused(*answer);
    return absl::OkStatus();
  }

  // Checks the head of an answer before its first byte is stored.
  absl::Status begin(const HttpAnswer& answer, uint64_t asked) {
    uint64_t first = 0;
    const int64_t size = announced_size(answer, &first);
    if (size >= 0 && static_cast<uint64_t>(size) != file_.size) {
      return invalid_argument("the Hub sends ", size, " bytes as ", quoted(file_.path),
                              " and lists ", file_.size);
    }
    if (first == asked) return absl::OkStatus();
    if (first == 0) return incomplete_->restart();  // the server does not support ranges
    return invalid_argument(quoted(url_), " answers with another range than was asked for");
  }

  HubHttpClient* const client_;
  const std::string& url_;
  const HubFile& file_;
  IncompleteBlob* const incomplete_;
  HubProgress* const progress_;
};

}  // namespace

absl::Status download_blob(HubHttpClient* client, const std::string& url, const HubFile& file,
                           const HubCache& cache,
                           const std::function<absl::Status(const HttpAnswer&)>& refused,
                           HubProgress* progress) {
  const absl::StatusOr<FileLock> lock = FileLock::take(cache.lock(file), [&] {
    progress->say(str_cat("waiting for another program that downloads ", file.path));
  });
  if (!lock.ok()) return lock.status();
  if (cache.has_blob(file)) return absl::OkStatus();
  const std::string blob = cache.blob(file);
  IncompleteBlob incomplete(file, str_cat(blob, ".incomplete"));
  absl::Status status = incomplete.open();
  if (!status.ok()) return status;
  progress->begin_file(file.path, file.size, incomplete.bytes());
  bool was_resumed = false;
  do {
    // If the file has changed, its rest does not fit the bytes of the earlier download, so it is
    // downloaded again from the beginning, once.
    was_resumed = incomplete.was_resumed();
    Download download(client, url, file, &incomplete, progress);
    status = download.fill(refused);
    if (status.ok()) status = incomplete.finish(blob);
  } while (absl::IsDataLoss(status) && was_resumed);
  progress->end_file();
  return status;
}

}  // namespace deltaserve
