// Shows the progress of long work as a line on stderr that is redrawn, if stderr is a terminal.
#pragma once
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

namespace deltaserve {

// A line with a bar appears once the work has lasted a second, and is wiped at its end. A thread of
// its own draws it, so that it moves while nothing is reported.
//
// Thread-safe.
class TerminalProgress {
 public:
  enum class Unit : uint8_t { kBytes, kTokens };

  // `work` begins the line, for instance "loading models/x".
  TerminalProgress(std::string work, Unit unit);
  ~TerminalProgress();

  // Reports that `done` of `all` units are done. If all are done and the work goes on, its seconds
  // are shown.
  void reach(uint64_t done, uint64_t all);
  // Wipes the line for good.
  void end();

 private:
  using Clock = std::chrono::steady_clock;

  void run();
  std::string line(Clock::time_point now) const;

  const std::string work_;
  const Unit unit_;
  const Clock::time_point begin_;

  std::mutex mutex_;
  // ---- Guarded by mutex_
  std::condition_variable ended_changed_;
  bool ended_ = false;
  uint64_t first_ = 0;  // units that were done at the first report
  uint64_t done_ = 0;
  uint64_t all_ = 0;    // 0: nothing was reported
  std::thread thread_;  // does not run where stderr is no terminal
};

}  // namespace deltaserve
