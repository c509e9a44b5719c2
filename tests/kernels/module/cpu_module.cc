// A CUDA module with the CPU's backend behind its table. The CPU's kernels are those of the program
// that loads it.
#include <utility>

#include "kernels/base/thread_pool.h"
#include "kernels/cuda/program/backend.h"

namespace deltaserve {
namespace {

ThreadPool* the_thread() {
  static ThreadPool threads(1);
  return &threads;
}

}  // namespace

std::unique_ptr<Backend> cuda::make_cuda_backend(std::unique_ptr<Runtime>, const BackendOptions&) {
  return make_cpu_backend(the_thread());
}

}  // namespace deltaserve
