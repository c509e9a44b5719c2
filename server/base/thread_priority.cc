#include "server/base/thread_priority.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

namespace deltaserve {

void lower_thread_priority() {
  // Each step of niceness gives a quarter less time, so ten steps give about a tenth.
  constexpr int kSteps = 10, kLowest = 19;
  // On Linux the call affects one thread, although POSIX says that it affects the process.
  const int before = ::getpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()));
  (void)::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()),
                      std::min(before + kSteps, kLowest));
}

}  // namespace deltaserve
