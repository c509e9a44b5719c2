// What the products of weights and activations reach, against what the machine allows: the peak of
// float multiply-adds and the bandwidth of plain reads, measured beside them.
//
//     matmul_bench [threads [M]]
//
// Weights go round through enough copies to leave the caches, as a model's layers do.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>
#include <vector>

#include "hwy/highway.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/product_support.h"
#include "tests/bench/machine_limits.h"

namespace deltaserve {
namespace {

constexpr size_t kWeightBytes = size_t{96} << 20;  // of all copies
constexpr double kSecondsOfATest = 0.3;

struct Shape {
  int64_t outputs;
  int64_t inputs;
};

double seconds_of_a_product(const Shape& shape, WeightFormat format, int64_t rows,
                            ThreadPool& threads, size_t* bytes) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> weights(static_cast<size_t>(shape.outputs * shape.inputs));
  std::vector<float> x(static_cast<size_t>(rows * shape.inputs));
  for (float& value : weights) value = uniform(random);
  for (float& value : x) value = uniform(random);
  std::vector<float> out(static_cast<size_t>(rows * shape.outputs));
  const HostMatrix source = {weights.data(), Dtype::kF32, shape.outputs, shape.inputs};
  std::vector<cpu::PackedMatrix> copies;
  copies.push_back(cpu::pack_matrix(&source, 1, format, threads, cpu::product_support().bf16));
  *bytes = copies[0].bytes();
  while (copies.size() * *bytes < kWeightBytes) {
    copies.push_back({copies[0].format, copies[0].bf16_panels, copies[0].rows, copies[0].columns,
                      cpu::allocate_aligned<unsigned char>(*bytes)});
    std::copy_n(copies[0].data.get(), *bytes, copies.back().data.get());
  }
  cpu::QuantizedRows scratch;
  if (!scratch.reserve(rows, shape.inputs)) std::abort();
  const cpu::IntegerPath path = cpu::product_support().integers;
  // The median over rounds, each of some products.
  std::vector<double> times;
  size_t copy = 0;
  const double start = seconds_now(threads);
  while (times.size() < 5 || seconds_now(threads) - start < kSecondsOfATest) {
    const double begin = seconds_now(threads);
    cpu::matmul(x.data(), shape.inputs, copies[copy], rows, false, out.data(), shape.outputs, path,
                scratch, threads);
    times.push_back(seconds_now(threads) - begin);
    copy = (copy + 1) % copies.size();
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

void run(int num_threads, int64_t only_rows) {
  ThreadPool threads(num_threads);
  const double peak = fma_peak(threads);
  const double bandwidth = read_bandwidth(threads);
  std::printf("%s, %d threads: %.0f GFLOP/s of float multiply-adds, reads at %.1f GB/s\n",
              hwy::TargetName(hwy::SupportedTargets() & -hwy::SupportedTargets()), num_threads,
              peak / 1e9, bandwidth / 1e9);
  std::printf("%6s %6s %5s %5s %12s %8s %7s %7s\n", "N", "K", "M", "", "GOP/s", "of FMA", "GB/s",
              "of read");
  const Shape shapes[] = {{6160, 1024}, {1024, 1024}, {5632, 1024}, {1024, 2816}, {32000, 1024}};
  for (const Shape& shape : shapes) {
    for (const int64_t rows : {1, 8, 32, 512}) {
      if (only_rows != 0 && rows != only_rows) continue;
      for (const WeightFormat format :
           {WeightFormat::kF32, WeightFormat::kBf16, WeightFormat::kInt8, WeightFormat::kInt4}) {
        size_t bytes = 0;
        const double seconds = seconds_of_a_product(shape, format, rows, threads, &bytes);
        const auto operations = static_cast<double>(2 * rows * shape.outputs * shape.inputs);
        const double speed = operations / seconds;
        const double stream = static_cast<double>(bytes) / seconds;
        std::printf("%6ld %6ld %5ld %5s %12.1f %7.0f%% %7.1f %6.0f%%\n", shape.outputs,
                    shape.inputs, rows, weight_format_name(format), speed / 1e9, 100 * speed / peak,
                    stream / 1e9, 100 * stream / bandwidth);
        std::fflush(stdout);
      }
    }
  }
}

}  // namespace
}  // namespace deltaserve

int main(int argc, char** argv) {
  const int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  deltaserve::run(argc > 1 ? std::max(1, std::atoi(argv[1])) : cores,
                  argc > 2 ? std::atoi(argv[2]) : 0);
}
