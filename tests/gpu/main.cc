// Measures the CUDA backend on the GPU that is there:
//
//     gpu_bench [--tiny|--quick] [--names] [--seconds S] [--limits READ,UPDATE,FLOPS]
//               [--filter WORDS]... [PART]...
//
// prints one line of JSON a cell. PART is limits (of the machine), decode (the rule and a layer),
// matmuls, prefill, layer (of prefill, launch by launch), model (decode of whole models, with each
// fused piece switched off in turn), launches (of a step, one by one), first (tokens of
// prompts), mixed (steps of both kinds of rows); without a part: everything. --filter
// "matmul q340-in rows=32" measures only cells in whose name all these words occur, and may be
// given several times; --names prints the names. --tiny runs everything once at small sizes, which
// also the emulation can; --quick repeats less, and leaves the plain kernels of prefill to
// comparisons. No cell begins after S seconds. --limits gives what a run of that part measured, in
// bytes and operations a second, so that it is not measured again.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/gpu/bench_device.h"

int main(int argc, char** argv) {
  using namespace deltaserve;
  gpu_bench::Effort effort;
  std::vector<std::string> parts;
  const std::vector<std::string> known = {"limits", "decode",   "matmuls", "prefill", "layer",
                                          "model",  "launches", "first",   "mixed"};
  gpu_bench::Limits limits;
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
    } else if (std::strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) {
      effort.deadline =
          std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(argv[++i]));
    } else if (std::strcmp(argv[i], "--limits") == 0 && i + 1 < argc &&
               std::sscanf(argv[i + 1], "%lf,%lf,%lf", &limits.read_bytes, &limits.update_bytes,
                           &limits.tensor_flops) == 3) {
      ++i;
    } else if (std::strcmp(argv[i], "--filter") == 0 && i + 1 < argc) {
      effort.filters.emplace_back(argv[++i]);
    } else if (std::find(known.begin(), known.end(), argv[i]) != known.end()) {
      parts.emplace_back(argv[i]);
    } else {
      std::fprintf(stderr,
                   "usage: gpu_bench [--tiny|--quick] [--names] [--seconds S] "
                   "[--limits READ,UPDATE,FLOPS] [--filter WORDS]... [limits] [decode] [matmuls] "
                   "[prefill] [layer] [model] [launches] [first] [mixed]\n");
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
  if (!effort.only_names) {
    gpu_bench::Line("device").add("name", runtime->description()).print();
    const bool needed = has("decode") || has("matmuls") || has("model");
    if (has("limits") || (needed && limits.update_bytes == 0)) {
      limits = gpu_bench::measure_limits(*runtime, effort);
    }
  }
  if (has("decode")) gpu_bench::bench_decode(*runtime, effort, limits);
  if (has("decode")) gpu_bench::bench_layer(*runtime, effort, limits);
  if (has("matmuls")) gpu_bench::bench_matmuls(*runtime, effort, limits);
  if (has("prefill")) gpu_bench::bench_prefill(*runtime, effort, limits);
  if (has("layer")) gpu_bench::bench_prefill_layer(*runtime, effort);
  if (has("model")) gpu_bench::bench_model(effort, limits, {.decode = true});
  if (has("launches")) gpu_bench::bench_launches(effort);
  if (has("first") || has("mixed")) {
    gpu_bench::bench_model(effort, limits, {.first = has("first"), .mixed = has("mixed")});
  }
}
