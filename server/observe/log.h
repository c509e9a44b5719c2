// The server's log: one line an event, text or JSON, on a file descriptor.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

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

// A thread of the logger writes the lines: a reader of the log that stalls delays nobody, and
// lines beyond kMaxQueuedLines are dropped and counted.
//
// Thread-safe.
class Logger {
 public:
  static constexpr size_t kMaxQueuedLines = 8192;
  static constexpr size_t kValueBytes = 4096;  // a longer text value is cut

  Logger(LogFormat format, LogLevel least, int file_descriptor);
  // Writes the queued lines, as far as the reader takes them at once.
  ~Logger();
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  bool enabled(LogLevel level) const { return level >= least_; }
  // `event` is a short name: "request", "drain".
  void write(LogLevel level, std::string_view event, const LogFields& fields = {});

 private:
  std::string line_of(LogLevel level, std::string_view event, const LogFields& fields) const;
  void run();
  bool write_all(std::string_view line);

  const LogFormat format_;
  const LogLevel least_;
  const int file_descriptor_;

  std::mutex mutex_;
  std::condition_variable more_;
  std::deque<std::string> lines_;  // guarded by mutex_, as the next
  uint64_t dropped_ = 0;
  bool closing_ = false;
  std::thread writer_;  // last: it uses everything above
};

}  // namespace deltaserve
