#include <cstdio>
#include <exception>
#include <iterator>
#include <memory>
#include <string>

#include "kernels/cuda/device/runtime.h"
#include "kernels/cuda/program/backend.h"
#include "kernels/module/boundary.h"

namespace deltaserve::cuda {
namespace {

void copy_text(const std::string& from, char* to, size_t bytes) {
  std::snprintf(to, bytes, "%s", from.c_str());
}

// Copies the result of body(), or the error of its exception.
template <class Body>
void copy_text_of(const Body& body, char* to, size_t bytes) noexcept {
  try {
    copy_text(body(), to, bytes);
  } catch (const std::exception& error) {
    copy_text(error.what(), to, bytes);
  } catch (...) {
    copy_text("an exception of unknown type", to, bytes);
  }
}

// Wraps a method of Backend as a C function. Functions without a text result are noexcept, because
// no caller could go on after an exception in the middle of a step.
template <auto kMethod, class Method>
struct Forward;
template <auto kMethod, class Result, class... Arguments>
struct Forward<kMethod, Result (Backend::*)(Arguments...)> {
  static Result call(void* self, typename Crossing<Arguments>::Type... crossed) noexcept {
    return (static_cast<Backend*>(self)->*kMethod)(Crossing<Arguments>::in(crossed)...);
  }
};
template <auto kMethod, class... Arguments>
struct Forward<kMethod, std::string (Backend::*)(Arguments...)> {
  static void call(void* self, typename Crossing<Arguments>::Type... crossed, char* text,
                   size_t bytes) noexcept {
    const auto body = [&] {
      return (static_cast<Backend*>(self)->*kMethod)(Crossing<Arguments>::in(crossed)...);
    };
    copy_text_of(body, text, bytes);
  }
};
template <auto kMethod, class Result, class... Arguments>
struct Forward<kMethod, Result (Backend::*)(Arguments...) const>
    : Forward<kMethod, Result (Backend::*)(Arguments...)> {};

void* create(const ModuleOptions* options, char* reason, size_t bytes) noexcept {
  Backend* made = nullptr;
  const auto body = [&] {
    std::string error;
    std::unique_ptr<Runtime> runtime = Runtime::create(&error);
    if (runtime == nullptr) return error;
    BackendOptions chosen;
    chosen.matmuls = options->library ? MatmulKernels::kExact : MatmulKernels::kTensor;
    chosen.graphs = options->graphs;
    chosen.overlap = options->overlap;
    chosen.one_launch_mixer = options->mixer;
    chosen.matmul_ends = options->ends;
    made = make_cuda_backend(std::move(runtime), chosen).release();
    return error;
  };
  copy_text_of(body, reason, bytes);
  return made;
}

void destroy(void* self) noexcept {
  delete static_cast<Backend*>(self);
}

constexpr ModuleTable kTable = {.num_types = std::size(kCrossingTypes),
                                .types = kCrossingTypes,
                                .create = create,
                                .destroy = destroy,
#define X(result, name, parameters, qualifier, arguments) \
  .name = Forward<&Backend::name, decltype(&Backend::name)>::call,
                                DELTASERVE_BACKEND_CALLS(X)
#undef X
};

}  // namespace
}  // namespace deltaserve::cuda

extern "C" __attribute__((visibility("default"))) const deltaserve::cuda::ModuleTable*
deltaserve_cuda_module() {
  return &deltaserve::cuda::kTable;
}
