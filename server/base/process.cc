#include "server/base/process.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <string_view>
#include <thread>

namespace deltaserve {
namespace {

// Calls only what a signal handler may.
void end_by_bus_error(int /*signal*/) {
  constexpr std::string_view kSentence =
      "deltaserve: a file of the model became shorter while it was read: do not write to a model's "
      "files, but rename new ones over them\n";
  // If standard error cannot be written, nothing can be done about it.
  [[maybe_unused]] const ssize_t written =
      ::write(STDERR_FILENO, kSentence.data(), kSentence.size());
  ::_exit(1);
}

}  // namespace

void open_standard_files() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) >= 0 || errno != EBADF) continue;
    // open() returns the lowest free descriptor, which is the missing one.
    const int flags = descriptor == STDIN_FILENO ? O_RDONLY : O_WRONLY;
    if (::open("/dev/null", flags) != descriptor) ::_exit(1);
  }
}

void explain_bus_errors() {
  struct sigaction action {};
  action.sa_handler = end_by_bus_error;
  ::sigaction(SIGBUS, &action, nullptr);
}

void give_back_freed_memory() {
#ifdef __GLIBC__
  // By default these thresholds grow with the sizes that are freed, to 32 MiB and more for each
  // thread.
  constexpr int kMapped = 1 << 20;  // larger pieces go back to the system when they are freed
  constexpr int kKept = 4 << 20;
  mallopt(M_MMAP_THRESHOLD, kMapped);
  mallopt(M_TRIM_THRESHOLD, kKept);
#endif
}

void trim_heap() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

int raise_descriptor_limit() {
  constexpr rlim_t kMost = 1 << 20;  // even if the system allows more
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<int>(std::min(limit.rlim_cur, kMost));
}

void exit_after(std::chrono::milliseconds time, int code) {
  std::thread([time, code] {
    std::this_thread::sleep_for(time);
    ::_exit(code);
  }).detach();
}

}  // namespace deltaserve
