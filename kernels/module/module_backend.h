// Loads the CUDA backend from its module, a shared library, if that is present when the server
// starts.
#pragma once
#include <memory>
#include <string>

#include "kernels/program/backend.h"

namespace deltaserve {

struct CudaBackend {
  std::unique_ptr<Backend> backend;  // null: see `reason`
  std::string reason;
  bool found = false;  // a module exists, even if it could not be used
};

// Loads the module from `path`. If that is empty it takes the first that exists of: the file named
// by the environment variable DELTASERVE_CUDA_MODULE, libdeltaserve_cuda.so beside the executable,
// in ../lib/deltaserve from there, and the same name on the library path. The module stays loaded
// until the process ends. The environment variable DELTASERVE_CUDA_WITHOUT switches off
// optimisations, for measurements: it has names of members of ModuleOptions with commas between
// them, or "all". With an unknown name there is no backend (`reason`).
CudaBackend load_cuda_backend(const std::string& path = "");

}  // namespace deltaserve
