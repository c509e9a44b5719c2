#include "kernels/cuda/layer/decode_layer.h"

#include "kernels/base/check.h"
#include "kernels/cuda/layer/feature_run.h"
#include "kernels/cuda/layer/output_norm.h"
#include "kernels/cuda/layer/token_gates.h"
#include "kernels/cuda/layer/unnormed.h"
#include "kernels/cuda/rule/delta_step_team.h"

namespace deltaserve::cuda {
namespace {

// These are the offsets, in floats, of what a block shares of its token and head in shared memory,
// 16-byte aligned. Vectors over values hold the block's rows only.
struct SharedToken {
  int operands;                 // StepOperands
  int q, k, decay, erase_gate;  // [key_dim]; decay of a head [1]
  int v, write_gate;            // [block_rows]
  int factor;                   // [block_rows], of rows whose norm is left to others
  int beta, lambda;             // [1]
  int floats;

  SharedToken(int operand_floats, int key_dim, int block_rows) : floats(0) {
    operands = take(operand_floats);
    q = take(key_dim);
    k = take(key_dim);
    decay = take(key_dim);
    erase_gate = take(key_dim);
    v = take(block_rows);
    write_gate = take(block_rows);
    factor = take(block_rows);
    beta = take(1);
    lambda = take(1);
  }

 private:
  int take(int count) {
    const int begin = floats;
    floats += (count + 3) / 4 * 4;
    return begin;
  }
};

// Computes one block's part of a decode row and head.
template <class Mixer, class Tile, int kLane>
class DecodeBlock {
 public:
  DS_DEVICE DecodeBlock(const LayerCall& call, const SharedToken& at, const Segment& segment,
                        int head, int first, int part_rows)
      : call_(call),
        mixer_(call.mixer),
        shape_(call.mixer.shape()),
        at_(at),
        segment_(segment),
        head_(head),
        first_(first),
        rows_(shape_.value_dim - first < part_rows ? shape_.value_dim - first : part_rows),
        shared_(static_cast<float*>(simt::shared_memory())),
        operands_(shared_ + at.operands, part_rows),
        walk_(shape_.key_dim, rows_) {}

  // Asks for what no launch of this step writes: the state's first rows, the convolution's taps.
  DS_DEVICE void load_early() {
    walk_.begin(segment_.position == 0 ? nullptr : state(segment_.read_slot));
    if (early_taps() && simt::warp_index() < num_runs()) {
      run_of(simt::warp_index()).load_early(taps_);
    }
  }

  DS_DEVICE void run() {
    prepare_runs();
    prepare_gates(mixer_.projected_row(segment_.first_row));
    if (call_.head_squares != nullptr) prepare_factors();
    simt::sync_block();
    operands_.prepare(token(), shape_.key_dim, rows_);
    simt::sync_block();
    walk_.run(operands_, state(segment_.write_slot));
    simt::sync_block();
    if (call_.head_squares != nullptr) return store_rows(false);
    float* const out = mixer_.out + call_.out_row(segment_.first_row) + value_column();
    for (int j = simt::thread_index(); j < rows_; j += Tile::kThreads) out[j] = operands_.out()[j];
  }

  // Padding has no state to walk over.
  DS_DEVICE void write_zeros() {
    if (call_.head_squares != nullptr) store_rows(true);
  }

 private:
  using Stored = typename Tile::Stored;
  using Run = ChannelRun<kLane>;
  static constexpr int kWarps = Tile::kThreads / simt::kWarp;
  static constexpr int kRunChannels = kLane * simt::kWarp;

  DS_DEVICE Stored* state(int slot) const {
    const HeadShape size = {shape_.key_dim, shape_.value_dim};
    auto* rows = mixer_.states.head_state(size, slot, head_).data;
    return static_cast<Stored*>(rows) + first_ * size.key_stride();
  }
  DS_DEVICE int value_column() const { return head_ * shape_.value_dim + first_; }
  DS_DEVICE bool early_taps() const { return shape_.conv_width <= EarlyTaps<kLane>::kCount; }

