#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <limits>
#include <memory>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/cuda/simt.h"

namespace deltaserve::simt {
namespace host {
namespace {

constexpr size_t kStackBytes = 128 * 1024;

enum class State : uint8_t { kRuns, kAtWarp, kAtBlock, kDone };

struct Copy {
  void* to;
  const void* from;
  int group;
};

struct Thread {
  ucontext_t context;
  std::unique_ptr<unsigned char[]> stack;
  State state = State::kDone;
  Barrier barrier = Barrier::kSync;
  int meetings = 0;          // of its warp, so far
  std::vector<Copy> copies;  // under way, oldest first
  int copy_groups = 0;       // ended so far
};

struct Warp {
  ExchangeSlot slots[2][kWarp];  // of this meeting, and of the last one that slow lanes still read
};

[[noreturn]] void broken(const char* what, int thread) {
  std::fprintf(stderr, "kernel, thread %d: %s\n", thread, what);
  std::abort();
}

// The block that runs now, and memory for the next ones.
class Block {
 public:
  void run(Grid index, int threads, int shared_bytes, const std::function<void()>& body) {
    index_ = index;
    body_ = &body;
    num_threads_ = threads;
    while (std::ssize(threads_) < threads) {
      threads_.push_back(std::make_unique<Thread>());
      threads_.back()->stack = std::make_unique<unsigned char[]>(kStackBytes);
    }
    warps_.resize(static_cast<size_t>(threads / kWarp));
    // Exactly as much as asked for, so that sanitizers see a step beyond it.
    shared_ = std::make_unique<Float4[]>(static_cast<size_t>(shared_bytes + 15) / 16);
    std::fill_n(reinterpret_cast<float*>(shared_.get()), (shared_bytes + 15) / 16 * 4,
                std::numeric_limits<float>::quiet_NaN());
    for (int t = 0; t < threads; ++t) start(t);
    while (run_to_block_barrier()) {
    }
  }

  Thread& current() { return *threads_[static_cast<size_t>(current_)]; }
  // Leaves the running thread until it may go on.
  void leave(State state) {
    Thread& thread = current();
    thread.state = state;
    swapcontext(&thread.context, &scheduler_);
  }
  ExchangeSlot* slots(int meeting) {
    return warps_[static_cast<size_t>(current_ / kWarp)].slots[meeting % 2];
  }

  int thread_index() const { return current_; }
  int num_threads() const { return num_threads_; }
  Grid index() const { return index_; }
  void* shared() const { return shared_.get(); }
  void set_order(Order order) { order_ = order; }

 private:
  void start(int t) {
    Thread& thread = *threads_[static_cast<size_t>(t)];
    getcontext(&thread.context);
    thread.context.uc_stack.ss_sp = thread.stack.get();
    thread.context.uc_stack.ss_size = kStackBytes;
    thread.context.uc_link = &scheduler_;
    thread.state = State::kRuns;
    thread.meetings = 0;
    thread.copies.clear();
    thread.copy_groups = 0;
    makecontext(&thread.context, &Block::enter, 0);
  }
  static void enter();

  int in_order(int i, int count) const { return order_ == Order::kForward ? i : count - 1 - i; }

  // False when every thread has ended.
  bool run_to_block_barrier() {
    const int num_warps = num_threads_ / kWarp;
    for (int i = 0; i < num_warps; ++i) {
      while (run_to_warp_barrier(in_order(i, num_warps) * kWarp)) {
      }
    }
    const State first = threads_[0]->state;
    for (int t = 0; t < num_threads_; ++t) {
      Thread& thread = *threads_[static_cast<size_t>(t)];
      if (thread.state != first) broken("ends while others of its block wait at a barrier", t);
      if (first == State::kAtBlock) thread.state = State::kRuns;
    }
    return first == State::kAtBlock;
  }

