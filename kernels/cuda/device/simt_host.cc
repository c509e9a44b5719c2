#include <algorithm>
#include <bit>
#include <boost/context/fiber.hpp>
#include <boost/context/preallocated.hpp>
#include <cstdio>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/cuda/device/simt.h"

namespace deltaserve::simt {
namespace host {
namespace {

constexpr size_t kStackBytes = 128 * 1024;

enum class State : uint8_t { kRuns, kAwaits, kAtWarp, kAtBlock, kAtCluster, kDone };

struct Copy {
  void* to;
  const void* from;
  int group;
};

// This memory outlives the coroutine on it.
struct KeptStack {
  boost::context::stack_context allocate() { return {}; }
  void deallocate(boost::context::stack_context&) noexcept {}
};

struct Thread {
  boost::context::fiber context;
  std::unique_ptr<unsigned char[]> stack;
  State state = State::kDone;
  Barrier barrier = Barrier::kSync;
  int meetings = 0;          // of its warp, so far
  std::vector<Copy> copies;  // under way, oldest first
  int copy_groups = 0;       // ended so far
  bool awaited = false;      // the thread has awaited the launches before
};

struct Warp {
  ExchangeSlot slots[2][kWarp];  // for this exchange, and for the last one, which slow lanes still
                                 // read
};

thread_local Order thread_order = Order::kForward;

int in_order(int i, int count) {
  return thread_order == Order::kForward ? i : count - 1 - i;
}

// The cluster of blocks that runs now, mostly of one block, and memory for the next ones. Thread t
// of block r of the cluster is thread r * threads + t here.
class Cluster {
 public:
  // Begins blocks of the launch, which must last until finish().
  void start(const Launch& launch, Grid first_block) {
    first_block_ = first_block;
    body_ = &launch.body;
    num_blocks_ = launch.cluster_blocks;
    block_threads_ = launch.threads;
    const int all = num_blocks_ * block_threads_;
    while (std::ssize(threads_) < all) {
      threads_.push_back(std::make_unique<Thread>());
      threads_.back()->stack = std::make_unique_for_overwrite<unsigned char[]>(kStackBytes);
    }
    warps_.resize(static_cast<size_t>(all / kWarp));
    shared_.clear();
    // A block gets exactly the memory that it requests, so that sanitizers see accesses beyond it.
    const int quarters = (launch.shared_bytes + 15) / 16;
    for (int r = 0; r < num_blocks_; ++r) {
      shared_.push_back(std::make_unique<Float4[]>(static_cast<size_t>(quarters)));
      std::fill_n(reinterpret_cast<float*>(shared_.back().get()), quarters * 4,
                  std::numeric_limits<float>::quiet_NaN());
    }
    for (int t = 0; t < all; ++t) start(t);
  }

  // Runs every thread up to the place where it awaits the launches before.
  void run_early() {
    early_ = true;
    for (current_ = 0; current_ < num_blocks_ * block_threads_; ++current_) {
      go_on();
      if (current().state == State::kAwaits) continue;
      std::fprintf(stderr,
                   "kernel: a thread ends or meets others before it awaits the launches before\n");
      std::abort();
    }
    early_ = false;
  }

  void finish() {
    for (int t = 0; t < num_blocks_ * block_threads_; ++t) thread(t).state = State::kRuns;
    while (run_to_cluster_barrier()) {
    }
  }

  void await_launches_before() {
    current().awaited = true;
    if (early_) leave(State::kAwaits);
  }

  Thread& current() { return thread(current_); }
  // Suspends the running thread until it may go on.
  void leave(State state) {
    current().state = state;
    scheduler_ = std::move(scheduler_).resume();
  }
  ExchangeSlot* slots(int meeting) {
    return warps_[static_cast<size_t>(current_ / kWarp)].slots[meeting % 2];
  }

