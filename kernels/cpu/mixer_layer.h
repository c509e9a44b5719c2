// One mixer layer on the CPU: from the rows of the input projection to the output projection's
// input. Three passes over the step: features and gates of every row, the rule for every (segment,
// value head) with the output norm behind it, the segments' convolution tails.
#pragma once
#include <cstdint>

#include "kernels/base/thread_pool.h"
#include "kernels/cpu/aligned.h"
#include "kernels/cpu/delta_rule_cpu.h"
#include "kernels/ops.h"
#include "kernels/state_layout.h"

namespace deltaserve::cpu {

struct MixerWeights {
  const float* conv;     // [conv_width, channels]; null without convolution
  const float* a_log;    // [value_heads]
  const float* dt_bias;  // [value_heads]
  const float* norm;     // [value_dim]
};

// The states of one layer in all slots.
struct LayerStates {
  float* slots;         // first slot
  int64_t slot_floats;  // distance between slots
  LayerStateLayout layout;

  float* state(int slot) const { return slots + slot * slot_floats + layout.state_offset; }
  float* conv_tail(int slot) const { return slots + slot * slot_floats + layout.conv_offset; }
};

class MixerRunner {
 public:
  // False when the memory is not there.
  bool reserve(const MixerLayer& largest, int64_t max_rows, int64_t max_segments, int num_threads);

  // projected [rows, projection columns] -> out [rows, value_heads * value_dim].
  void run(const MixerLayer& layer, const MixerWeights& weights, const StepView& step,
           const float* projected, float* out, const LayerStates& states, ThreadPool& threads);

 private:
  struct Call;

  void features_of_rows(const Call& call, const Segment& segment, int64_t begin, int64_t end);
  void gates_of_row(const Call& call, int64_t row);
  void rule_of_head(const Call& call, const Segment& segment, bool decode, int64_t head,
                    float* scratch);
  void finish_rows(const Call& call, int64_t first_row, int64_t num_rows, int64_t head);

  // [rows, channels]: q, k, v after convolution, SiLU and norm.
  AlignedArray<float> features_;
  // [rows, 3, value_heads]: log decay, beta, lambda.
  AlignedArray<float> gates_;
  AlignedArray<float> scratch_;  // [threads, scratch_floats_]
  int64_t scratch_floats_ = 0;
  // Row blocks of the feature pass: where each segment's blocks begin. [segments + 1]
  AlignedArray<int64_t> first_block_;
};

}  // namespace deltaserve::cpu
