// Measures the CUDA backend on the GPU that is there:
//
//     gpu_bench [--tiny|--quick] [--names] [--filter WORDS]... [PART]...
//
// prints one line of JSON a cell, the machine's limits first. PART is products, decode, prefill,
// layer (of prefill, launch by launch), model, or of the whole models only first (tokens of
// prompts) or mixed (steps of both kinds of rows); without a part: everything. --filter
// "product q340-in rows=32" measures only cells in whose name all these words occur, and may be
// given several times; --names prints the names. --tiny runs everything once at small sizes, which
// also the emulation can; --quick repeats less, and leaves the plain kernels of prefill to
// comparisons.
#include <algorithm>
#include <cstring>

#include "tests/gpu/bench_device.h"

int main(int argc, char** argv) {
  using namespace deltaserve;
  gpu_bench::Effort effort;
  std::vector<std::string> parts;
  const std::vector<std::string> known = {"products", "decode", "prefill", "layer",
                                          "first",    "mixed",  "model"};
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--tiny") == 0) {
      effort.tiny = true;
      effort.warm_seconds = 0;
      effort.timed = 1;
    } else if (std::strcmp(argv[i], "--quick") == 0) {
      effort.quick = true;
      effort.warm_seconds = 0.1;
      effort.timed = 15;
    } else if (std::strcmp(argv[i], "--names") == 0) {
      effort.only_names = true;
    } else if (std::strcmp(argv[i], "--filter") == 0 && i + 1 < argc) {
      effort.filters.emplace_back(argv[++i]);
    } else if (std::find(known.begin(), known.end(), argv[i]) != known.end()) {
      parts.emplace_back(argv[i]);
    } else {
      std::fprintf(stderr,
                   "usage: gpu_bench [--tiny|--quick] [--names] [--filter WORDS]... [products] "
                   "[decode] [prefill] [layer] [first] [mixed] [model]\n");
      return 2;
    }
  }
  const auto has = [&](const char* part) {
    return parts.empty() || std::find(parts.begin(), parts.end(), part) != parts.end();
  };
  std::string error;
  const std::unique_ptr<cuda::Runtime> runtime = cuda::Runtime::create(&error);
  if (runtime == nullptr) {
    std::fprintf(stderr, "no GPU: %s\n", error.c_str());
    return 1;
  }
  gpu_bench::Limits limits;
  if (!effort.only_names) {
    gpu_bench::Line("device").add("name", runtime->description()).print();
    if (has("products") || has("decode") || has("model")) {
      limits = gpu_bench::measure_limits(*runtime, effort);
    }
  }
  if (has("products")) gpu_bench::bench_matmuls(*runtime, effort, limits);
  if (has("decode")) gpu_bench::bench_layer(*runtime, effort, limits);
  if (has("decode")) gpu_bench::bench_decode(*runtime, effort, limits);
  if (has("prefill")) gpu_bench::bench_prefill(*runtime, effort, limits);
  if (has("layer")) gpu_bench::bench_prefill_layer(*runtime, effort);
  const bool model = has("model");
  gpu_bench::bench_model(effort, limits, {model, model || has("first"), model || has("mixed")});
}
