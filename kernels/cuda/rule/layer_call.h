// One mixer layer of one step on a GPU. All pointers are the device's, also those in `mixer.step`;
// the counts beside them are known to the host. Kernels take it as their parameter.
#pragma once
#include <cstdint>

#include "kernels/program/mixer_call.h"

namespace deltaserve::cuda {

// Key channels of a head that the kernels can hold in registers.
inline constexpr int kMaxKeyDim = 512;

// Tokens of one prefill segment between two points of its 64-token grid.
struct Chunk {
  int32_t segment = 0;    // of the step
  int32_t first_row = 0;  // of the step
  int32_t num_rows = 0;   // 1 .. kChunkTokens
};

enum class PrefillPath : uint8_t {
  kPlain,   // float multiply-adds: the reference of the other, and its fallback
  kTensor,  // matmuls of bf16 on tensor cores (mma.sync), sums, decays and the inverse in float
};

// These kernels run a layer where there is a choice. They follow from the model and the device
// only, so that a row's bits do, too.
struct LayerPaths {
  bool one_launch_decode = false;  // decode_layer.h, where it has the layer
  // Blocks that share a head's state in decode, which changes no bit; 0 = by the rows of the step.
  int32_t decode_parts = 0;
  PrefillPath prefill = PrefillPath::kPlain;
  // Whether decode rows may leave their norm to the output projection (LayerCall::head_squares).
  bool leaves_norm = false;
};

// A segment with a negative write_slot is padding, so that steps of one size look alike: its rows
// come out as zeros and no slot is touched.
struct LayerCall {
  MixerCall mixer;
  const int32_t* row_segments = nullptr;  // [num_rows] the segment of each row
  const Chunk* chunks = nullptr;          // of all prefill segments, in order
  int32_t num_chunks = 0;
  void* prefill_scratch = nullptr;  // prefill_scratch_bytes() of delta_prefill.h
  uint16_t* out_bf16 = nullptr;     // the layer's result again, as MixerCall::out; may be null
  LayerPaths paths;
  int64_t padding = 0;  // elements after each row of MixerCall::out and out_bf16
  // If set, the output projection applies the output norm of decode rows, all of a step's or none:
  // their out_bf16 is then o * (act(gate) * weight), this the sums of squares of each 16
  // neighbouring values of o, [num_decode_rows, heads, value_dim / 16], and their MixerCall::out is
  // whatever it is. Needs out_bf16 and has_unnormed_decode() of output_norm.h.
  float* head_squares = nullptr;

  // Returns where a row of MixerCall::out and out_bf16 begins.
  DS_HOST_DEVICE int64_t out_row(int64_t row) const {
    return row * (mixer.shape().value_columns() + padding);
  }
  DS_HOST_DEVICE const Segment& segment_of_row(int64_t row) const {
    return mixer.step.segments[row_segments[row]];
  }
  int num_prefill() const { return mixer.step.num_segments - mixer.step.num_decode; }
};

}  // namespace deltaserve::cuda
