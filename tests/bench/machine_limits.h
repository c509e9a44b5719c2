// What the machine can do at most, measured.
#pragma once
#include "kernels/base/thread_pool.h"

namespace deltaserve {

// A clock. With a single thread that thread's processor time, so that other processes count little.
double seconds_now(const ThreadPool& threads);

// Operations per second of float multiply-adds (two each) that touch no memory.
double fma_peak(ThreadPool& threads);
// The same of an instruction's products of bf16 pairs and of four bytes; 0 on processors whose
// products do not use it (of bytes: in its form of 512 bits).
double bf16_pair_peak(ThreadPool& threads);
double byte_quad_peak(ThreadPool& threads);
// Bytes per second of plain reads beyond the caches.
double read_bandwidth(ThreadPool& threads);

}  // namespace deltaserve