  int thread_index() const { return current_ % block_threads_; }
  int block_threads() const { return block_threads_; }
  int rank() const { return current_ / block_threads_; }
  Grid block_index() const { return {first_block_.x + rank(), first_block_.y, first_block_.z}; }
  void* shared(int rank) const { return shared_[static_cast<size_t>(rank)].get(); }
  int num_blocks() const { return num_blocks_; }
  // Returns true if all threads of the cluster's block have ended, and its memory with them.
  bool has_ended(int rank) {
    for (int t = rank * block_threads_; t < (rank + 1) * block_threads_; ++t) {
      if (thread(t).state != State::kDone) return false;
    }
    return true;
  }

 private:
  Thread& thread(int t) { return *threads_[static_cast<size_t>(t)]; }

  void start(int t) {
    Thread& started = thread(t);
    started.state = State::kRuns;
    started.meetings = 0;
    started.copies.clear();
    started.copy_groups = 0;
    started.awaited = false;
    boost::context::stack_context stack;
    stack.size = kStackBytes;
    stack.sp = started.stack.get() + kStackBytes;  // it grows downwards
    started.context = boost::context::fiber(
        std::allocator_arg, boost::context::preallocated(stack.sp, stack.size, stack), KeptStack(),
        [this](boost::context::fiber&& scheduler) {
          scheduler_ = std::move(scheduler);
          run_body();
          return std::move(scheduler_);
        });
  }

  // Runs the kernel as the running thread.
  void run_body() {
    (*body_)();
    if (!current().awaited) {
      std::fprintf(stderr, "kernel: a thread does not await the launches before\n");
      std::abort();
    }
    current().state = State::kDone;
    current().barrier = Barrier::kSync;
  }

  // Runs the current thread until it is suspended.
  void go_on() { current().context = std::move(current().context).resume(); }

  // Returns false when every thread has ended.
  bool run_to_cluster_barrier() {
    for (int i = 0; i < num_blocks_; ++i) {
      while (run_to_block_barrier(in_order(i, num_blocks_) * block_threads_)) {
      }
    }
    return release(0, num_blocks_ * block_threads_, State::kAtCluster, "cluster");
  }

  // Runs every thread of a block to its next barrier; true if that was one of the block.
  bool run_to_block_barrier(int first) {
    const int num_warps = block_threads_ / kWarp;
    for (int i = 0; i < num_warps; ++i) {
      while (run_to_warp_barrier(first + in_order(i, num_warps) * kWarp)) {
      }
    }
    return release(first, block_threads_, State::kAtBlock, "block");
  }

  // Runs every lane of a warp to its next barrier; true if that was one of the warp.
  bool run_to_warp_barrier(int first) {
    for (int i = 0; i < kWarp; ++i) {
      current_ = first + in_order(i, kWarp);
      if (current().state == State::kRuns) go_on();
    }
    return release(first, kWarp, State::kAtWarp, "warp");
  }

  // Lets all `count` threads go on if they wait at the same barrier, of kind `at`.
  bool release(int first, int count, State at, const char* group) {
    const Thread& leader = thread(first);
    for (int t = first; t < first + count; ++t) {
      if (thread(t).state == leader.state && thread(t).barrier == leader.barrier) continue;
      std::fprintf(stderr, "kernel: thread %d is not at the barrier of the others of its %s\n", t,
                   group);
      std::abort();
    }
    if (leader.state != at) return false;
    for (int t = first; t < first + count; ++t) thread(t).state = State::kRuns;
    return true;
  }

