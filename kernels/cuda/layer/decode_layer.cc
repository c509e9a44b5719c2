#include "kernels/cuda/layer/decode_layer.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/layer/feature_run.h"
#include "kernels/cuda/layer/row_norm.h"
#include "kernels/cuda/layer/token_gates.h"
#include "kernels/cuda/rule/delta_step_team.h"

namespace deltaserve::cuda {
namespace {

constexpr int kMaxCluster = 8;  // blocks; more are not portable

// These are the offsets, in floats, of what a block shares of its token and head in shared memory.
// Vectors over values hold the block's rows only.
struct SharedToken {
  int q, k, decay, erase_gate;  // [key_dim]; decay of a head [1]
  int v, write_gate, out;       // [block_rows]
  int beta, lambda;             // [1]
  int squares;                  // [square_groups(block_rows)]
  int floats;

  SharedToken(int key_dim, int block_rows) : floats(0) {
    q = take(key_dim);
    k = take(key_dim);
    decay = take(key_dim);
    erase_gate = take(key_dim);
    v = take(block_rows);
    write_gate = take(block_rows);
    out = take(block_rows);
    beta = take(1);
    lambda = take(1);
    squares = take(square_groups(block_rows));
  }

 private:
  int take(int count) {
    const int begin = floats;
    floats += count;
    return begin;
  }
};

// The block's part of one decode row and head.
template <class Mixer, class Tile, int kLane>
class DecodeBlock {
 public:
  DS_DEVICE DecodeBlock(const LayerCall& call, const SharedToken& at, const Segment& segment,
                        int head)
      : call_(call),
        mixer_(call.mixer),
        shape_(call.mixer.shape()),
        at_(at),
        segment_(segment),
        head_(head),
        shared_(static_cast<float*>(simt::shared_memory())),
        first_(simt::block_index().x * Tile::kBlockRows),
        rows_(shape_.value_dim - first_ < Tile::kBlockRows ? shape_.value_dim - first_
                                                           : Tile::kBlockRows) {}

  DS_DEVICE void run() {
    const HeadShape size = {shape_.key_dim, rows_};
    StepTeam<Mixer, Tile> team(size, simt::thread_index() / Tile::kWidth * Tile::kRows);
    const auto state = [&](int slot) {
      const HeadShape head = {shape_.key_dim, shape_.value_dim};
      auto* rows = mixer_.states.head_state(head, slot, head_).data;
      return static_cast<typename Tile::Stored*>(rows) + first_ * size.key_stride();
    };
    // The state is on its way while the token is prepared.
    team.load(state(segment_.read_slot), segment_.position == 0);
    prepare_token();
    simt::sync_block();
    team.step(token(), shared_ + at_.out);
    team.store(state(segment_.write_slot));
    simt::sync_block();
    norm_and_store();
    // Every block of the cluster has read the tail of the keys by now.
    if (simt::cluster_rank() == 0) update_key_tails();
    simt::sync_cluster();  // others still read this block's sum
  }

  DS_DEVICE void write_zeros() {
    for (int j = simt::thread_index(); j < rows_; j += Tile::kThreads) store(j, 0);
  }

 private:
  static constexpr int kWarps = Tile::kThreads / simt::kWarp;
  static constexpr int kGroups = Tile::kBlockRows / kSquareGroup;
  static_assert(Tile::kBlockRows % kSquareGroup == 0 && Tile::kBlockRows <= Tile::kThreads);
  static constexpr int kRunChannels = kLane * simt::kWarp;

  DS_DEVICE int value_column() const { return head_ * shape_.value_dim + first_; }

  // Runs of channels, one a warp: the query, the key, the block's values; then the gates.
  DS_DEVICE void prepare_token() {
    const int row = segment_.first_row;
    const int runs = 2 + (rows_ + kRunChannels - 1) / kRunChannels;
    for (int i = simt::warp_index(); i < runs; i += kWarps) {
      if (i < 2) {
        key_run<kLane>(mixer_, segment_, row, i * shape_.heads + head_)
            .store(shared_ + (i == 0 ? at_.q : at_.k));
        continue;
      }
      const int begin = (i - 2) * kRunChannels;
      const int count = rows_ - begin < kRunChannels ? rows_ - begin : kRunChannels;
      ChannelRun<kLane> run =
          value_run<kLane>(mixer_, segment_, row, value_column() + begin, count);
      run.store(shared_ + at_.v + begin);
      run.update_tail();  // nobody else reads these channels
    }
    prepare_gates(mixer_.projected_row(row));
  }

