// The options of the CUDA module that the server sets.
#pragma once

namespace deltaserve::cuda {

// Each is an optimisation that can be switched off, for measurements and to find faults; the slower
// way then runs in its place. This struct crosses the boundary of boundary.h.
struct ModuleOptions {
  bool library = true;  // cuBLASLt multiplies prefill rows
  bool mixer = true;    // one launch decodes a mixer layer
  bool ends = true;     // decode matmuls do the norms, gates and additions around them
  bool graphs = true;   // decode steps are launched as CUDA graphs
  bool overlap = true;  // a launch begins before the one before it has ended
};

}  // namespace deltaserve::cuda
