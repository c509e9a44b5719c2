// The server sets these options of the CUDA module.
#pragma once

namespace deltaserve::cuda {

// Each is a way to be fast that can be left out, for measurements and to find faults: what it
// replaces runs in its place. This crosses the boundary of boundary.h.
struct ModuleOptions {
  bool library = true;  // cuBLASLt multiplies prefill rows
  bool mixer = true;    // one launch decodes a mixer layer
  bool ends = true;     // decode matmuls do the norms, gates and additions around them
  bool graphs = true;   // decode steps are launched as CUDA graphs
  bool overlap = true;  // a launch begins before the one in front of it has ended
};

}  // namespace deltaserve::cuda
