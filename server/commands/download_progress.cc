#include "server/commands/download_progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_format.h"
#include "kernels/base/human_bytes.h"

namespace deltaserve {
namespace {

constexpr std::chrono::milliseconds kBetweenDrawings{100};
constexpr uint64_t kLongDownload = uint64_t{64} << 20;  // a download of at least this size gets a
                                                        // line when it begins

}  // namespace

DownloadProgress::DownloadProgress() : on_terminal_(isatty(STDERR_FILENO) != 0) {}

void DownloadProgress::say(const std::string& line) {
  absl::FPrintF(stderr, "deltaserve: %s\n", line);
}

void DownloadProgress::begin_file(const std::string& path, uint64_t size, uint64_t done) {
  path_ = path;
  size_ = size;
  before_ = done_ = done;
  begin_ = drawn_ = Clock::now();
  if (on_terminal_) {
    draw();
  } else if (size >= kLongDownload) {
    absl::FPrintF(stderr, "fetching %s: %s of %s are there\n", path, human_bytes(done),
                  human_bytes(size));
  }
}

void DownloadProgress::reach(uint64_t done) {
  done_ = done;
  if (!on_terminal_ || Clock::now() - drawn_ < kBetweenDrawings) return;
  drawn_ = Clock::now();
  draw();
}

void DownloadProgress::end_file() {
  if (on_terminal_) {
    draw();
    std::fputc('\n', stderr);
  } else if (done_ == size_) {
    absl::FPrintF(stderr, "fetched %s: %s, %s/s\n", path_, human_bytes(size_),
                  human_bytes(static_cast<uint64_t>(speed())));
  }
}

double DownloadProgress::speed() const {
  const double seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
  return static_cast<double>(done_ - std::min(before_, done_)) / std::max(seconds, 1e-3);
}

void DownloadProgress::draw() const {
  constexpr int kBarColumns = 24;
  const double share = size_ == 0 ? 1 : static_cast<double>(done_) / static_cast<double>(size_);
  const auto filled = static_cast<size_t>(share * kBarColumns);
  const double bytes_per_second = speed();
  const auto left = static_cast<double>(size_ - done_);
  std::string rest;
  if (bytes_per_second > 0 && left > 0) {
    rest = absl::StrFormat(", %.0f s left", left / bytes_per_second);
  }
  absl::FPrintF(stderr, "\r%s [%s%s] %.0f %%, %s of %s, %s/s%s\x1b[K", path_,
                std::string(filled, '#'), std::string(kBarColumns - filled, ' '), 100 * share,
                human_bytes(done_), human_bytes(size_),
                human_bytes(static_cast<uint64_t>(bytes_per_second)), rest);
}

}  // namespace deltaserve
