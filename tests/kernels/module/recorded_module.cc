#include "tests/kernels/module/recorded_module.h"

#include <string>

#include "kernels/cuda/program/backend.h"

namespace deltaserve {
namespace {

std::string calls;

}  // namespace

std::unique_ptr<Backend> cuda::make_cuda_backend(std::unique_ptr<Runtime>,
                                                 const BackendOptions& options) {
  calls += "with";
  if (options.matmuls == MatmulKernels::kExact) calls += " library";
  if (options.one_launch_mixer) calls += " mixer";
  if (options.matmul_ends) calls += " ends";
  if (options.graphs) calls += " graphs";
  if (options.overlap) calls += " overlap";
  calls += "\n";
  return make_recording_backend(&calls);
}

}  // namespace deltaserve

extern "C" __attribute__((visibility("default"))) const char* deltaserve_recorded_calls() {
  return deltaserve::calls.c_str();
}
