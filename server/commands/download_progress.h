// Shows downloads on stderr: if that is a terminal, as one line that is redrawn, else as a line for
// each file.
#pragma once
#include <chrono>
#include <cstdint>
#include <string>

#include "models/hub/hub.h"

namespace deltaserve {

class DownloadProgress : public HubProgress {
 public:
  DownloadProgress();

  void say(const std::string& line) override;
  void begin_file(const std::string& path, uint64_t size, uint64_t done) override;
  void reach(uint64_t done) override;
  void end_file() override;

 private:
  using Clock = std::chrono::steady_clock;

  // Returns the bytes per second at which this file arrives.
  double speed() const;
  void draw() const;

  const bool on_terminal_;
  std::string path_;
  uint64_t size_ = 0;
  uint64_t before_ = 0;  // bytes that an earlier download has left
  uint64_t done_ = 0;
  Clock::time_point begin_;
  Clock::time_point drawn_;
};

}  // namespace deltaserve
