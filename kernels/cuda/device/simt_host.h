// simt.h by any compiler: blocks run one after the other, their threads as coroutines of one thread
// of the processor, from barrier to barrier. Included from simt.h only.
//
// It aborts, with the reason, where a kernel would hang or race on a GPU: threads of a block or
// warp that do not all reach the same barrier, or do not await what was launched before. Shared
// memory begins as NaN, and the threads between two barriers run in an order that tests choose, so
// that a missing barrier changes results, and so do the blocks of a launch.
#pragma once
#include <cstring>
#include <functional>
#include <type_traits>
#include <vector>

#define DS_DEVICE inline
#define DS_KERNEL
#define DS_CONSTANT
#define DS_BOUNDS(threads, blocks)
#define DS_UNROLL

namespace deltaserve::simt {

namespace host {

// A kernel with its arguments, for every thread of every block; `cluster_blocks` neighbours in x
// run together.
struct Launch {
  Grid grid;
  int cluster_blocks = 1;
  int threads = 0;
  int shared_bytes = 0;
  std::function<void()> body;
  bool overlaps = false;
};

// A stream does works in order: each is a launch or, without threads, a copy.
struct Work {
  Launch launch;
  std::function<void()> copy;
};

// Runs the first `count`, in order. Of a launch that overlaps, the block that comes first runs up
// to await_launches_before() in front of the launch before: what it reads too early is old.
void run(const std::vector<Work>& works, size_t count);

}  // namespace host

// Launches wait in `queue` to run later, in order; if it is null, they run at once.
struct Stream {
  std::vector<host::Work>* queue = nullptr;
  bool overlaps = false;
};

// Benchmarks set it. Every launch calls it, one of cuBLASLt's with a null `kernel`.
inline std::function<void(const Stream& stream, const void* kernel)> launch_observer;

namespace host {

enum class Order { kForward, kBackward };

// Sets the order in which a block's threads run between two barriers, from now on.
void set_order(Order order);

enum class Barrier : uint8_t { kSync, kSum, kMin, kProduct, kLane, kMatrices };

inline constexpr int kMaxExchangeBytes = 128;
struct alignas(16) ExchangeSlot {
  unsigned char bytes[kMaxExchangeBytes];
};

// Every lane of the warp gives `bytes` of `value`; returns what all 32 lanes gave.
const ExchangeSlot* meet_warp(Barrier kind, const void* value, size_t bytes);
void meet_block();
void meet_cluster();
void await_launches_before();
int thread_index();
int block_threads();
Grid block_index();
void* shared_memory();
void* shared_memory_of(int rank);

// Copies of 16 bytes of the running thread. Their data arrives as late as a GPU may deliver it, in
// finish_copies, which leaves the last `groups` groups under way, and NaN stands there until then;
// with Order::kBackward as early, at once.
void begin_copy(void* to, const void* from);
void end_copy_group();
void finish_copies(int groups);

// Counts the values that kernels noted as read since the process began.
inline int64_t noted_reads = 0;
inline int64_t prefetched_bytes = 0;
// Aborts where a GPU would refuse to prefetch, and reads both ends, so that sanitizers look at
// them.
void check_prefetch(const void* at, uint32_t bytes);

template <class T>
T value_of(const ExchangeSlot& slot) {
  T value;
  std::memcpy(&value, slot.bytes, sizeof value);
  return value;
}

}  // namespace host

inline int thread_index() {
  return host::thread_index();
}
inline int block_threads() {
  return host::block_threads();
}
inline Grid block_index() {
  return host::block_index();
}
inline void await_launches_before() {
  host::await_launches_before();
}

inline void sync_block() {
  host::meet_block();
}
inline void* shared_memory() {
  return host::shared_memory();
}
inline void sync_cluster() {
  host::meet_cluster();
}
inline float load_of_cluster(const float* shared, int rank) {
  const auto offset = reinterpret_cast<const unsigned char*>(shared) -
                      static_cast<const unsigned char*>(host::shared_memory());
  const void* from = static_cast<unsigned char*>(host::shared_memory_of(rank)) + offset;
  return *static_cast<const float*>(from);
}

// Does the butterfly in one meeting.
template <int Width, int Count>
void lanes_sum(float (&values)[Count]) {
  const int lane = host::thread_index() % kWarp;
  const int first = lane / Width * Width;
  const auto* slots = host::meet_warp(host::Barrier::kSum, values, sizeof values);
  for (int i = 0; i < Count; ++i) {
    float sums[Width];
    for (int j = 0; j < Width; ++j) {
      std::memcpy(&sums[j], slots[first + j].bytes + i * sizeof(float), sizeof(float));
    }
    // Every lane of a butterfly ends with this sum: additions commute.
    for (int mask = Width / 2; mask > 0; mask /= 2) {
      for (int j = 0; j < mask; ++j) sums[j] += sums[j + mask];
    }
    values[i] = sums[0];
  }
}
inline float warp_sum(float value) {
  float values[1] = {value};
  lanes_sum<kWarp>(values);
  return values[0];
}

// Returns the one value that scattered_sum leaves in this lane, in one meeting.
template <int Width, int Count>
float scattered_sum(const float (&values)[Count]) {
  static_assert(Count <= Width);
  const int lane = host::thread_index() % kWarp;
  const int first = lane / Width * Width;
  const int of = lane % Width * Count / Width;
  const auto* slots = host::meet_warp(host::Barrier::kSum, values, sizeof values);
  float sums[Width];
  for (int j = 0; j < Width; ++j) {
    std::memcpy(&sums[j], slots[first + j].bytes + of * sizeof(float), sizeof(float));
  }
  for (int mask = Width / 2; mask > 0; mask /= 2) {
    for (int j = 0; j < mask; ++j) sums[j] += sums[j + mask];
  }
  return sums[0];
}
inline float exchange(float value, int mask) {
  const int lane = host::thread_index() % kWarp;
  const auto* slots = host::meet_warp(host::Barrier::kLane, &value, sizeof value);
  return host::value_of<float>(slots[lane ^ mask]);
}

template <int Count>
void warp_sum(double (&values)[Count]) {
  const int lane = host::thread_index() % kWarp;
  const auto* slots = host::meet_warp(host::Barrier::kSum, values, sizeof values);
  for (int i = 0; i < Count; ++i) {
    double sums[kWarp];
    for (int j = 0; j < kWarp; ++j) {
      std::memcpy(&sums[j], slots[j].bytes + i * sizeof(double), sizeof(double));
    }
    for (int mask = kWarp / 2; mask > 0; mask /= 2) {
      double next[kWarp];
      for (int j = 0; j < kWarp; ++j) next[j] = sums[j] + sums[j ^ mask];
      std::memcpy(sums, next, sizeof sums);
    }
    values[i] = sums[lane];
  }
}
inline uint64_t warp_min(uint64_t value) {
  const auto* slots = host::meet_warp(host::Barrier::kMin, &value, sizeof value);
  for (int j = 0; j < kWarp; ++j) {
    const auto other = host::value_of<uint64_t>(slots[j]);
    value = other < value ? other : value;
  }
  return value;
}

inline double from_lane(double value, int lane) {
  const auto* slots = host::meet_warp(host::Barrier::kLane, &value, sizeof value);
  return host::value_of<double>(slots[lane]);
}

template <int Step, int Count>
void from_lanes(float value, int first, float (&to)[Count]) {
  const auto* slots = host::meet_warp(host::Barrier::kLane, &value, sizeof value);
  for (int i = 0; i < Count; ++i) to[i] = host::value_of<float>(slots[first + i * Step]);
}

inline int count_shared(int* counter, int value) {
  const int before = *counter;
  *counter = before + value;
  return before;
}

inline float rounded_product(float a, float b) {
  return a * b;
}

inline float rounded_difference(float a, float b) {
  return a - b;
}

inline Bf16Pair pack_bf16(float low, float high) {
  return {uint32_t{f32_to_bf16(low)} | (uint32_t{f32_to_bf16(high)} << 16)};
}
inline Words4 load_once(const Words4* at) {
  return *at;
}
inline void store_once(Words4* at, const Words4& value) {
  *at = value;
}
inline void prefetch(const void* at, uint32_t bytes) {
  host::check_prefetch(at, bytes);
}
inline void note_reads(int count) {
  host::noted_reads += count;
}

template <class T>
T* opaque(T* pointer) {
  return pointer;
}
inline void keep_loads_in_front() {}
inline Float4 load_shared(const float* from) {
  return {{from[0], from[1], from[2], from[3]}};
}
inline Words4 load_in_order(const Words4* at, int index) {
  return at[index];
}

void multiply_add(const MmaA& a, const MmaB& b, MmaD& d);
Words4 load_matrices(const void* row);
Words4 load_transposed_matrices(const void* row);

inline void copy_async(void* to, const void* from) {
  host::begin_copy(to, from);
}
inline void commit_copies() {
  host::end_copy_group();
}
template <int N>
void wait_copies() {
  host::finish_copies(N);
}

inline int most_shared_bytes() {
  return kLargestSharedBytes;
}

// A launch keeps copies of its arguments, as a GPU does.
template <class... Parameters, class... Arguments>
void launch_clusters(Stream stream, Grid grid, int cluster_blocks, int threads, int shared_bytes,
                     void (*kernel)(Parameters...), const Arguments&... arguments) {
  const host::Work work = {
      {grid, cluster_blocks, threads, shared_bytes, [=] { kernel(arguments...); }, stream.overlaps},
      {}};
  if (stream.queue == nullptr) {
    host::run({work}, 1);
  } else {
    stream.queue->push_back(work);
  }
  if (launch_observer) launch_observer(stream, reinterpret_cast<const void*>(kernel));
}
template <class... Parameters, class... Arguments>
void launch(Stream stream, Grid grid, int threads, int shared_bytes, void (*kernel)(Parameters...),
            const Arguments&... arguments) {
  launch_clusters(stream, grid, 1, threads, shared_bytes, kernel, arguments...);
}

}  // namespace deltaserve::simt
