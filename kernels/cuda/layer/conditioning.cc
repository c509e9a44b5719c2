#include "kernels/cuda/layer/conditioning.h"

#include <cmath>

#include "kernels/base/check.h"
#include "kernels/cuda/layer/features.h"
#include "kernels/mixer/gates.h"

namespace deltaserve::cuda {
namespace {

using Normaliser = QueryConditioning::Normaliser;
using GateInput = QueryConditioning::GateInput;

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / simt::kWarp;
// The number of tokens whose operands a thread loads together, so that a chain over tokens waits
// for memory once in this many tokens.
constexpr int kAhead = 8;
static_assert(kChunkTokens % kAhead == 0);  // a state is kept after such a run

constexpr int blocks_of_warps(int count) {
  return (count + kWarps - 1) / kWarps;
}
// Gives each channel of a padded state row a thread.
constexpr int row_block(int64_t key_dim) {
  return static_cast<int>((key_dim + simt::kWarp - 1) / simt::kWarp * simt::kWarp);
}

DS_DEVICE float l2_scale(float squares) {
  return 1.0f / sqrtf(squares + kL2NormEps);
}

// One channel of a carried state row of [stride] floats. Gives the value with which a segment
// begins (zero at the start of its sequence), and stores the value with which the next segment
// begins, in the write slot or the keep slot.
class Carried {
 public:
  DS_DEVICE Carried(const MixerCall& call, const StateSpan& part, const Segment& segment,
                    int64_t row, int64_t stride, int channel)
      : call_(call),
        part_(part),
        read_slot_(segment.position == 0 ? -1 : segment.read_slot),
        at_(row * stride + channel) {}

  DS_DEVICE float load() const {
    return read_slot_ < 0 ? 0.0f : call_.states.part(part_, read_slot_)[at_];
  }
  DS_DEVICE void store(int slot, float x) const { call_.states.part(part_, slot)[at_] = x; }

 private:
  const MixerCall& call_;
  const StateSpan& part_;
  int read_slot_;  // negative where the sequence begins
  int64_t at_;
};

// Computes channel `c` of `head` of the preconditioner over a run of `count` <= kAhead rows.
DS_DEVICE float precondition_rows(const MixerCall& call, int head, int c, int64_t first_row,
                                  int count, float squares) {
  const MixerShape& shape = call.shape();
  const GateLayout& at = call.gate_layout;
  const int value_head = head * (shape.heads / shape.precond_heads);
  const float center = call.weights.precond_center[head];
  const float log_squash = logf(shape.squash);
  float key[kAhead], g[kAhead], beta[kAhead];
  DS_UNROLL
  for (int t = 0; t < kAhead; ++t) {
    if (t >= count) continue;
    const float* gates = call.gate_row(first_row + t);
    key[t] = call.k(first_row + t, value_head)[c];
    g[t] = gates[at.precond_g + head];
    beta[t] = gates[at.precond_beta + head];
  }
  DS_UNROLL
  for (int t = 0; t < kAhead; ++t) {
    if (t >= count) continue;
    squares = expf(g[t]) * squares + beta[t] * (key[t] * key[t]);
    const float r = logf(squares + shape.squash_eps) - center;
    call.gate_row(first_row + t)[at.multiplier + int64_t{head} * shape.key_dim + c] =
        expf(-log_squash * (r / (1.0f + fabsf(r))));
  }
  return squares;
}

// grid [segments, heads of the preconditioner], a thread a channel
DS_KERNEL void DS_BOUNDS(kMaxKeyDim, 1) precondition_kernel(LayerCall call) {
  simt::await_launches_before();
  const Segment segment = call.mixer.step.segments[simt::block_index().x];
  const int head = simt::block_index().y;
  const int c = simt::thread_index();
  const MixerShape& shape = call.mixer.shape();
  const int64_t stride = padded_to_16(shape.key_dim);
  if (segment.write_slot < 0 || c >= stride) return;
  const Carried state(call.mixer, call.mixer.states.layout.squares, segment, head, stride, c);
  float squares = state.load();
  for (int i = 0; i < segment.num_rows; i += kAhead) {
    const int left = segment.num_rows - i;
    if (c < shape.key_dim) {
      squares = precondition_rows(call.mixer, head, c, segment.first_row + i,
                                  left < kAhead ? left : kAhead, squares);
    }
    if (i + kAhead == kept_rows(segment)) state.store(segment.keep_slot, squares);
  }
  state.store(segment.write_slot, squares);
}

// A head's sum of keys, spread over the lanes of a warp.
template <int kLane>
class KeySum {
 public:
  // The number of tokens that share an exchange between lanes.
  static constexpr int kTokens = 16 / kLane;
  static_assert(kChunkTokens % kTokens == 0);  // a state is kept after them

