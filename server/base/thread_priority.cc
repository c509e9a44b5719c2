#include "server/base/thread_priority.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

namespace deltaserve {

void lower_thread_priority(int steps) {
  constexpr int kLowest = 19;
  // On Linux the call affects one thread, although POSIX says that it affects the process.
  const int before = ::getpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()));
  (void)::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()),
                      std::min(before + steps, kLowest));
}

}  // namespace deltaserve
