#include "server/observe/log.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "models/base/text.h"
#include "server/base/json_text.h"

namespace deltaserve {
namespace {

constexpr int kPollMs = 200;
constexpr size_t kAtomicWrite = 4096;  // a pipe that polls as writable takes this much at once
constexpr mode_t kFileMode = 0640;     // lines may show what clients sent

int open_log(const std::string& path) {
  return ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, kFileMode);
}

std::string_view level_name(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return "debug";
    case LogLevel::kInfo: return "info";
    case LogLevel::kWarning: return "warning";
    case LogLevel::kError: return "error";
  }
  return "error";
}

bool needs_quotes(std::string_view text) {
  return text.empty() || std::any_of(text.begin(), text.end(), [](char c) {
           return c <= 0x20 || c == '"' || c == '=' || c == '\\' || c >= 0x7f;
         });
}

void append_text_value(std::string* out, std::string_view value, bool is_text) {
  is_text&& needs_quotes(value) ? append_json_string(out, value) : void(out->append(value));
}

}  // namespace

LogFields& LogFields::text(std::string_view name, std::string_view value) {
  fields_.push_back({std::string(name), std::string(value.substr(0, Logger::kValueBytes)), true});
  return *this;
}

LogFields& LogFields::integer(std::string_view name, int64_t value) {
  return json(name, absl::StrCat(value));
}

LogFields& LogFields::seconds_as_ms(std::string_view name, double seconds) {
  return json(name, absl::StrFormat("%.3f", seconds * 1000));
}

LogFields& LogFields::boolean(std::string_view name, bool value) {
  return json(name, value ? "true" : "false");
}

LogFields& LogFields::json(std::string_view name, std::string_view value) {
  fields_.push_back({std::string(name), std::string(value), false});
  return *this;
}

LogFields& LogFields::append(const LogFields& more) {
  fields_.insert(fields_.end(), more.fields_.begin(), more.fields_.end());
  return *this;
}

Logger::Logger(LogFormat format, LogLevel least, int file_descriptor)
    : format_(format), least_(least), file_descriptor_(file_descriptor) {
  writer_ = std::thread([this] { run(); });
}

absl::StatusOr<std::unique_ptr<Logger>> Logger::open(LogFormat format, LogLevel least,
                                                     const std::string& path) {
  const int file = open_log(path);
  if (file < 0) return absl::ErrnoToStatus(errno, str_cat("cannot open the log ", path));
  auto logger = std::make_unique<Logger>(format, least, file);
  logger->path_ = path;
  return logger;
}

Logger::~Logger() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  more_.notify_one();
  writer_.join();
  if (!path_.empty()) ::close(file_descriptor_);
}

void Logger::write(LogLevel level, std::string_view event, const LogFields& fields) {
  if (!enabled(level)) return;
  std::string line = line_of(level, event, fields);
  {
    const std::lock_guard lock(mutex_);
    if (lines_.size() >= kMaxQueuedLines) {
      ++lost_;
      return;
    }
    lines_.push_back(std::move(line));
  }
  more_.notify_one();
}

std::string Logger::line_of(LogLevel level, std::string_view event, const LogFields& fields) const {
  const std::string time =
      absl::FormatTime("%Y-%m-%d%ET%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone());
  std::string line;
  if (format_ == LogFormat::kText) {
    line = str_cat(time, " ", level_name(level), " ", event);
    for (const LogFields::Field& field : fields.fields_) {
      line.append(str_cat(" ", field.name, "="));
      append_text_value(&line, field.value, field.is_text);
    }
  } else {
    line = str_cat("{\"time\":\"", time, "\",\"level\":\"", level_name(level), "\",\"event\":");
    append_json_string(&line, event);
    for (const LogFields::Field& field : fields.fields_) {
      line.push_back(',');
      append_json_string(&line, field.name);
      line.push_back(':');
      field.is_text ? append_json_string(&line, field.value) : void(line.append(field.value));
    }
    line.push_back('}');
  }
  line.push_back('\n');
  return line;
}

void Logger::run() {
  std::string line;
  bool last = false;
  while (take_line(&line, &last)) {
    if (reopen_.exchange(false)) open_again();
    const Written written = write_line(line);
    if (written == Written::kNobodyReads) return;
    if (written == Written::kWhole && last) tell_lost();
  }
}

// Waits for a line; `*last`: there is none after it yet. Returns false at the end.
bool Logger::take_line(std::string* line, bool* last) {
  std::unique_lock lock(mutex_);
  more_.wait(lock, [this] { return closing_ || !lines_.empty(); });
  if (lines_.empty()) return false;
  *line = std::move(lines_.front());
  lines_.pop_front();
  *last = lines_.empty();
  return true;
}

void Logger::open_again() {
  if (path_.empty()) return;
  const int file = open_log(path_);
  if (file < 0) {
    const std::string why = absl::ErrnoToStatus(errno, "").ToString();
    write_line(line_of(LogLevel::kError, "log_not_reopened",
                       LogFields().text("file", path_).text("error", why)));
    return;
  }
  ::close(file_descriptor_);
  file_descriptor_ = file;
  torn_ = false;
}

void Logger::tell_lost() {
  const uint64_t lost = lost_;
  if (lost == told_lost_) return;
  const auto count = static_cast<int64_t>(lost - told_lost_);
  const std::string line =
      line_of(LogLevel::kWarning, "log_lines_dropped", LogFields().integer("count", count));
  if (write_all(line) == Written::kWhole) told_lost_ = lost;
}

Logger::Written Logger::write_line(std::string_view line) {
  const Written written = torn_ ? write_all(str_cat("\n", line)) : write_all(line);
  if (written == Written::kLost) ++lost_;
  return written;
}

// kNobodyReads: the reader stalls, and the logger is about to be destroyed.
Logger::Written Logger::write_all(std::string_view text) {
  const size_t size = text.size();
  while (!text.empty()) {
    pollfd ready{file_descriptor_, POLLOUT, 0};
    const int count = poll(&ready, 1, kPollMs);
    if (count < 0 && errno != EINTR) return Written::kLost;
    if (count <= 0) {
      const std::lock_guard lock(mutex_);
      if (closing_) return Written::kNobodyReads;
      continue;
    }
    const ssize_t written =
        ::write(file_descriptor_, text.data(), std::min(text.size(), kAtomicWrite));
    if (written < 0 && errno != EINTR && errno != EAGAIN) {
      torn_ = torn_ || text.size() < size;
      return Written::kLost;
    }
    if (written > 0) text.remove_prefix(static_cast<size_t>(written));
  }
  torn_ = false;
  return Written::kWhole;
}

}  // namespace deltaserve