  DS_DEVICE KeySum(const MixerCall& call, const Segment& segment, int head)
      : call_(call), head_(head) {
    each([&](int i, int c) { sum_[i] = state(segment, c).load(); });
  }
  DS_DEVICE void store(const Segment& segment, int slot) const {
    each([&](int i, int c) { state(segment, c).store(slot, sum_[i]); });
  }

  // Adds `count` <= kTokens rows and writes their divisors. All lanes must call this.
  DS_DEVICE void add(int64_t first_row, int count) {
    const MixerShape& shape = call_.shape();
    float key[kTokens][kLane], query[kTokens][kLane];
    DS_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      const float* k = call_.k(first_row + t, head_);
      const float* q = call_.q(first_row + t, head_);
      each([&](int i, int c) {
        const bool inside = t < count && c < shape.key_dim;
        key[t][i] = inside ? k[c] : 0.0f;
        query[t][i] = inside ? q[c] : 0.0f;
      });
    }
    float seen[kTokens];
    DS_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      seen[t] = 0;
      each([&](int i, int) {
        sum_[i] += key[t][i];
        seen[t] += query[t][i] * sum_[i];
      });
    }
    simt::lanes_sum<simt::kWarp>(seen);
    DS_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      if (t < count && simt::lane_index() == t) {
        call_.gate_row(first_row + t)[call_.gate_layout.divisor + head_] =
            shape.scale * seen[t] + kKeySumEps;
      }
    }
  }

 private:
  DS_DEVICE int64_t stride() const { return padded_to_16(call_.shape().key_dim); }
  DS_DEVICE Carried state(const Segment& segment, int c) const {
    return {call_, call_.states.layout.key_sum, segment, head_, stride(), c};
  }
  // visit(value of the lane, channel of the padded row)
  template <class Visit>
  DS_DEVICE void each(const Visit& visit) const {
    DS_UNROLL
    for (int i = 0; i < kLane; ++i) {
      const int c = i * simt::kWarp + simt::lane_index();
      if (c < stride()) visit(i, c);
    }
  }

  const MixerCall& call_;
  int head_;
  float sum_[kLane];
};

// grid [segments, blocks of heads], a warp a head
template <int kLane>
DS_KERNEL void DS_BOUNDS(kThreads, 1) key_sums_kernel(LayerCall call) {
  simt::await_launches_before();
  const Segment segment = call.mixer.step.segments[simt::block_index().x];
  const int head = simt::block_index().y * kWarps + simt::warp_index();
  if (segment.write_slot < 0 || head >= call.mixer.shape().heads) return;
  KeySum<kLane> sum(call.mixer, segment, head);
  constexpr int kTokens = KeySum<kLane>::kTokens;
  for (int i = 0; i < segment.num_rows; i += kTokens) {
    const int left = segment.num_rows - i;
    sum.add(segment.first_row + i, left < kTokens ? left : kTokens);
    if (i + kTokens == kept_rows(segment)) sum.store(segment, segment.keep_slot);
  }
  sum.store(segment, segment.write_slot);
}

// Entries of the log decay with which a covariance forgets, per head: none, one, one a channel.
DS_HOST_DEVICE int covariance_decays(const MixerShape& shape) {
  return shape.conditioning.backbone_decay && shape.decay_heads > 0 ? shape.decay_width() : 0;
}

// Returns the log decay of channel `c`, by which the covariance forgets.
DS_DEVICE float covariance_log_decay(const MixerCall& call, int64_t row, int64_t head, int c) {
  const int count = covariance_decays(call.shape());
  if (count == 0) return 0;
  return call.g(row, head)[count == 1 ? 0 : c];
}

