// Sets how much processor time a thread gets when threads of one process compete for it.
#pragma once

namespace deltaserve {

// Makes the calling thread yield to the process's others: beside a thread of normal priority it
// gets about a tenth of a processor, and without one all of it. The priority cannot be raised
// again.
void lower_thread_priority();

}  // namespace deltaserve