  boost::context::fiber scheduler_;  // the fiber that resumed the running thread
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<Warp> warps_;
  std::vector<std::unique_ptr<Float4[]>> shared_;
  const std::function<void()>* body_ = nullptr;
  Grid first_block_;
  int num_blocks_ = 0;
  int block_threads_ = 0;
  int current_ = 0;
  bool early_ = false;
};

// Two, so that a launch may begin while the one before runs.
thread_local Cluster clusters[2];
thread_local Cluster* running = clusters;

Cluster* idle() {
  return running == clusters ? clusters + 1 : clusters;
}

Cluster& cluster() {
  return *running;
}

}  // namespace

void set_order(Order order) {
  thread_order = order;
}

const ExchangeSlot* meet_warp(Barrier kind, const void* value, size_t bytes) {
  Cluster& here = cluster();
  Thread& thread = here.current();
  ExchangeSlot* slots = here.slots(thread.meetings++);
  DS_CHECK(bytes <= kMaxExchangeBytes);
  if (bytes > 0) std::memcpy(slots[here.thread_index() % kWarp].bytes, value, bytes);
  thread.barrier = kind;
  here.leave(State::kAtWarp);
  return slots;
}

void meet_block() {
  cluster().current().barrier = Barrier::kSync;
  cluster().leave(State::kAtBlock);
}

int thread_index() {
  return cluster().thread_index();
}
int block_threads() {
  return cluster().block_threads();
}
Grid block_index() {
  return cluster().block_index();
}
void* shared_memory() {
  return cluster().shared(cluster().rank());
}

void begin_copy(void* to, const void* from) {
  DS_CHECK(reinterpret_cast<uintptr_t>(to) % 16 == 0);
  DS_CHECK(reinterpret_cast<uintptr_t>(from) % 16 == 0);
  if (thread_order == Order::kBackward) {
    std::memcpy(to, from, 16);
    return;
  }
  std::memset(to, 0xff, 16);  // who reads it before it arrives, sees NaN
  Thread& thread = cluster().current();
  thread.copies.push_back({to, from, thread.copy_groups});
}

void end_copy_group() {
  ++cluster().current().copy_groups;
}

void finish_copies(int groups) {
  Thread& thread = cluster().current();
  const auto late = [&](const Copy& copy) { return copy.group >= thread.copy_groups - groups; };
  for (const Copy& copy : thread.copies) {
    if (!late(copy)) std::memcpy(copy.to, copy.from, 16);
  }
  std::erase_if(thread.copies, [&](const Copy& copy) { return !late(copy); });
}

void check_prefetch(const void* at, uint32_t bytes) {
  DS_CHECK(reinterpret_cast<uintptr_t>(at) % 16 == 0 && bytes > 0 && bytes % 16 == 0);
  const auto* from = static_cast<const volatile unsigned char*>(at);
  static_cast<void>(from[0]);
  static_cast<void>(from[bytes - 1]);
  prefetched_bytes += bytes;
}

void await_launches_before() {
  cluster().await_launches_before();
}

void meet_cluster() {
  cluster().current().barrier = Barrier::kSync;
  cluster().leave(State::kAtCluster);
}

void* shared_memory_of(int rank) {
  DS_CHECK(rank >= 0 && rank < cluster().num_blocks());
  if (cluster().has_ended(rank)) {
    std::fprintf(stderr, "kernel: a thread reads the shared memory of a block that has ended\n");
    std::abort();
  }
  return cluster().shared(rank);
}

namespace {

void check(const Launch& launch) {
  const Grid& grid = launch.grid;
  DS_CHECK(launch.threads > 0 && launch.threads <= 1024 && launch.threads % kWarp == 0);
  DS_CHECK(launch.cluster_blocks > 0 && launch.cluster_blocks <= 8);
  DS_CHECK(grid.x % launch.cluster_blocks == 0);
  DS_CHECK(launch.shared_bytes <= kLargestSharedBytes);
  DS_CHECK(grid.y <= kMaxGridYZ && grid.z <= kMaxGridYZ);
}

int num_clusters(const Launch& launch) {
  return launch.grid.x / launch.cluster_blocks * launch.grid.y * launch.grid.z;
}

// Returns the first block of the cluster that runs i-th.
Grid block_of(const Launch& launch, int i) {
  const int columns = launch.grid.x / launch.cluster_blocks;
  const int at = in_order(i, num_clusters(launch));
  return {at % columns * launch.cluster_blocks, at / columns % launch.grid.y,
          at / columns / launch.grid.y};
}

// Begins the launch's first cluster in the object that does not run.
bool begin_early(const Launch& launch) {
  if (!launch.overlaps || num_clusters(launch) == 0) return false;
  check(launch);
  Cluster* const before = running;
  running = idle();
  running->start(launch, block_of(launch, 0));
  running->run_early();
  running = before;
  return true;
}

void run_launch(const Launch& launch, bool begun) {
  check(launch);
  for (int i = 0; i < num_clusters(launch); ++i) {
    if (i > 0 || !begun) cluster().start(launch, block_of(launch, i));
    cluster().finish();
  }
}

}  // namespace

void run(const std::vector<Work>& works, size_t count) {
  bool begun = false;
  for (size_t i = 0; i < count; ++i) {
    const Launch& launch = works[i].launch;
    const bool next_begun = i + 1 < count && launch.threads > 0 && begin_early(works[i + 1].launch);
    if (launch.threads > 0) {
      run_launch(launch, begun);
    } else {
      works[i].copy();
    }
    if (next_begun) running = idle();
    begun = next_begun;
  }
}

}  // namespace host

void multiply_add(const MmaA& a, const MmaB& b, MmaD& d) {
  struct Operands {
    MmaA a;
    MmaB b;
  };
  const Operands own = {a, b};
  const auto* slots = host::meet_warp(host::Barrier::kProduct, &own, sizeof own);
  // Two numbers of a lane's pair, from inner index k on.
  const auto unpack = [](Bf16Pair pair, float* to) {
    to[0] = std::bit_cast<float>(pair.bits << 16);
    to[1] = std::bit_cast<float>(pair.bits & 0xffff0000u);
  };
  const int lane = host::thread_index() % kWarp;
  float rows[2][16], columns[2][16];
  for (int j = 0; j < 4; ++j) {
    const auto of_rows = host::value_of<Operands>(slots[lane / 4 * 4 + j]);
    for (int i = 0; i < 4; ++i) unpack(of_rows.a.a[i], &rows[i % 2][i / 2 * 8 + 2 * j]);
    for (int i = 0; i < 2; ++i) {
      const auto of_column = host::value_of<Operands>(slots[(lane % 4 * 2 + i) * 4 + j]);
      unpack(of_column.b.b[0], &columns[i][2 * j]);
      unpack(of_column.b.b[1], &columns[i][2 * j + 8]);
    }
  }
  for (int i = 0; i < 4; ++i) {
    float sum = d.d[i];
    for (int k = 0; k < 16; ++k) sum += rows[i / 2][k] * columns[i % 2][k];
    d.d[i] = sum;
  }
}

namespace {

struct MatrixRow {
  uint16_t number[8];
};
// Returns the values of all lanes: each gives its row, with the values at the time of its call.
const host::ExchangeSlot* meet_with_row(const void* row) {
  DS_CHECK(reinterpret_cast<uintptr_t>(row) % 16 == 0);
  return host::meet_warp(host::Barrier::kMatrices, row, sizeof(MatrixRow));
}

}  // namespace

Words4 load_matrices(const void* row) {
  const auto* slots = meet_with_row(row);
  const int lane = host::thread_index() % kWarp;
  Words4 of;
  for (int m = 0; m < 4; ++m) {
    const auto own = host::value_of<MatrixRow>(slots[8 * m + lane / 4]);
    of.word[m] = own.number[lane % 4 * 2] | uint32_t{own.number[lane % 4 * 2 + 1]} << 16;
  }
  return of;
}

Words4 load_transposed_matrices(const void* row) {
  const auto* slots = meet_with_row(row);
  const int lane = host::thread_index() % kWarp;
  Words4 of;
  for (int m = 0; m < 4; ++m) {
    const auto first = host::value_of<MatrixRow>(slots[8 * m + lane % 4 * 2]);
    const auto second = host::value_of<MatrixRow>(slots[8 * m + lane % 4 * 2 + 1]);
    of.word[m] = first.number[lane / 4] | uint32_t{second.number[lane / 4]} << 16;
  }
  return of;
}

}  // namespace deltaserve::simt
