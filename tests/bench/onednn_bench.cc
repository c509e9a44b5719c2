// Compares our matmuls with oneDNN's, in turn and in one process, because other users of this
// machine can slow it by half from one second to the next. It prints, for every cell, the medians
// over rounds and the median of the rounds' own ratios. oneDNN has its weights in the layout it
// asks for; the faster of its matmul and its inner product counts in every round. Our bf16 is
// compared with its bf16 if the processor has instructions for it, else with its f32.
//
//     OMP_NUM_THREADS=2 onednn_bench [rounds [M]]
//
// Both use OMP_NUM_THREADS threads, or as many as there are cores.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <oneapi/dnnl/dnnl.hpp>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "kernels/base/dtype.h"
#include "kernels/cpu/matmul_support.h"
#include "tests/bench/cold_matmul.h"
#include "tests/bench/machine_limits.h"

namespace deltaserve {
namespace {

using DataType = dnnl::memory::data_type;
using Tag = dnnl::memory::format_tag;

constexpr double kSecondsOfATurn = 0.02;
// The library's threads wait for work in a loop and sleep after this time.
constexpr std::chrono::milliseconds kPause{30};

struct Library {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
};

// The data types of a matmul's source, weights and destination.
struct Types {
  DataType source;
  DataType weights;
  DataType out;
};
constexpr Types kFloat = {DataType::f32, DataType::f32, DataType::f32};
constexpr Types kBf16 = {DataType::bf16, DataType::bf16, DataType::f32};
// oneDNN's sums of two products saturate at 16 bits without VNNI.
constexpr Types kBytes = {DataType::u8, DataType::s8, DataType::s32};

class LibraryMatmul {
 public:
  enum class Kind { kMatmul, kInnerProduct };

  LibraryMatmul(Library& library, Kind kind, const Types& types, const MatmulShape& shape,
                int64_t rows)
      : library_(library) {
    const dnnl::memory::desc source({rows, shape.inputs}, types.source, Tag::ab);
    const dnnl::memory::desc out({rows, shape.outputs}, types.out, Tag::ab);
    dnnl::memory::desc weights;
    if (kind == Kind::kMatmul) {
      const dnnl::memory::desc any({shape.inputs, shape.outputs}, types.weights, Tag::any);
      const dnnl::matmul::primitive_desc chosen({source, any, out}, library.engine);
      weights = chosen.weights_desc();
      primitive_ = dnnl::matmul(chosen);
    } else {
      const dnnl::memory::desc any({shape.outputs, shape.inputs}, types.weights, Tag::any);
      const dnnl::inner_product_forward::primitive_desc chosen(
          {dnnl::prop_kind::forward_inference, source, any, out}, library.engine);
      weights = chosen.weights_desc();
      primitive_ = dnnl::inner_product_forward(chosen);
    }
    const dnnl::memory x = filled(source, types.source);
    const dnnl::memory y(out, library.engine);
    const size_t copies = std::max<size_t>(2, kColdBytes / weights.get_size() + 1);
    for (size_t i = 0; i < copies; ++i) {
      arguments_.push_back({{DNNL_ARG_SRC, x},
                            {DNNL_ARG_WEIGHTS, filled(weights, types.weights)},
                            {DNNL_ARG_DST, y}});
    }
  }

  void run() {
    primitive_.execute(library_.stream, arguments_[turn_]);
    library_.stream.wait();
    turn_ = (turn_ + 1) % arguments_.size();
  }

 private:
  // Fills memory with bytes below 64, which do not saturate, or floats and bf16 numbers in [-1, 1].
  dnnl::memory filled(const dnnl::memory::desc& desc, DataType type) {
    dnnl::memory memory(desc, library_.engine);
    void* data = memory.get_data_handle();
    if (type == DataType::bf16) {
      auto* halves = static_cast<uint16_t*>(data);
      for (size_t i = 0; i < desc.get_size() / sizeof(uint16_t); ++i) {
        halves[i] = f32_to_bf16(static_cast<float>(i % 253) / 126 - 1);
      }
    } else if (type != DataType::f32) {
      auto* bytes = static_cast<unsigned char*>(data);
      for (size_t i = 0; i < desc.get_size(); ++i) bytes[i] = static_cast<unsigned char>(i % 63);
    } else {
      auto* floats = static_cast<float*>(data);
      for (size_t i = 0; i < desc.get_size() / sizeof(float); ++i) {
        floats[i] = static_cast<float>(i % 253) / 126 - 1;
      }
    }
    return memory;
  }