  // Runs of channels, one a warp: the query, the key, the block's values.
  DS_DEVICE int num_runs() const { return 2 + (rows_ + kRunChannels - 1) / kRunChannels; }
  DS_DEVICE Run run_of(int i) const {
    const int row = segment_.first_row;
    if (i < 2) {
      const int first = i * shape_.q_columns() + head_ * shape_.key_dim;
      return Run(mixer_, segment_, row, first, shape_.key_dim);
    }
    const int begin = (i - 2) * kRunChannels;
    const int count = rows_ - begin < kRunChannels ? rows_ - begin : kRunChannels;
    const int keys = shape_.q_columns() + shape_.k_columns();
    return Run(mixer_, segment_, row, keys + value_column() + begin, count);
  }

  DS_DEVICE void prepare_runs() {
    const int runs = num_runs();
    for (int i = simt::warp_index(); i < runs; i += kWarps) {
      Run run = run_of(i);
      convolve(i, run);
      if (i < 2) {
        run.activate(shape_.qk_activation);
        finish_keys(shape_, i == 0, run);
        run.store(shared_ + (i == 0 ? at_.q : at_.k));
      } else {
        run.activate(shape_.v_activation);
        run.store(shared_ + at_.v + (i - 2) * kRunChannels);
      }
    }
  }
  // The raw row of the query and the key is stored by the head's first block.
  DS_DEVICE void convolve(int i, Run& run) {
    const bool stores = i >= 2 || first_ == 0;
    if (early_taps()) {
      if (i >= kWarps) run.load_early(taps_);
      return run.convolve(taps_, stores);
    }
    run.convolve();
    if (stores) run.store_raw_rows();
  }

  // The last warps have less to do.
  DS_DEVICE void prepare_gates(const float* in) {
    const int thread = Tile::kThreads - 1 - simt::thread_index();
    const int width = Mixer::kDecay == Decay::kNone ? 0 : shape_.decay_width();
    const bool time_step = shape_.decay_gate == DecayGate::kTimeStep;
    for (int i = thread; i < width; i += Tile::kThreads) {
      const DecayGates gate = decay_gates(mixer_, in, head_ * width + i);
      shared_[at_.decay + i] = gate.g;
      if (time_step) shared_[at_.beta] = gate.beta;
    }
    if (shape_.has_erase_gate()) {
      for (int i = thread; i < shape_.key_dim; i += Tile::kThreads) {
        shared_[at_.erase_gate + i] = beta_gate(mixer_, in, head_ * shape_.key_dim + i);
      }
      for (int j = thread; j < rows_; j += Tile::kThreads) {
        shared_[at_.write_gate + j] = write_gate(mixer_, in, value_column() + j);
      }
    } else if (!time_step && thread == 0) {
      shared_[at_.beta] = shape_.beta_heads > 0 ? beta_gate(mixer_, in, head_) : 1.0f;
    }
    if (thread == 0) {
      const bool has_lambda = mixer_.layer.projection.lambda >= 0;
      shared_[at_.lambda] = has_lambda ? lambda_gate(mixer_, in, head_) : 0.0f;
    }
  }

  DS_DEVICE void prepare_factors() {
    for (int j = simt::thread_index(); j < rows_; j += Tile::kThreads) {
      shared_[at_.factor + j] = head_factor(mixer_, segment_.first_row, head_, first_ + j);
    }
  }
  // Stores the block's values without their norm, or zeros. Warps stay whole.
  DS_DEVICE void store_rows(bool zeros) const {
    const int lane = simt::lane_index();
    for (int begin = simt::thread_index() - lane; begin < rows_; begin += Tile::kThreads) {
      const int j = begin + lane;
      const bool inside = j < rows_;
      const bool exists = inside && !zeros;
      store_unnormed(call_, segment_.first_row, head_, first_ + j, inside,
                     exists ? operands_.out()[j] : 0.0f, exists ? shared_[at_.factor + j] : 0.0f);
    }
  }

  DS_DEVICE Token token() const {
    const float* q = shared_ + at_.q;
    return {q,
            shared_ + at_.k,
            shared_ + at_.v,
            q,
            shared_ + at_.decay,
            nullptr,
            shared_ + at_.erase_gate,
            shared_ + at_.write_gate,
            shared_[at_.beta],
            shared_[at_.lambda],
            shape_.scale};
  }

