// What the kernels of a step read of the host's: tokens, segments, chunks, what the head is asked.
// It travels in one copy. Where it stands depends on the sizes of the step only, so that a step of
// the same sizes can be played from a recording.
#pragma once
#include <cstdint>

#include "kernels/cuda/device_memory.h"
#include "kernels/cuda/head.h"
#include "kernels/cuda/layer_call.h"

namespace deltaserve::cuda {

struct StepLimits {
  int64_t rows = 0;
  int64_t segments = 0;
  int64_t head_rows = 0;
  int64_t vocab = 0;
  // Room for the adjustments and masks of the head's rows; one row of the worst kind always fits.
  int64_t head_extra_bytes = 0;

  int64_t chunks() const { return rows / kChunkTokens + segments; }
};

// Sizes that decode steps are filled up to, so that few recordings serve all: 1, 2, 4, 8, 16, and
// on with powers of two and one and a half times them.
int32_t padded_batch(int32_t rows);

// What of a step the kernels see; pointers are the device's.
struct DeviceStep {
  StepView view;
  const int32_t* row_segments = nullptr;  // [num_rows]
  const Chunk* chunks = nullptr;
  int32_t num_chunks = 0;
  const int32_t* head_sources = nullptr;  // [num_head_rows] the step's row of each row of the head
  const DeviceHeadRow* head_rows = nullptr;
  const LogitAdjustment* adjustments = nullptr;
  const uint32_t* allowed = nullptr;
  int32_t num_head_rows = 0;
};

// A step as the host has it.
struct HostStep {
  StepView view;
  const Draw* head_rows = nullptr;
  int32_t num_head_rows = 0;
};

class StepMemory {
 public:
  // False: the memory is not there. `runtime` must outlive this.
  bool reserve(Runtime& runtime, const StepLimits& limits);

  // Copies the step to the device, with as many rows of the head as there is room for, at least
  // one; the answer's num_head_rows. Decode steps are filled up with padding to `padded_rows`, and
  // the head to `padded_head_rows` if all its rows fit: 0 = as they are. The copy of two calls ago
  // must be over.
  DeviceStep copy_in(const HostStep& step, int32_t padded_rows, int32_t padded_head_rows);

 private:
  struct Parts;

  void fill_rows(const StepView& view, const Parts& parts, unsigned char* to) const;
  void fill_head(const HostStep& step, int32_t count, const Parts& parts, unsigned char* to) const;
  int32_t fitting_head_rows(const HostStep& step) const;
  int64_t extra_bytes(const Draw& row) const;

  Runtime* runtime_ = nullptr;
  StepLimits limits_;
  int64_t max_extra_bytes_ = 0;  // of adjustments and masks
  Memory<unsigned char> device_;
  HostMemory<unsigned char> staging_[2];
  int turn_ = 0;
};

}  // namespace deltaserve::cuda
