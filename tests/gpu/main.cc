// Measures the CUDA backend on the GPU that is there:
//
//     gpu_bench [--tiny] [decode] [prefill] [model]
//
// prints one line of JSON a cell, the machine's limits first. Without a name: everything. --tiny
// runs everything once at small sizes, which also the emulation can.
#include <cstring>

#include "tests/gpu/bench_device.h"

int main(int argc, char** argv) {
  using namespace deltaserve;
  gpu_bench::Effort effort;
  bool decode = false;
  bool prefill = false;
  bool model = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--tiny") == 0) {
      effort = {true, 0, 1};
    } else if (std::strcmp(argv[i], "decode") == 0) {
      decode = true;
    } else if (std::strcmp(argv[i], "prefill") == 0) {
      prefill = true;
    } else if (std::strcmp(argv[i], "model") == 0) {
      model = true;
    } else {
      std::fprintf(stderr, "usage: gpu_bench [--tiny] [decode] [prefill] [model]\n");
      return 2;
    }
  }
  const bool all = !decode && !prefill && !model;
  std::string error;
  const std::unique_ptr<cuda::Runtime> runtime = cuda::Runtime::create(&error);
  if (runtime == nullptr) {
    std::fprintf(stderr, "no GPU: %s\n", error.c_str());
    return 1;
  }
  gpu_bench::Line("device").add("name", runtime->description()).print();
  const gpu_bench::Limits limits = gpu_bench::measure_limits(*runtime, effort);
  if (all || decode) gpu_bench::bench_layer(*runtime, effort, limits);
  if (all || decode) gpu_bench::bench_decode(*runtime, effort, limits);
  if (all || prefill) gpu_bench::bench_prefill(*runtime, effort, limits);
  if (all || model) gpu_bench::bench_model(effort, limits);
}