  Library& library_;
  dnnl::primitive primitive_;
  std::vector<std::unordered_map<int, dnnl::memory>> arguments_;
  size_t turn_ = 0;
};

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Returns matmuls per second, measured for kSecondsOfATurn.
template <class Matmul>
double turn(Matmul& matmul) {
  matmul.run();
  int64_t count = 0;
  const double begin = seconds_now();
  double seconds = 0;
  while (seconds < kSecondsOfATurn) {
    matmul.run();
    ++count;
    seconds = seconds_now() - begin;
  }
  std::this_thread::sleep_for(kPause);
  return static_cast<double>(count) / seconds;
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

// The library's matmuls for one set of data types, of which the faster counts.
class Yardstick {
 public:
  Yardstick(Library& library, const Types& types, const MatmulShape& shape, int64_t rows)
      : matmul_(library, LibraryMatmul::Kind::kMatmul, types, shape, rows),
        inner_product_(library, LibraryMatmul::Kind::kInnerProduct, types, shape, rows) {}

  void measure() { rates_.push_back(std::max(turn(matmul_), turn(inner_product_))); }
  const std::vector<double>& rates() const { return rates_; }

 private:
  LibraryMatmul matmul_;
  LibraryMatmul inner_product_;
  std::vector<double> rates_;
};

// One of our formats and the yardstick it is compared with.
struct Ours {
  WeightFormat format;
  Yardstick& theirs;
  ColdMatmul matmul;
  std::vector<double> rates = {};
  std::vector<double> ratios = {};

  void measure() {
    rates.push_back(turn(matmul));
    ratios.push_back(rates.back() / theirs.rates().back());
  }
};

class Cell {
 public:
  Cell(Library& library, const MatmulShape& shape, int64_t rows, ThreadPool& threads)
      : shape_(shape),
        rows_(rows),
        threads_(threads),
        floats_(library, kFloat, shape, rows),
        bytes_(library, kBytes, shape, rows) {
    if (has_bf16()) halves_.emplace(library, kBf16, shape, rows);
    for (const WeightFormat format : kOurs) {
      ours_.push_back({format, yardstick(format), ColdMatmul(shape, format, rows, threads)});
    }
  }

  void measure(int rounds) {
    for (int i = 0; i < rounds; ++i) {
      peaks_.push_back(fma_peak(threads_));
      for (Ours& ours : ours_) {
        // Its yardstick runs right before it; int4 shares that of int8.
        if (ours.theirs.rates().size() == static_cast<size_t>(i)) ours.theirs.measure();
        ours.measure();
      }
    }
  }

  void print() const {
    const auto giga = 2e-9 * static_cast<double>(rows_ * shape_.outputs * shape_.inputs);
    const double halves = halves_ ? giga * median(halves_->rates()) : 0;
    std::printf("%6ld %6ld %5ld %6.0f %8.0f %9.0f %8.0f", shape_.outputs, shape_.inputs, rows_,
                median(peaks_) / 1e9, giga * median(floats_.rates()), halves,
                giga * median(bytes_.rates()));
    for (const Ours& ours : ours_) {
      std::printf("  %6.0f %5.2f", giga * median(ours.rates), median(ours.ratios));
    }
    std::printf("\n");
    std::fflush(stdout);
  }

  static void print_head() {
    std::printf("%6s %6s %5s %6s %8s %9s %8s", "N", "K", "M", "FMA", "dnnl f32", "dnnl bf16",
                "dnnl u8");
    for (const WeightFormat format : kOurs) {
      std::printf("  %6s %5s", weight_format_name(format), "x");
    }
    std::printf("\n");
  }

 private:
  static constexpr WeightFormat kOurs[] = {WeightFormat::kF32, WeightFormat::kBf16,
                                           WeightFormat::kInt8, WeightFormat::kInt4};

  static bool has_bf16() { return cpu::matmul_support().bf16 == cpu::Bf16Panels::kPairs; }
  Yardstick& yardstick(WeightFormat format) {
    if (format == WeightFormat::kInt8 || format == WeightFormat::kInt4) return bytes_;
    return format == WeightFormat::kBf16 && halves_ ? *halves_ : floats_;
  }

  MatmulShape shape_;
  int64_t rows_;
  ThreadPool& threads_;
  Yardstick floats_;
  std::optional<Yardstick> halves_;
  Yardstick bytes_;
  std::vector<Ours> ours_;
  std::vector<double> peaks_;
};

void run(int num_threads, int rounds, int64_t only_rows) {
  Library library;
  ThreadPool threads(num_threads);
  const dnnl_version_t* version = dnnl_version();
  std::printf("oneDNN %d.%d.%d, %d threads, %d rounds; GOP/s, x: of oneDNN's f32, bf16 or u8s8\n",
              version->major, version->minor, version->patch, num_threads, rounds);
  Cell::print_head();
  for (const MatmulShape& shape : {MatmulShape{6160, 1024}, {5632, 1024}, {1024, 2816}}) {
    for (const int64_t rows : {1, 8, 32, 512}) {
      if (only_rows != 0 && rows != only_rows) continue;
      Cell cell(library, shape, rows, threads);
      cell.measure(rounds);
      cell.print();
    }
  }
}

}  // namespace
}  // namespace deltaserve

int main(int argc, char** argv) {
  const char* threads = std::getenv("OMP_NUM_THREADS");
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  deltaserve::run(std::max(1, threads != nullptr ? std::atoi(threads) : cores),
                  argc > 1 ? std::max(1, std::atoi(argv[1])) : 15,
                  argc > 2 ? std::atoi(argv[2]) : 0);
}
