// Sequences for steps of the GPU's prefill, the memory that such a step reads and writes, and the
// results of the recurrences in double.
#pragma once
#include <vector>

#include "kernels/cuda/rule/delta_prefill.h"
#include "tests/kernels/mixer/head_inputs.h"

namespace deltaserve {

struct PrefillCase {
  HeadCase head;
  StateFormat format = StateFormat::kF32;
  cuda::Rule rule = cuda::Rule::kLayer;  // of kCovariance `head` names the backbone
};

// Tokens [begin, end) of a sequence as a segment of a step. A negative sequence is padding.
struct Part {
  int sequence;
  int begin;
  int end;
  bool keeps = false;  // keeps the state after its last whole chunk
};

class PrefillWorld {
 public:
  // One sequence for each of `lengths`. Sequences with an even index start from zero, in slots of
  // NaN; the others go on from random states.
  PrefillWorld(const PrefillCase& c, const std::vector<int>& lengths);

  // Runs one step over `parts`, beside a decode row that it must leave alone. The new states are in
  // slots whose index is higher by `slot_shift`.
  void step(cuda::PrefillPath path, const std::vector<Part>& parts, int slot_shift = 0);
  // All sequences in one step.
  void step_all(cuda::PrefillPath path);
  // Makes the values of a token infinite.
  void spoil(int sequence, int token);
  // Rounds float states as a slot of the format would.
  void round_states(StateFormat format);

  void expect_near(double out_tolerance, double state_tolerance);
  // Returns the largest relative error that expect_near found.
  double largest_out_error() const { return largest_out_error_; }
  double largest_state_error() const { return largest_state_error_; }

  // Bits.
  const std::vector<float>& out(int sequence) const { return sequences_[sequence].out; }
  std::vector<float> state(int sequence) const { return slot_state(sequences_[sequence].slot); }
  std::vector<float> kept_state(int sequence) const { return slot_state(keep_slot(sequence)); }

 private:
  struct Sequence {
    int tokens;
    int position;  // of its first token
    int slot;
    std::vector<reference::HeadInputs> heads;
    std::vector<reference::Vec> states;  // before
    std::vector<float> out;              // [tokens, heads, value_dim]
  };
  struct Memory;

  reference::HeadInputs make_inputs(int sequence, int head, int tokens) const;
  void fill_row(const Sequence& sequence, int token, int64_t row, Memory& memory) const;
  void* state_of(int slot, int head);
  std::vector<float> slot_state(int slot) const;
  // Returns an even slot that no other sequence uses.
  static int keep_slot(int sequence) { return 2 * sequence + 2; }
  float stored(int slot, int head, int64_t element) const;
  int value_dim() const {
    return case_.rule == cuda::Rule::kLayer ? shape_.value_dim : shape_.key_dim;
  }
  MixerKind kind() const;
  StateFormat format() const {
    return case_.rule == cuda::Rule::kLayer ? case_.format : StateFormat::kF32;
  }

  PrefillCase case_;
  MixerShape shape_;
  StateLayout layout_;
  std::vector<float> slots_;
  std::vector<Sequence> sequences_;
  double largest_out_error_ = 0;
  double largest_state_error_ = 0;
};

}  // namespace deltaserve