// grid [rows, blocks of heads], a warp a head. Computes the parts that need no earlier row: the
// key, the written vector, the query.
DS_KERNEL void DS_BOUNDS(kThreads, 8) covariance_rows_kernel(LayerCall call) {
  simt::await_launches_before();
  const int row = simt::block_index().x;
  const MixerCall& mixer = call.mixer;
  const MixerShape& shape = mixer.shape();
  const int head = simt::block_index().y * kWarps + simt::warp_index();
  if (call.segment_of_row(row).write_slot < 0 || head >= shape.heads) return;
  const float* __restrict__ k = mixer.k(row, head);
  const float* __restrict__ q = mixer.q(row, head);
  float scale = 1;
  if (shape.conditioning.l2_keys) {
    float squares = 0;
    for (int c = simt::lane_index(); c < shape.key_dim; c += simt::kWarp) squares += k[c] * k[c];
    scale = l2_scale(simt::warp_sum(squares));
  }
  float* __restrict__ key = mixer.covariance_row(row, head, CovarianceRow::kKey);
  float* __restrict__ write = mixer.covariance_row(row, head, CovarianceRow::kWrite);
  float* __restrict__ query = mixer.covariance_row(row, head, CovarianceRow::kQuery);
  const bool averages = shape.conditioning.normaliser == Normaliser::kEma;
  for (int c = simt::lane_index(); c < shape.key_dim; c += simt::kWarp) {
    const float x = k[c] * scale;
    // (1 - e^g) k is what an exponential moving average adds.
    const float added = averages ? -expm1f(covariance_log_decay(mixer, row, head, c)) * x : x;
    query[c] = q[c];
    key[c] = x;
    write[c] = added;
  }
}

// The decayed count and sum of keys of one channel.
struct RunningMean {
  float count;
  float sum;
};

// Averages a run of `count` <= kAhead rows: queries over the count, mean keys.
DS_DEVICE RunningMean average_rows(const MixerCall& call, int head, int c, int64_t first_row,
                                   int count, RunningMean mean) {
  const bool centered = call.shape().conditioning.has_mean();
  float g[kAhead], key[kAhead], query[kAhead];
  DS_UNROLL
  for (int t = 0; t < kAhead; ++t) {
    if (t >= count) continue;
    const auto row = [&](CovarianceRow part) {
      return call.covariance_row(first_row + t, head, part);
    };
    g[t] = covariance_log_decay(call, first_row + t, head, c);
    query[t] = row(CovarianceRow::kQuery)[c];
    key[t] = centered ? row(CovarianceRow::kKey)[c] : 0.0f;
  }
  DS_UNROLL
  for (int t = 0; t < kAhead; ++t) {
    if (t >= count) continue;
    const auto row = [&](CovarianceRow part) {
      return call.covariance_row(first_row + t, head, part);
    };
    const float decay = expf(g[t]);
    mean.count = decay * mean.count + 1.0f;
    row(CovarianceRow::kQuery)[c] = query[t] / mean.count;
    if (!centered) continue;
    mean.sum = decay * mean.sum + key[t];
    row(CovarianceRow::kMean)[c] = mean.sum / mean.count;
  }
  return mean;
}

// grid [segments, heads], a thread a channel
DS_KERNEL void DS_BOUNDS(kMaxKeyDim, 1) running_mean_kernel(LayerCall call) {
  simt::await_launches_before();
  const Segment segment = call.mixer.step.segments[simt::block_index().x];
  const int head = simt::block_index().y;
  const int c = simt::thread_index();
  if (segment.write_slot < 0) return;
  const MixerShape& shape = call.mixer.shape();
  const LayerStateLayout& layout = call.mixer.states.layout;
  const int64_t stride = padded_to_16(shape.key_dim);
  const int num_counts = shape.count_width();
  const int64_t count_stride = padded_to_16(num_counts);
  // If all channels share a count, each of their threads carries a copy, and one thread stores it.
  const Carried count(call.mixer, layout.key_count, segment, head, count_stride,
                      num_counts == 1 ? 0 : c);
  const Carried sum(call.mixer, layout.key_mean, segment, head, stride, c);
  const bool inside = c < shape.key_dim;
  const bool centered = shape.conditioning.has_mean() && c < stride;
  RunningMean mean = {inside ? count.load() : 0.0f, centered ? sum.load() : 0.0f};
  simt::sync_block();  // all have read the shared count
  const auto store = [&](int slot) {
    if (centered) sum.store(slot, mean.sum);
    if (c < num_counts) {
      count.store(slot, mean.count);
    } else if (c < count_stride) {
      Carried(call.mixer, layout.key_count, segment, head, count_stride, c).store(slot, 0);
    }
  };
  for (int i = 0; i < segment.num_rows; i += kAhead) {
    const int left = segment.num_rows - i;
    if (inside) {
      mean = average_rows(call.mixer, head, c, segment.first_row + i, left < kAhead ? left : kAhead,
                          mean);
    }
    if (i + kAhead == kept_rows(segment)) store(segment.keep_slot);
  }
  store(segment.write_slot);
}

