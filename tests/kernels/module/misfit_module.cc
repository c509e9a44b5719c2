// A CUDA module whose table does not fit: MISFIT names what is wrong with it.
#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <string_view>

#include "kernels/module/boundary.h"

namespace deltaserve::cuda {
namespace {

CrossingType types[std::size(kCrossingTypes)];

[[maybe_unused]] CrossingType& type(std::string_view name) {
  return *std::find_if(std::begin(types), std::end(types),
                       [&](const CrossingType& t) { return t.name == name; });
}

void* create(const ModuleOptions*, char*, size_t) {
  std::abort();  // nobody may come this far
}

ModuleTable misfit() {
  std::copy(std::begin(kCrossingTypes), std::end(kCrossingTypes), types);
  ModuleTable table = {};
  table.num_types = std::size(types);
  table.types = types;
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
