// Threads of one process may differ in how much of a processor they get where it is contended.
#pragma once

namespace deltaserve {

// Makes the calling thread yield to the process's others: it gets about a tenth of a processor that
// a thread of normal priority wants, and all of one that nobody wants. The priority cannot be
// raised again.
void lower_thread_priority();

}  // namespace deltaserve
