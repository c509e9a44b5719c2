// Compares the speed of matmuls with the limits of the machine: the peak of float multiply-adds and
// the bandwidth of plain reads, both measured in the same run.
//
//     matmul_bench [threads [M]]
//
// There are enough copies of the weights, used in turn, that they leave the caches, as in a model's
// layers.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "hwy/highway.h"
#include "tests/bench/cold_matmul.h"
#include "tests/bench/machine_limits.h"

namespace deltaserve {
namespace {

constexpr double kSecondsOfATest = 0.3;

// Returns the median time of a matmul.
double seconds_of(ColdMatmul& matmul, const ThreadPool& threads) {
  std::vector<double> times;
  const double start = seconds_now(threads);
  while (times.size() < 5 || seconds_now(threads) - start < kSecondsOfATest) {
    const double begin = seconds_now(threads);
    matmul.run();
    times.push_back(seconds_now(threads) - begin);
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
  const double pairs = bf16_pair_peak(threads);
  const double quads = byte_quad_peak(threads);
  if (pairs > 0) std::printf("%.0f GFLOP/s of products of bf16 pairs\n", pairs / 1e9);
  if (quads > 0) std::printf("%.0f GOP/s of products of four bytes\n", quads / 1e9);
  std::printf("%6s %6s %5s %5s %12s %8s %7s %7s\n", "N", "K", "M", "", "GOP/s", "of FMA", "GB/s",
              "of read");
  const MatmulShape shapes[] = {
      {6160, 1024}, {1024, 1024}, {5632, 1024}, {1024, 2816}, {32000, 1024}};
  for (const MatmulShape& shape : shapes) {
    for (const int64_t rows : {1, 8, 32, 512}) {
      if (only_rows != 0 && rows != only_rows) continue;
      for (const WeightFormat format :
           {WeightFormat::kF32, WeightFormat::kBf16, WeightFormat::kInt8, WeightFormat::kInt4}) {
        ColdMatmul matmul(shape, format, rows, threads);
        const double seconds = seconds_of(matmul, threads);
        const auto operations = static_cast<double>(2 * rows * shape.outputs * shape.inputs);
        const double speed = operations / seconds;
        const double stream = static_cast<double>(matmul.weight_bytes()) / seconds;
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
