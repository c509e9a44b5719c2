// One mixer layer on the CPU: it computes the input of the output projection from the rows of the
// projections, in passes over the step: features and gates of every row; a preconditioner's
// multipliers; for every (segment, head) the conditioned queries, the rule and the output norm;
// norms over groups of heads; the raw rows that the convolution keeps.
#pragma once
#include <cstdint>

#include "kernels/base/thread_pool.h"
#include "kernels/cpu/base/aligned.h"
#include "kernels/cpu/layer/mixer_passes.h"

namespace deltaserve::cpu {

class MixerRunner {
 public:
  // Allocates memory for steps of any of these layers. Returns false if there is not enough.
  bool reserve(Array<MixerLayer> layers, int64_t max_rows, int64_t max_segments, int num_threads);
  // Returns the bytes that reserve() took.
  int64_t bytes() const { return bytes_; }

  // Computes out [rows, value_columns] from projected [rows, projection columns].
  void run(const MixerLayer& layer, const MixerWeights& weights, const StepView& step,
           const float* projected, float* out, const LayerStates& states, ThreadPool& threads);

 private:
  void run_features(const MixerCall& call, ThreadPool& threads);
  void run_rule(const MixerCall& call, ThreadPool& threads);

  AlignedArray<float> features_, gates_, queries_, covariance_;  // see MixerCall
  AlignedArray<float> scratch_;                                  // [threads, scratch_floats_]
  int64_t scratch_floats_ = 0;
  int64_t bytes_ = 0;
  // The index at which each segment's row blocks begin in the feature pass. [segments + 1]
  AlignedArray<int64_t> first_block_;
};

}  // namespace deltaserve::cpu
