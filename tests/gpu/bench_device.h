// Functions that the GPU benchmarks share: timing on the device, random data there, lines of JSON.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/base/check.h"
#include "kernels/cuda/device/device_memory.h"
#include "kernels/program/backend.h"
#include "kernels/program/state_layout.h"

namespace deltaserve::gpu_bench {

// Seconds of one call, over timed repetitions.
struct Timing {
  double median = 0;
  double p10 = 0;
  double p90 = 0;
};

Timing timing_of(std::vector<double> times);

// Says how thoroughly to measure; `tiny` shrinks every size so that the emulation can run
// everything.
struct Effort {
  bool tiny = false;
  bool quick = false;         // stops at the numbers below, and skips the plain kernels of prefill
  double warm_seconds = 0.3;  // a device that has idled runs slowly at first
  int timed = 50;
  // Selects the cells whose name has all words of one of these; without filters all cells run.
  std::vector<std::string> filters;
  bool only_names = false;  // print the names of cells instead of measuring them
  // No cell begins after this time; a line names those that are left out.
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();

  // Both print the name if only names are wanted, or, after the deadline, that the cell is left
  // out.
  bool wants(const std::string& name) const;
  bool late(const std::string& name) const;
  // The same cells with another thoroughness; tiny stays tiny, and quick gets no slower.
  Effort with(double warm, int times) const;
};

// A cell's name: words, of which the parameters of the cell are written key=value.
class Name {
 public:
  explicit Name(std::string bench) : text_(std::move(bench)) {}
  template <class T>
  Name& add(const char* key, const T& value) {
    text_ += std::string(" ") + key + "=";
    if constexpr (std::is_arithmetic_v<T>) {
      text_ += std::to_string(value);
    } else {
      text_ += value;
    }
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// Time of `body`, which launches `calls` calls, on the device's own clock. Recorded, where the
// runtime can make graphs, the launches become one, so that gaps between launches do not count.
enum class Recorded : uint8_t { kNo, kYes };
Timing time_calls(cuda::Runtime& runtime, const Effort& effort, int calls,
                  const std::function<void()>& body, Recorded recorded = Recorded::kYes);

// The least number of bytes of states that a round reads.
inline constexpr size_t kBeyondCaches = size_t{512} << 20;

// Returns a layer of an official Q-Delta model, whose projections are in adjacent columns.
MixerLayer qdelta_layer(int heads, int key_dim, int value_dim);

// Returns the bytes of a slot that a decode step reads and writes: all of it both, but for the
// rings of raw rows, of which a token writes one row and reads the others.
double decode_bytes(const StateLayout& layout);

// Decode segments of `sets` steps of `batch` rows, each with its own slot; slots in random order,
// as a server's are after a while.
std::vector<Segment> shuffled_segments(int batch, int sets);

template <class T>
cuda::Memory<T> make_memory(cuda::Runtime& runtime, int64_t count) {
  cuda::Memory<T> memory(runtime, std::max<int64_t>(count, 1));
  DS_CHECK(!memory.empty());
  return memory;
}

// Keeps the device busy for some 200 us a launch, so that all later launches are queued before they
// run, and the host's time is not measured.
class Busy {
 public:
  Busy(cuda::Runtime& runtime, const Effort& effort);
  void launch() const;

 private:
  static constexpr int kBusyBlocks = 264;

  cuda::Runtime& runtime_;
  cuda::Memory<simt::Words4> data_;
  cuda::Memory<float> sums_;
};

// Fills memory for results with NaN, so that values that no kernel writes are noticed.
void fill_nan(cuda::Runtime& runtime, void* device, size_t bytes);
template <class T>
cuda::Memory<T> make_results(cuda::Runtime& runtime, int64_t count) {
  cuda::Memory<T> memory = make_memory<T>(runtime, count);
  fill_nan(runtime, memory.get(), memory.bytes());
  return memory;
}

// Fills `count` floats with values in [low, high): a random block of at most 2^20, repeated.
// `rounded`: each is one of bf16's.
void fill_random(cuda::Runtime& runtime, float* device, int64_t count, float low, float high,
                 bool rounded = false);

template <class T>
cuda::Memory<T> upload(cuda::Runtime& runtime, const std::vector<T>& values) {
  cuda::Memory<T> memory = make_memory<T>(runtime, std::ssize(values));
  runtime.copy_in(memory.get(), values.data(), memory.bytes());
  runtime.synchronize();
  return memory;
}

// Aborts if one of the first `count` (at most 2^20) floats is not finite, so that no time is
// printed for invalid results.
void check_finite(cuda::Runtime& runtime, const float* device, int64_t count);

std::vector<float> read(cuda::Runtime& runtime, const float* device, int64_t count);
// |a - b| / |b|
double difference(const std::vector<float>& a, const std::vector<float>& b);

// One line of JSON: {"bench": name, ...}
class Line {
 public:
  explicit Line(const char* bench) : text_(std::string("{\"bench\": \"") + bench + '"') {}
  Line& add(const char* key, double value) {
    char number[32];
    std::snprintf(number, sizeof number, "%.6g", value);
    return raw(key, number);
  }
  Line& add(const char* key, const std::string& value) { return raw(key, '"' + value + '"'); }
  Line& add(const Timing& timing) {
    return add("us", timing.median * 1e6)
        .add("us_p10", timing.p10 * 1e6)
        .add("us_p90", timing.p90 * 1e6);
  }
  void print() const {
    std::printf("%s}\n", text_.c_str());
    std::fflush(stdout);
  }

 private:
  Line& raw(const char* key, const std::string& value) {
    text_ += std::string(", \"") + key + "\": " + value;
    return *this;
  }
  std::string text_;
};

// Bytes a second that a kernel reads, that one reads and writes elsewhere, and that one reads and
// writes in place, as decode does its states; outside of graphs, in which copies are slower.
// Percentages are of the last. Operations of bf16 a second follow from the clock; 0 = unknown.
struct Limits {
  double read_bytes = 0;
  double copy_bytes = 0;
  double update_bytes = 0;
  double tensor_flops = 0;
};
Limits measure_limits(cuda::Runtime& runtime, const Effort& effort);

void bench_matmuls(cuda::Runtime& runtime, const Effort& effort, const Limits& limits);
void bench_prefill_layer(cuda::Runtime& runtime, const Effort& effort);
void bench_launches(const Effort& effort);
void bench_decode(cuda::Runtime& runtime, const Effort& effort, const Limits& limits);
void bench_layer(cuda::Runtime& runtime, const Effort& effort, const Limits& limits);
void bench_prefill(cuda::Runtime& runtime, const Effort& effort, const Limits& limits);
// Says which benchmarks of whole models run.
struct ModelParts {
  bool decode = false;
  bool first = false;  // tokens of prompts
  bool mixed = false;  // steps of both kinds of rows
};
void bench_model(const Effort& effort, const Limits& limits, const ModelParts& parts);

}  // namespace deltaserve::gpu_bench
