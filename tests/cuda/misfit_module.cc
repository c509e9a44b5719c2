// A CUDA module whose table does not fit: MISFIT names what is wrong with it.
#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "kernels/cuda/module.h"

namespace deltaserve::cuda {
namespace {

CrossingStruct structs[std::size(kCrossingStructs)];

void* create(const ModuleOptions*, char*, size_t) {
  std::abort();  // nobody may come this far
}

ModuleTable misfit() {
  std::copy(std::begin(kCrossingStructs), std::end(kCrossingStructs), structs);
  ModuleTable table = {};
  table.version = kModuleVersion;
  table.mixers = mixers_fingerprint();
  table.num_structs = std::size(structs);
  table.structs = structs;
  table.create = create;
  MISFIT;
  return table;
}

}  // namespace
}  // namespace deltaserve::cuda

extern "C" __attribute__((visibility("default"))) const deltaserve::cuda::ModuleTable*
deltaserve_cuda_module() {
  static const deltaserve::cuda::ModuleTable table = deltaserve::cuda::misfit();
  return &table;
}
