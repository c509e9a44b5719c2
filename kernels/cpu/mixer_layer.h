// One mixer layer on the CPU: from the rows of the projections to the output projection's input.
// Passes over the step: features and gates of every row; a preconditioner's multipliers; the rule
// for every (segment, head) with what conditions its query before it and the output norm behind it;
// norms over groups of heads; the segments' convolution tails.
#pragma once
#include <cstdint>

#include "kernels/base/thread_pool.h"
#include "kernels/cpu/aligned.h"
#include "kernels/cpu/mixer_passes.h"

namespace deltaserve::cpu {

class MixerRunner {
 public:
  // Makes room for steps of any of these layers. False when the memory is not there.
  bool reserve(Array<MixerLayer> layers, int64_t max_rows, int64_t max_segments, int num_threads);
  // What reserve() took.
  int64_t bytes() const { return bytes_; }

  // projected [rows, projection columns] -> out [rows, value_columns].
  void run(const MixerLayer& layer, const MixerWeights& weights, const StepView& step,
           const float* projected, float* out, const LayerStates& states, ThreadPool& threads);

 private:
  void run_features(const MixerCall& call, ThreadPool& threads);
  void run_rule(const MixerCall& call, ThreadPool& threads);

  AlignedArray<float> features_, gates_, queries_, covariance_;  // see MixerCall
  AlignedArray<float> scratch_;                                  // [threads, scratch_floats_]
  int64_t scratch_floats_ = 0;
  int64_t bytes_ = 0;
  // Row blocks of the feature pass: where each segment's blocks begin. [segments + 1]
  AlignedArray<int64_t> first_block_;
};

}  // namespace deltaserve::cpu
