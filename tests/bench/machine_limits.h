// Measures the limits of the machine.
#pragma once
#include "kernels/base/thread_pool.h"

namespace deltaserve {

// Returns the time. With a single thread it is that thread's processor time, so that other
// processes have little effect.
double seconds_now(const ThreadPool& threads);

// Returns operations per second of float multiply-adds (two each) that touch no memory.
double fma_peak(ThreadPool& threads);
// Return the same for an instruction's products of bf16 pairs and of four bytes; 0 on processors
// whose matmuls do not use it. The instruction for bytes has 512 bits.
double bf16_pair_peak(ThreadPool& threads);
double byte_quad_peak(ThreadPool& threads);
// Returns bytes per second of plain reads beyond the caches.
double read_bandwidth(ThreadPool& threads);

}  // namespace deltaserve