  // Runs every lane of a warp to its next barrier; true if that was one of the warp.
  bool run_to_warp_barrier(int first) {
    for (int i = 0; i < kWarp; ++i) {
      current_ = first + in_order(i, kWarp);
      if (current().state == State::kRuns) swapcontext(&scheduler_, &current().context);
    }
    const Thread& lane0 = *threads_[static_cast<size_t>(first)];
    for (int t = first; t < first + kWarp; ++t) {
      Thread& thread = *threads_[static_cast<size_t>(t)];
      if (thread.state != lane0.state || thread.barrier != lane0.barrier) {
        broken("is not at the barrier of the others of its warp", t);
      }
    }
    if (lane0.state != State::kAtWarp) return false;
    for (int t = first; t < first + kWarp; ++t) {
      threads_[static_cast<size_t>(t)]->state = State::kRuns;
    }
    return true;
  }

  ucontext_t scheduler_;
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<Warp> warps_;
  std::unique_ptr<Float4[]> shared_;
  const std::function<void()>* body_ = nullptr;
  Grid index_;
  int num_threads_ = 0;
  int current_ = 0;
  Order order_ = Order::kForward;
};

Block& block() {
  static thread_local Block block;
  return block;
}

void Block::enter() {
  Block& self = block();
  (*self.body_)();
  self.current().state = State::kDone;
  self.current().barrier = Barrier::kSync;
}

}  // namespace

void set_order(Order order) {
  block().set_order(order);
}

const ExchangeSlot* meet_warp(Barrier kind, const void* value, size_t bytes) {
  Block& here = block();
  Thread& thread = here.current();
  ExchangeSlot* slots = here.slots(thread.meetings++);
  DS_CHECK(bytes <= kMaxExchangeBytes);
  if (bytes > 0) std::memcpy(slots[here.thread_index() % kWarp].bytes, value, bytes);
  thread.barrier = kind;
  here.leave(State::kAtWarp);
  return slots;
}

void meet_block() {
  block().current().barrier = Barrier::kSync;
  block().leave(State::kAtBlock);
}

int thread_index() {
  return block().thread_index();
}
int block_threads() {
  return block().num_threads();
}
Grid block_index() {
  return block().index();
}
void* shared_memory() {
  return block().shared();
}

void begin_copy(void* to, const void* from) {
  DS_CHECK(reinterpret_cast<uintptr_t>(to) % 16 == 0);
  DS_CHECK(reinterpret_cast<uintptr_t>(from) % 16 == 0);
  Thread& thread = block().current();
  thread.copies.push_back({to, from, thread.copy_groups});
}

void end_copy_group() {
  ++block().current().copy_groups;
}

void finish_copies(int groups) {
  Thread& thread = block().current();
  const auto late = [&](const Copy& copy) { return copy.group >= thread.copy_groups - groups; };
  for (const Copy& copy : thread.copies) {
    if (!late(copy)) std::memcpy(copy.to, copy.from, 16);
  }
  std::erase_if(thread.copies, [&](const Copy& copy) { return !late(copy); });
}

void run(Grid grid, int threads, int shared_bytes, const std::function<void()>& body) {
  DS_CHECK(threads > 0 && threads <= 1024 && threads % kWarp == 0);
  for (int z = 0; z < grid.z; ++z) {
    for (int y = 0; y < grid.y; ++y) {
      for (int x = 0; x < grid.x; ++x) block().run({x, y, z}, threads, shared_bytes, body);
    }
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
  const auto half = [](Bf16Pair pair, int i) {
    return bf16_to_f32(static_cast<uint16_t>(i == 0 ? pair.bits & 0xffff : pair.bits >> 16));
  };
  const auto a_at = [&](int row, int k) {
    const auto lane = host::value_of<Operands>(slots[row % 8 * 4 + k % 8 / 2]);
    return half(lane.a.a[row / 8 + k / 8 * 2], k % 2);
  };
  const auto b_at = [&](int k, int column) {
    const auto lane = host::value_of<Operands>(slots[column * 4 + k % 8 / 2]);
    return half(lane.b.b[k / 8], k % 2);
  };
  const int lane = host::thread_index() % kWarp;
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i / 2 * 8;
    const int column = lane % 4 * 2 + i % 2;
    float sum = d.d[i];
    for (int k = 0; k < 16; ++k) sum += a_at(row, k) * b_at(k, column);
    d.d[i] = sum;
  }
}

}  // namespace deltaserve::simt
