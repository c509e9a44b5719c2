#include "server/base/descriptors.h"

#include <dirent.h>
#include <sys/resource.h>

#include <mutex>

namespace deltaserve {

uint64_t open_descriptors() {
  static std::mutex mutex;
  static DIR* folder = nullptr;  // stays open, so that it can be read when none are left
  const std::lock_guard lock(mutex);
  if (folder == nullptr) folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) return 0;
  ::rewinddir(folder);
  uint64_t count = 0;
  while (const dirent* entry = ::readdir(folder)) {
    if (entry->d_name[0] != '.') ++count;
  }
  return count;
}

uint64_t descriptor_limit() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

}  // namespace deltaserve