  const LayerCall& call_;
  const MixerCall& mixer_;
  const MixerShape& shape_;
  const SharedToken& at_;
  const Segment& segment_;
  int head_;
  int first_;  // of the head's values
  int rows_;   // of the block
  float* shared_;
  StepOperands<Mixer, Tile> operands_;
  StepWalk<Mixer, Tile> walk_;
  EarlyTaps<kLane> taps_;  // of the warp's first run
};

// grid [parts of the state's rows, heads, decode segments]
template <class Mixer, class Tile, int kLane>
DS_KERNEL void DS_BOUNDS(Tile::kThreads, kLane == 4 ? 4 : 3)
    decode_layer_kernel(const DS_CONSTANT LayerCall call, const DS_CONSTANT SharedToken at,
                        int part_rows) {
  const Segment& segment = call.mixer.step.segments[simt::block_index().z];
  const int first = simt::block_index().x * part_rows;
  DecodeBlock<Mixer, Tile, kLane> block(call, at, segment, simt::block_index().y, first, part_rows);
  const bool padding = segment.write_slot < 0;
  if (!padding) block.load_early();
  simt::await_launches_before();
  if (padding) return block.write_zeros();
  block.run();
}

// A warp holds a key of more channels only with so many registers that memory would wait for them.
constexpr int kMostChannels = 256;

template <class Mixer, class Tile>
void launch_tile(simt::Stream stream, const LayerCall& call) {
  if constexpr (Tile::kAllChannels <= kMostChannels) {
    constexpr int kLane = Tile::kAllChannels <= 4 * simt::kWarp ? 4 : 8;
    const MixerShape& shape = call.mixer.shape();
    const int segments = call.mixer.step.num_decode;
    const StepParts parts = step_parts(shape.value_dim, Tile::kTurnRows,
                                       int64_t{shape.heads} * segments, call.paths.decode_parts);
    const SharedToken at(StepOperands<Mixer, Tile>::floats(parts.rows), shape.key_dim, parts.rows);
    simt::launch(stream, {parts.count, shape.heads, segments}, Tile::kThreads,
                 at.floats * static_cast<int>(sizeof(float)),
                 decode_layer_kernel<Mixer, Tile, kLane>, call, at, parts.rows);
  }
}

}  // namespace

bool has_decode_layer(const MixerShape& shape, const MixerWeights& weights) {
  const auto one_each = [&](int count) { return count == shape.heads; };
  const bool decays = shape.decay() == Decay::kNone || one_each(shape.decay_heads);
  const bool betas = shape.beta_heads == 0 || one_each(shape.beta_heads);
  return shape.key_dim <= kMostChannels && one_each(shape.q_heads) && one_each(shape.k_heads) &&
         one_each(shape.v_heads) && decays && betas && shape.conv_width > 0 &&
         shape.precond_heads == 0 && !shape.conditioning.on && !shape.normalised &&
         weights.skip == nullptr;
}

void launch_decode_layer(simt::Stream stream, const LayerCall& call) {
  const MixerShape& shape = call.mixer.shape();
  DS_CHECK(has_decode_layer(shape, call.mixer.weights));
  DS_CHECK(call.mixer.step.num_decode == call.mixer.step.num_decode_rows);
  DS_CHECK(call.head_squares == nullptr || has_unnormed_decode(shape));
  dispatch_mixer(shape.kind, [&](auto mixer) {
    using Mixer = decltype(mixer);
    // Preconditioned mixers have passes of their own.
    if constexpr (!Mixer::kPreconditioned) {
      constexpr bool kDecays = Mixer::kDecay != Decay::kNone;
      visit_state_format_of<kDecays>(call.mixer.states.layout.format, [&](auto format) {
        visit_step_tile<decltype(format)>(padded_to_16(shape.key_dim), [&](auto tile) {
          launch_tile<Mixer, decltype(tile)>(stream, call);
        });
      });
    }
  });
}

}  // namespace deltaserve::cuda
