// Sequences of every kind that a step can contain, with the expected results of one mixer layer.
#pragma once
#include <functional>
#include <vector>

#include "tests/kernels/program/layer_data.h"

namespace deltaserve {

// One sequence: `history` tokens that it has seen, then `rows` tokens in a step.
struct Job {
  int history;
  int rows;
  bool decode;
};

// The jobs. Decode rows come first, as in every step.
inline constexpr Job kJobs[] = {{1, 1, true},    {3, 1, true},     {70, 1, true},
                                {0, 1, false},   {0, 2, false},    {64, 3, false},
                                {0, 63, false},  {128, 64, false}, {64, 65, false},
                                {0, 200, false}, {64, 136, false}, {64, 1000, false}};
inline constexpr int kNumJobs = std::size(kJobs);
inline constexpr int kLayers = 2;  // layers of the state layout; the test runs the second
inline constexpr int kNumSlots = 2 * kNumJobs + 1;

// Returns the slot of a job's state before its first step. Even slots are unused.
inline int slot_of(int job) {
  return 2 * job + 1;
}

// Calls visit(index of the float in a slot, its value in the reference's state) for all parts.
void for_each_float(const MixerShape& shape, const LayerStateLayout& layout,
                    reference::LayerState& state,
                    const std::function<void(int64_t, double&)>& visit);

// Returns true if two slots hold the same bits of a layer.
bool same_state(const LayerStateLayout& layout, const float* a, const float* b);

// The inputs of all jobs, their states before the step, and the expected results.
class World {
 public:
  explicit World(const LayerCase& c);

  const MixerLayer& layer() const { return layer_; }
  const LayerStateLayout& state_layout() const { return layout_.layers[1]; }
  MixerWeights weights() const { return weights_.floats(); }
  const std::vector<float>& before() const { return before_; }
  int64_t slot_floats() const { return slot_floats_; }
  const float* projected_row(int job, int row) const {
    return projected_[job].data() + row * int64_t{layer_.projection.columns};
  }
  const reference::Vec& truth(int job) const { return truth_[job]; }
  reference::LayerState state_after(int job) const { return after_[job]; }

 private:
  void make_job(const LayerCase& c, int job);

  LayerWeights weights_;
  StateLayout layout_;
  int64_t slot_floats_;
  MixerLayer layer_;
  std::vector<float> before_;
  std::vector<std::vector<float>> projected_;
  std::vector<reference::Vec> truth_;
  std::vector<reference::LayerState> after_;
};

}  // namespace deltaserve