// Returns the part of the conditioning gate's logit that falls to this lane.
DS_DEVICE float gate_part(const MixerCall& call, int row, int head) {
  const MixerShape& shape = call.shape();
  const GateInput input = shape.conditioning.gate_input;
  const int64_t n = shape.key_dim;
  const bool full = input == GateInput::kFull;
  const float* w = call.weights.conditioning;
  if (input == GateInput::kPerHead) w += head * n;
  if (full) w += head * n * shape.heads;
  const int end = full ? shape.heads : head + 1;
  float sum = 0;
  for (int h = full ? 0 : head; h < end; ++h) {
    const float* q = call.q(row, h);
    const float* weight = full ? w + h * n : w;
    for (int c = simt::lane_index(); c < n; c += simt::kWarp) sum += weight[c] * q[c];
  }
  return sum;
}

// grid [rows, blocks of heads], a warp a head
DS_KERNEL void DS_BOUNDS(kThreads, 8) conditioned_queries_kernel(LayerCall call) {
  simt::await_launches_before();
  const int row = simt::block_index().x;
  const MixerCall& mixer = call.mixer;
  const MixerShape& shape = mixer.shape();
  const QueryConditioning& ccq = shape.conditioning;
  const int head = simt::block_index().y * kWarps + simt::warp_index();
  if (call.segment_of_row(row).write_slot < 0 || head >= shape.heads) return;
  const float* __restrict__ q = mixer.q(row, head);
  const float* __restrict__ mean = mixer.covariance_row(row, head, CovarianceRow::kMean);
  float* __restrict__ out = mixer.query_row(row, head);
  const bool centered = ccq.has_mean();
  float sums[2] = {gate_part(mixer, row, head), 0};
  for (int c = simt::lane_index(); c < shape.key_dim && centered; c += simt::kWarp) {
    sums[1] += mean[c] * q[c];
  }
  simt::lanes_sum<simt::kWarp>(sums);
  const float bias =
      mixer.weights.conditioning_bias[ccq.gate_input == GateInput::kShared ? 0 : head];
  const float lambda = sigmoid(bias + sums[0]);
  float squares = 0;
  for (int c = simt::lane_index(); c < shape.key_dim; c += simt::kWarp) {
    const float seen = centered ? out[c] - sums[1] * mean[c] : out[c];
    const float x = q[c] - lambda * seen;
    squares += x * x;
    out[c] = x;
  }
  if (!ccq.renormalise) return;
  const float scale = l2_scale(simt::warp_sum(squares));
  for (int c = simt::lane_index(); c < shape.key_dim; c += simt::kWarp) out[c] *= scale;
}

template <int kLane>
void launch_key_sums_of(simt::Stream stream, const LayerCall& call) {
  const simt::Grid grid = {call.mixer.step.num_segments, blocks_of_warps(call.mixer.shape().heads),
                           1};
  simt::launch(stream, grid, kThreads, 0, key_sums_kernel<kLane>, call);
}

}  // namespace

void launch_precondition(simt::Stream stream, const LayerCall& call) {
  const MixerShape& shape = call.mixer.shape();
  DS_CHECK(shape.key_dim <= kMaxKeyDim);
  simt::launch(stream, {call.mixer.step.num_segments, shape.precond_heads, 1},
               row_block(shape.key_dim), 0, precondition_kernel, call);
}

void launch_key_sums(simt::Stream stream, const LayerCall& call) {
  const int key_dim = call.mixer.shape().key_dim;
  DS_CHECK(key_dim <= kMaxKeyDim);
  if (key_dim <= 4 * simt::kWarp) return launch_key_sums_of<4>(stream, call);
  if (key_dim <= 8 * simt::kWarp) return launch_key_sums_of<8>(stream, call);
  launch_key_sums_of<kMaxKeyDim / simt::kWarp>(stream, call);
}

void launch_covariance_rows(simt::Stream stream, const LayerCall& call) {
  const MixerShape& shape = call.mixer.shape();
  DS_CHECK(shape.key_dim <= kMaxKeyDim);
  simt::launch(stream, {call.mixer.step.num_rows, blocks_of_warps(shape.heads), 1}, kThreads, 0,
               covariance_rows_kernel, call);
  if (shape.conditioning.normaliser != Normaliser::kMean) return;
  simt::launch(stream, {call.mixer.step.num_segments, shape.heads, 1}, row_block(shape.key_dim), 0,
               running_mean_kernel, call);
}

void launch_conditioned_queries(simt::Stream stream, const LayerCall& call) {
  simt::launch(stream, {call.mixer.step.num_rows, blocks_of_warps(call.mixer.shape().heads), 1},
               kThreads, 0, conditioned_queries_kernel, call);
}

}  // namespace deltaserve::cuda
