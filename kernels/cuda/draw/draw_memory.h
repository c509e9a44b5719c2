// The host's data for the draws of a step: rows, settings, adjustments and masks.
#pragma once
#include <cstdint>

#include "kernels/cuda/device/device_memory.h"
#include "kernels/cuda/draw/draw.h"

namespace deltaserve::cuda {

struct DrawLimits {
  int64_t draws = 0;
  int64_t vocab = 0;
  // Bytes for the adjustments and masks of a step's draws; one draw with the most of both always
  // fits.
  int64_t extra_bytes = 0;
};

// The draws in the form that kernels read; pointers are to the device's memory.
struct DeviceDraws {
  const int32_t* rows = nullptr;  // [count] of the step
  const DeviceDraw* list = nullptr;
  const LogitAdjustment* adjustments = nullptr;
  const uint32_t* allowed = nullptr;
  int32_t count = 0;
};

class DrawMemory {
 public:
  // Allocates the memory. Returns false if there is not enough. `runtime` must outlive this object.
  bool reserve(Runtime& runtime, const DrawLimits& limits);
  size_t bytes() const { return device_.bytes(); }

  // Copies as many draws to the device as there is room for, at least one. The copy of the last
  // call must be over.
  DeviceDraws copy_in(Array<Draw> draws);

 private:
  struct Parts;

  void fill(Array<Draw> draws, const Parts& parts, unsigned char* to) const;
  int32_t fitting(Array<Draw> draws) const;
  int64_t extra_bytes(const Draw& draw) const;

  Runtime* runtime_ = nullptr;
  DrawLimits limits_;
  int64_t max_extra_bytes_ = 0;  // of adjustments and masks
  Memory<unsigned char> device_;
  HostMemory<unsigned char> staging_;
};

}  // namespace deltaserve::cuda
