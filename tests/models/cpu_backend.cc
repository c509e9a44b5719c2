#include "tests/models/test_backend.h"

namespace deltaserve {

std::unique_ptr<Backend> make_test_backend(ThreadPool* threads) {
  return make_cpu_backend(threads);
}

double golden_tolerance(const MixerShape&) {
  return 1e-5;
}

}  // namespace deltaserve
