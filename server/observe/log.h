// The server's log: one line an event, text or JSON, on a file descriptor.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"

namespace deltaserve {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError };
enum class LogFormat : uint8_t { kText, kJson };

// The fields of one event, in the order in which they are added.
class LogFields {
 public:
  LogFields& text(std::string_view name, std::string_view value);
  LogFields& integer(std::string_view name, int64_t value);
  LogFields& seconds_as_ms(std::string_view name, double seconds);
  LogFields& boolean(std::string_view name, bool value);
  // `value` is JSON, ready to be copied.
  LogFields& json(std::string_view name, std::string_view value);
  LogFields& append(const LogFields& more);

 private:
  friend class Logger;
  struct Field {
    std::string name;
    std::string value;
    bool is_text;
  };
  std::vector<Field> fields_;
};

// A thread of the logger writes the lines, so a stalled reader of the log delays no caller. Lines
// beyond kMaxQueuedLines and lines that cannot be written (a full disk) are lost and counted. Later
// lines are tried again; after the first that is written comes a line that says how many were lost.
//
// Thread-safe.
class Logger {
 public:
  static constexpr size_t kMaxQueuedLines = 8192;
  static constexpr size_t kValueBytes = 4096;  // a longer text value is cut

  Logger(LogFormat format, LogLevel least, int file_descriptor);
  // Appends to a file, which is made if it is absent. Errors name the file.
  static absl::StatusOr<std::unique_ptr<Logger>> open(LogFormat format, LogLevel least,
                                                      const std::string& path);
  // Writes the queued lines, as far as the reader takes them at once.
  ~Logger();
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  bool enabled(LogLevel level) const { return level >= least_; }
  // `event` is a short name: "request", "drain".
  void write(LogLevel level, std::string_view event, const LogFields& fields = {});

  // Makes the writer open its file anew, because the old one was renamed. If that fails, it goes on
  // with the old one. Nothing happens without a file.
  void reopen() { reopen_ = true; }
  uint64_t lost_lines() const { return lost_; }

 private:
  enum class Written : uint8_t { kWhole, kLost, kNobodyReads };

  std::string line_of(LogLevel level, std::string_view event, const LogFields& fields) const;
  void run();
  bool take_line(std::string* line, bool* last);
  void open_again();
  void tell_lost();
  Written write_line(std::string_view line);
  Written write_all(std::string_view text);

  const LogFormat format_;
  const LogLevel least_;
  std::string path_;  // empty: the caller owns the descriptor
  std::atomic<bool> reopen_{false};
  std::atomic<uint64_t> lost_{0};
  // ---- The writer's own
  int file_descriptor_;
  uint64_t told_lost_ = 0;
  bool torn_ = false;  // only a part of the last line was written

  std::mutex mutex_;
  std::condition_variable more_;
  std::deque<std::string> lines_;  // guarded by mutex_, like the next
  bool closing_ = false;
  std::thread writer_;  // last: it uses everything above
};

}  // namespace deltaserve
