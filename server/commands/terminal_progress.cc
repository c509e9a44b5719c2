#include "server/commands/terminal_progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "kernels/base/human_bytes.h"

namespace deltaserve {
namespace {

constexpr std::chrono::milliseconds kSilence{1000};
constexpr std::chrono::milliseconds kFrame{100};
constexpr size_t kProgressColumns = 24;

std::string amount(uint64_t value, TerminalProgress::Unit unit) {
  if (unit == TerminalProgress::Unit::kBytes) return human_bytes(value);
  return absl::StrCat(value, " tokens");
}

}  // namespace

TerminalProgress::TerminalProgress(std::string work, Unit unit)
    : work_(std::move(work)), unit_(unit), begin_(Clock::now()) {
  if (isatty(STDERR_FILENO) != 0) thread_ = std::thread([this] { run(); });
}

TerminalProgress::~TerminalProgress() {
  end();
}

void TerminalProgress::reach(uint64_t done, uint64_t all) {
  const std::lock_guard lock(mutex_);
  if (all_ == 0) first_ = done;
  done_ = std::min(done, all);
  all_ = all;
}

void TerminalProgress::end() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  ended_changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void TerminalProgress::run() {
  std::unique_lock lock(mutex_);
  ended_changed_.wait_for(lock, kSilence, [this] { return ended_; });
  if (ended_) return;
  while (!ended_) {
    absl::FPrintF(stderr, "\r%s\x1b[K", line(Clock::now()));
    ended_changed_.wait_for(lock, kFrame, [this] { return ended_; });
  }
  std::fputs("\r\x1b[K", stderr);
}

std::string TerminalProgress::line(Clock::time_point now) const {
  const double seconds = std::chrono::duration<double>(now - begin_).count();
  if (all_ == 0 || done_ == all_) return absl::StrFormat("%s: %.0f s", work_, seconds);
  const double share = static_cast<double>(done_) / static_cast<double>(all_);
  const auto filled = static_cast<size_t>(share * kProgressColumns);
  const double per_second = static_cast<double>(done_ - std::min(first_, done_)) / seconds;
  std::string rest;
  if (per_second > 0) {
    rest = absl::StrFormat(", %s/s, %.0f s left", amount(static_cast<uint64_t>(per_second), unit_),
                           static_cast<double>(all_ - done_) / per_second);
  }
  return absl::StrFormat("%s [%s%s] %.0f %%, %s of %s%s", work_, std::string(filled, '#'),
                         std::string(kProgressColumns - filled, ' '), 100 * share,
                         amount(done_, unit_), amount(all_, unit_), rest);
}

}  // namespace deltaserve
