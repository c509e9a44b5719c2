#include "models/checkpoint/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "models/base/text.h"

namespace deltaserve {

absl::StatusOr<int> open_regular_file(const std::string& path, uint64_t* bytes) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return absl::ErrnoToStatus(errno, str_cat("cannot open ", path));
  struct stat info {};
  if (::fstat(file, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(file);
    return invalid_argument(path, " is not a regular file");
  }
  *bytes = static_cast<uint64_t>(info.st_size);
  return file;
}

absl::StatusOr<std::string> read_file(const std::string& path, size_t max_bytes) {
  uint64_t bytes = 0;
  const absl::StatusOr<int> file = open_regular_file(path, &bytes);
  if (!file.ok()) return file.status();
  if (bytes > max_bytes) {
    ::close(*file);
    return invalid_argument(path, " has ", bytes, " bytes, more than the ", max_bytes, " allowed");
  }
  std::string contents(static_cast<size_t>(bytes), '\0');
  size_t filled = 0;
  while (filled < contents.size()) {
    const ssize_t n = ::read(*file, contents.data() + filled, contents.size() - filled);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const int error = n < 0 ? errno : EIO;
      ::close(*file);
      return absl::ErrnoToStatus(error, str_cat("cannot read ", path));
    }
    filled += static_cast<size_t>(n);
  }
  ::close(*file);
  return contents;
}

bool write_all(int file_descriptor, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t n = ::write(file_descriptor, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    data += n;
    size -= static_cast<size_t>(n);
  }
  return true;
}

absl::Status replace_file(const std::string& path, const std::function<bool(int)>& write) {
  const std::string partial = str_cat(path, ".partial");
  const int file = ::open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) return absl::ErrnoToStatus(errno, str_cat("cannot create ", partial));
  bool ok = write(file) && ::fsync(file) == 0;
  int error = errno;
  if (::close(file) != 0 && ok) {
    ok = false;
    error = errno;
  }
  if (ok && ::rename(partial.c_str(), path.c_str()) != 0) {
    ok = false;
    error = errno;
  }
  if (ok) return absl::OkStatus();
  ::unlink(partial.c_str());
  return absl::ErrnoToStatus(error, str_cat("cannot write ", path));
}

absl::Status write_file(const std::string& path, std::string_view contents) {
  return replace_file(path,
                      [&](int file) { return write_all(file, contents.data(), contents.size()); });
}

}  // namespace deltaserve
