// Sets how much processor time a thread gets when threads of one process compete for it.
#pragma once

namespace deltaserve {

// Makes the calling thread yield to the process's others, by steps of niceness: each gives it a
// quarter less time beside them. With ten it gets about a tenth of a processor beside a thread of
// normal priority, and without one all of it. The priority cannot be raised again.
void lower_thread_priority(int steps);

}  // namespace deltaserve
