// The host's data for the forward pass of a step: tokens, segments, chunks. One copy transfers all
// of it. Its place on the device depends only on the sizes of the step, so that one graph serves
// all steps of the same sizes.
#pragma once
#include <cstdint>

#include "kernels/cuda/device/device_memory.h"
#include "kernels/cuda/rule/layer_call.h"

namespace deltaserve::cuda {

struct StepLimits {
  int64_t rows = 0;
  int64_t segments = 0;

  int64_t chunks() const { return rows / kChunkTokens + segments; }
};

// Returns the number of rows to which a decode step is padded, so that few graphs serve all steps:
// 1, 2, 4, 8, 16, then the powers of two and one and a half times them.
int32_t padded_batch(int32_t rows);

// A step in the form that kernels read; pointers are to the device's memory.
struct DeviceStep {
  StepView view;
  const int32_t* row_segments = nullptr;  // [num_rows]
  const Chunk* chunks = nullptr;
  int32_t num_chunks = 0;
};

class StepMemory {
 public:
  // Allocates the memory. Returns false if there is not enough. `runtime` must outlive this object.
  bool reserve(Runtime& runtime, const StepLimits& limits);
  size_t bytes() const { return device_.bytes(); }

  // Copies the step to the device. A step whose segments are all decode rows is filled up with
  // padding to `padded_rows`; 0 = as it is. The copy of the call before the last one must be over.
  DeviceStep copy_in(const StepView& step, int32_t padded_rows);

 private:
  struct Parts;

  static void fill(const StepView& step, const Parts& parts, unsigned char* to);

  Runtime* runtime_ = nullptr;
  StepLimits limits_;
  Memory<unsigned char> device_;
  HostMemory<unsigned char> staging_[2];
  int turn_ = 0;
};

}  // namespace deltaserve::cuda