  DS_DEVICE void prepare_gates(const float* in) {
    const int thread = simt::thread_index();
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

  // o = rms_norm(o) [* act(gate)], the mean over all blocks of the cluster, with the bits of
  // normalise_row<true>.
  DS_DEVICE void norm_and_store() {
    const int thread = simt::thread_index();
    const float own = thread < rows_ ? shared_[at_.out + thread] : 0.0f;
    float square[1] = {simt::rounded_product(own, own)};
    simt::lanes_sum<kSquareGroup>(square);
    if (thread < Tile::kBlockRows && thread % kSquareGroup == 0) {
      shared_[at_.squares + thread / kSquareGroup] = square[0];
    }
    simt::sync_cluster();
    float sum = 0;
    for (int g = 0; g < square_groups(shape_.value_dim); ++g) {
      sum += simt::load_of_cluster(shared_ + at_.squares + g % kGroups, g / kGroups);
    }
    const float scale = 1.0f / sqrtf(sum / static_cast<float>(shape_.value_dim) + shape_.norm_eps);
    const int32_t gate = mixer_.layer.projection.gate;
    const float* gates = mixer_.projected_row(segment_.first_row) + gate + value_column();
    if (thread >= rows_) return;
    const float* weights = mixer_.weights.norm;
    const float weight = weights == nullptr ? 1.0f : weights[first_ + thread];
    const float gated = gate < 0 ? 1.0f : activate(shape_.gate_activation, gates[thread]);
    store(thread, own * scale * (gated * weight));
  }

  DS_DEVICE void store(int j, float o) {
    const int64_t at = call_.out_row(segment_.first_row) + value_column() + j;
    mixer_.out[at] = o;
    if (call_.out_bf16 != nullptr) call_.out_bf16[at] = f32_to_bf16(o);
  }

  DS_DEVICE void update_key_tails() {
    const ConvTail tail(mixer_, segment_);
    for (int i = simt::thread_index(); i < 2 * shape_.key_dim; i += Tile::kThreads) {
      const bool is_query = i < shape_.key_dim;
      const int channel =
          head_ * shape_.key_dim + (is_query ? i : shape_.q_columns() + i - shape_.key_dim);
      for (int j = 0; j < tail.length(); ++j) tail.next_row(j)[channel] = tail.next(j, channel);
    }
  }

  const LayerCall& call_;
  const MixerCall& mixer_;
  const MixerShape& shape_;
  const SharedToken& at_;
  const Segment& segment_;
  int head_;
  float* shared_;
  int first_;  // of the head's values
  int rows_;   // of the block
};

// grid [blocks of state rows, a cluster; heads; decode segments]
template <class Mixer, class Tile, int kLane>
DS_KERNEL void DS_BOUNDS(Tile::kThreads, 1) decode_layer_kernel(LayerCall call, SharedToken at) {
  simt::await_launches_before();
  const Segment segment = call.mixer.step.segments[simt::block_index().z];
  DecodeBlock<Mixer, Tile, kLane> block(call, at, segment, simt::block_index().y);
  if (segment.write_slot < 0) return block.write_zeros();
  block.run();
}

template <class Mixer, class Tile, int kLane>
void launch_tile(simt::Stream stream, const LayerCall& call) {
  const MixerShape& shape = call.mixer.shape();
  const int blocks = (shape.value_dim + Tile::kBlockRows - 1) / Tile::kBlockRows;
  const SharedToken at(shape.key_dim, Tile::kBlockRows);
  simt::launch_clusters(stream, {blocks, shape.heads, call.mixer.step.num_decode}, blocks,
                        Tile::kThreads, at.floats * static_cast<int>(sizeof(float)),
                        decode_layer_kernel<Mixer, Tile, kLane>, call, at);
}

// The kernel for a shape: visit(tile, channels a lane holds of a run), or nothing where there is
// none. Blocks are as small as the cluster allows: more of them share the memory's latency.
template <class Format, class Visit>
void visit_tile(const MixerShape& shape, const Visit& visit) {
  using Stored = typename Format::Stored;
  constexpr int kLanes = static_cast<int>(sizeof(Stored));  // of 16 bytes, for 16 channels
  const auto fitting = [&]<class Small, class Large, int kLane>() {
    if (shape.value_dim <= kMaxCluster * Small::kBlockRows) {
      visit.template operator()<Small, kLane>();
    } else if (shape.value_dim <= kMaxCluster * Large::kBlockRows) {
      visit.template operator()<Large, kLane>();
    }
  };
  using Narrow = StepTile<Format, 4 * kLanes, 1, 128>;
  using Middle = StepTile<Format, 8 * kLanes, 1, 128>;
  if (shape.key_dim <= 64) return fitting.template operator()<Narrow, Narrow, 4>();
  if (shape.key_dim <= 128) return fitting.template operator()<Middle, Middle, 4>();
  if (shape.key_dim > 256) return;
  constexpr int kGroups = sizeof(Stored) == sizeof(float) ? 2 : 1;
  fitting.template
  operator()<StepTile<Format, 32, kGroups, 128>, StepTile<Format, 32, kGroups, 512>, 8>();
}

}  // namespace

int32_t one_launch_rows(const MixerShape& shape) {
  // Threads of clusters that are resident at a time on an H200: one launch is the faster form as
  // long as no block waits for another to end (measured: 11 rows of 6 heads of 128 / 256, 2 of 256
  // / 512).
  constexpr int64_t kResidentThreads = 132 * 512;
  int64_t threads = 0;  // of a row
  visit_tile<F32State>(shape, [&]<class Tile, int kLane>() {
    const int blocks = (shape.value_dim + Tile::kBlockRows - 1) / Tile::kBlockRows;
    threads = int64_t{shape.heads} * blocks * Tile::kThreads;
  });
  return threads == 0 ? 0 : static_cast<int32_t>(std::max<int64_t>(1, kResidentThreads / threads));
}

bool has_decode_layer(const MixerShape& shape, const MixerWeights& weights) {
  const auto one_each = [&](int count) { return count == shape.heads; };
  const bool decays = shape.decay() == Decay::kNone || one_each(shape.decay_heads);
  const bool betas = shape.beta_heads == 0 || one_each(shape.beta_heads);
  bool fits = false;
  visit_tile<F32State>(shape, [&]<class Tile, int kLane>() { fits = true; });
  return fits && one_each(shape.q_heads) && one_each(shape.k_heads) && one_each(shape.v_heads) &&
         decays && betas && shape.conv_width > 0 && shape.precond_heads == 0 &&
         !shape.conditioning.on && !shape.normalised && weights.skip == nullptr &&
         shape.output_norm == OutputNorm::kHead;
}

void launch_decode_layer(simt::Stream stream, const LayerCall& call) {
  const MixerShape& shape = call.mixer.shape();
  DS_CHECK(has_decode_layer(shape, call.mixer.weights));
  DS_CHECK(call.mixer.step.num_decode == call.mixer.step.num_decode_rows);
  dispatch_mixer(shape.kind, [&](auto mixer) {
    using Mixer = decltype(mixer);
    const auto visit = [&]<class Tile, int kLane>() {
      launch_tile<Mixer, Tile, kLane>(stream, call);
    };
    // Preconditioned mixers have passes of their own.
    if constexpr (!Mixer::kPreconditioned) {
      constexpr bool kDecays = Mixer::kDecay != Decay::kNone;
      visit_state_format_of<kDecays>(call.mixer.states.layout.format, [&](auto format) {
        visit_tile<decltype(format)>(shape, visit);
      });
    }
  });
}

}  // namespace deltaserve::cuda
