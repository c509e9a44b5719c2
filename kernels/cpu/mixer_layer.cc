#include "kernels/cpu/mixer_layer.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/rowwise.h"
#include "kernels/mixer/gates.h"

namespace deltaserve::cpu {
namespace {

constexpr int64_t kBlockRows = 16;  // rows of one task of the feature pass
constexpr int kMaxConvWidth = 16;

int64_t blocks_of(const Segment& segment) {
  return (segment.num_rows + kBlockRows - 1) / kBlockRows;
}

}  // namespace

struct MixerRunner::Call {
  const MixerLayer& layer;
  const MixerWeights& weights;
  const StepView& step;
  const float* projected;
  float* out;
  const LayerStates& states;
  int64_t channels;

  const float* projected_row(int64_t row) const {
    return projected + row * layer.projection.columns;
  }
};

bool MixerRunner::reserve(const MixerLayer& largest, int64_t max_rows, int64_t max_segments,
                          int num_threads) {
  features_ = allocate_aligned<float>(static_cast<size_t>(max_rows * largest.channels()));
  gates_ = allocate_aligned<float>(static_cast<size_t>(max_rows * 3 * largest.value_heads));
  scratch_floats_ = padded_to_16(delta_scratch_floats({largest.key_dim, largest.value_dim}));
  scratch_ = allocate_aligned<float>(static_cast<size_t>(num_threads * scratch_floats_));
  first_block_ = allocate_aligned<int64_t>(static_cast<size_t>(max_segments + 1));
  return features_ != nullptr && gates_ != nullptr && scratch_ != nullptr &&
         first_block_ != nullptr;
}

// Convolution, SiLU and l2 norm of rows [begin, end) of a segment. Raw rows before the segment come
// from the slot's tail.
void MixerRunner::features_of_rows(const Call& call, const Segment& segment, int64_t begin,
                                   int64_t end) {
  const MixerLayer& layer = call.layer;
  const int width = std::max(layer.conv_width, 1);
  const float* tail = width > 1 ? call.states.conv_tail(segment.slot) : nullptr;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t row = segment.first_row + i;
    float* features = features_.get() + row * call.channels;
    const float* inputs[kMaxConvWidth];
    for (int j = 0; j < width; ++j) {
      const int64_t source = i - (width - 1) + j;
      inputs[j] = source >= 0 ? call.projected_row(segment.first_row + source)
                              : tail + (source + width - 1) * call.channels;
    }
    // Before the start of the sequence there is nothing: those taps drop out.
    const auto missing =
        static_cast<int>(std::max<int64_t>(0, (width - 1) - (segment.position + i)));
    if (layer.conv_width > 0) {
      conv_silu_row(inputs + missing, call.weights.conv + missing * call.channels, call.channels,
                    width - missing, call.channels, features);
    } else {
      silu_row(inputs[0], call.channels, features);
    }
    for (int64_t h = 0; h < 2 * layer.heads; ++h) {
      l2_norm_row(features + h * layer.key_dim, layer.key_dim);
    }
    gates_of_row(call, row);
  }
}

void MixerRunner::gates_of_row(const Call& call, int64_t row) {
  const MixerLayer& layer = call.layer;
  const float* in = call.projected_row(row);
  const int64_t heads = layer.value_heads;
  float* g = gates_.get() + row * 3 * heads;
  float* beta = g + heads;
  float* lambda = beta + heads;
  const ProjectionLayout& at = layer.projection;
  for (int64_t h = 0; h < heads; ++h) {
    g[h] = at.decay < 0
               ? 0.0f
               : log_decay(in[at.decay + h], call.weights.a_log[h], call.weights.dt_bias[h]);
    beta[h] = at.beta < 0 ? 1.0f : layer.gate_factor * sigmoid(in[at.beta + h]);
    lambda[h] =
        at.lambda < 0 ? 0.0f : layer.gate_factor * sigmoid(in[at.lambda + h] - layer.lambda_bias);
  }
}

