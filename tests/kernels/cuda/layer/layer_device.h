// Runs steps over a World's sequences through the mixer layer of kernels/cuda, by the emulation.
#pragma once
#include <vector>

#include "kernels/cuda/rule/layer_call.h"
#include "tests/kernels/program/layer_world.h"

namespace deltaserve {

// Rows [begin, end) of a job in a step, which may be decoded where its job would be read.
struct Piece {
  int job;
  int begin;
  int end;
  bool decode;
  int keep_slot = -1;
};
// The `job` of a piece that belongs to nobody and has as many rows.
inline constexpr int kPadding = -1;

Piece whole_job(int job);

// The slots of a world, their states stored in `format`, and the rows that came out of them.
class LayerDevice {
 public:
  // `unnormed`: the norm of decode rows is left to the output projection, for which step() does it.
  explicit LayerDevice(const World& world, StateFormat format = StateFormat::kF32,
                       const cuda::LayerPaths& paths = {}, bool unnormed = false);

  // Runs a step, in which decode pieces come first. Expects that rows of padding become zeros, that
  // nothing else is written, and that the bf16 copy is the rounded result. States are left in slots
  // that lie `slot_shift` after those that they were in.
  void step(const std::vector<Piece>& pieces, int slot_shift = 0);

  // Return, for a job whose rows all went through step(), the largest relative error of its rows
  // and of the parts of its state; infinity where padding of the state is not zero, NaN where a
  // result is.
  double rows_error(int job) const;
  double state_error(int job) const;

  bool same_job(const LayerDevice& other, int job) const;
  // Compares the state that a job has kept with its state on another device.
  bool same_kept(const LayerDevice& other, int job) const;
  // Takes a job back to row `row`, after which its state was kept, and forgets the rest.
  void go_back_to_kept(int job, int row);
  // Compares what nobody may touch: slots that no sequence is in, and the other layer's states.
  bool same_foreign_states() const;

 private:
  void run(const StepView& view, const std::vector<float>& projected, std::vector<float>& out,
           std::vector<uint16_t>& out_bf16, std::vector<float>& head_squares);
  // Does the output projection's part of the norm: fills `out` of the decode rows.
  void normalise(const std::vector<uint16_t>& out_bf16, const std::vector<float>& head_squares,
                 int64_t decode_rows, std::vector<float>& out) const;
  // Fills a slot, padding included, because what a sequence left there must not matter to the next.
  void poison(float* slot) const;
  // A slot, in the world's layout.
  std::vector<float> unpacked(const float* slot) const;
  const float* state(int job) const;
  int64_t state_elements() const { return float_layout_.layers[1].state.floats; }
  int64_t columns() const { return world_.layer().shape.value_columns(); }
  // These rows have a padding that nobody may touch, like the backend's.
  static constexpr int kBehindRow = 8;
  int64_t stride() const { return columns() + kBehindRow; }

  const World& world_;
  cuda::LayerPaths paths_;
  bool unnormed_;
  StateLayout float_layout_;  // the world's
  StateLayout layout_;
  std::vector<float> slots_, before_;
  std::vector<int> slot_;  // of each job
  std::vector<int> kept_;  // of each job, the slot of its kept state; -1 = none
  std::vector<std::vector<float>> out_;
};

}  // namespace deltaserve