void MixerRunner::rule_of_head(const Call& call, const Segment& segment, bool decode, int64_t head,
                               float* scratch) {
  const MixerLayer& layer = call.layer;
  const int64_t query_head = head / (layer.value_heads / layer.heads);
  const float* features = features_.get() + segment.first_row * call.channels;
  const float* gates = gates_.get() + segment.first_row * 3 * layer.value_heads + head;
  HeadTokens tokens;
  tokens.q = features + query_head * layer.key_dim;
  tokens.k = tokens.q + layer.key_columns();
  tokens.v = features + 2 * layer.key_columns() + head * layer.value_dim;
  tokens.feature_stride = call.channels;
  tokens.g = gates;
  tokens.beta = gates + layer.value_heads;
  tokens.lambda = gates + 2 * layer.value_heads;
  tokens.gate_stride = 3 * layer.value_heads;
  tokens.scale = 1.0f / std::sqrt(static_cast<float>(layer.key_dim));

  const HeadShape shape = {layer.key_dim, layer.value_dim};
  float* state = call.states.state(segment.slot) + head * layer.value_dim * shape.key_stride();
  float* out = call.out + segment.first_row * layer.value_columns() + head * layer.value_dim;
  if (decode) {
    delta_decode(layer.kind, shape, tokens, state, out, scratch);
  } else {
    delta_prefill(layer.kind, shape, tokens, segment.num_rows, segment.position == 0, state, out,
                  layer.value_columns(), scratch);
  }
  finish_rows(call, segment.first_row, segment.num_rows, head);
}

// o = rms_norm(o) [* silu(gate)] for one head.
void MixerRunner::finish_rows(const Call& call, int64_t first_row, int64_t num_rows, int64_t head) {
  const MixerLayer& layer = call.layer;
  for (int64_t row = first_row; row < first_row + num_rows; ++row) {
    float* o = call.out + row * layer.value_columns() + head * layer.value_dim;
    rms_norm_row(o, call.weights.norm, layer.norm_eps, layer.value_dim, o);
    if (layer.projection.gate < 0) continue;
    const float* gate = call.projected_row(row) + layer.projection.gate + head * layer.value_dim;
    swiglu_row(gate, o, layer.value_dim, o);
  }
}

// The last conv_width - 1 raw rows of the sequence, the segment's own and what was there before.
static void update_tail(const MixerLayer& layer, const Segment& segment, const float* projected,
                        int64_t channels, float* tail) {
  const int64_t length = layer.conv_width - 1;
  for (int64_t j = 0; j < length; ++j) {
    const int64_t source = segment.num_rows - length + j;  // row of the segment
    float* to = tail + j * channels;
    if (source >= 0) {
      std::copy_n(projected + (segment.first_row + source) * layer.projection.columns, channels,
                  to);
    } else if (segment.position + source >= 0) {
      std::copy_n(tail + (j + segment.num_rows) * channels, channels, to);
    } else {
      std::fill_n(to, channels, 0.0f);
    }
  }
}

void MixerRunner::run(const MixerLayer& layer, const MixerWeights& weights, const StepView& step,
                      const float* projected, float* out, const LayerStates& states,
                      ThreadPool& threads) {
  const Call call = {layer, weights, step, projected, out, states, layer.channels()};
  first_block_[0] = 0;
  for (int s = 0; s < step.num_segments; ++s) {
    first_block_[s + 1] = first_block_[s] + blocks_of(step.segments[s]);
  }
  const int64_t* blocks = first_block_.get();
  threads.parallel_for(blocks[step.num_segments], [&](int64_t block, int) {
    const auto s = std::upper_bound(blocks, blocks + step.num_segments + 1, block) - blocks - 1;
    const Segment& segment = step.segments[s];
    const int64_t begin = (block - blocks[s]) * kBlockRows;
    features_of_rows(call, segment, begin, std::min<int64_t>(begin + kBlockRows, segment.num_rows));
  });
  // Long segments first: they take longest, and the short ones fill the gaps at the end.
  const int64_t tasks = int64_t{step.num_segments} * layer.value_heads;
  threads.parallel_for(tasks, [&](int64_t task, int thread) {
    const int64_t s = step.num_segments - 1 - task / layer.value_heads;
    rule_of_head(call, step.segments[s], s < step.num_decode, task % layer.value_heads,
                 scratch_.get() + thread * scratch_floats_);
  });
  if (layer.conv_width <= 1) return;
  threads.parallel_for(step.num_segments, [&](int64_t s, int) {
    const Segment& segment = step.segments[s];
    update_tail(layer, segment, projected, call.channels, states.conv_tail(segment.slot));
  });
}

}  // namespace deltaserve::cpu
