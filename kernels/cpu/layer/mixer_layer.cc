#include "kernels/cpu/layer/mixer_layer.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/layer/rowwise.h"

namespace deltaserve::cpu {
namespace {

constexpr int64_t kBlockRows = 16;  // rows per task of a pass over rows

int64_t blocks_of(int64_t rows) {
  return (rows + kBlockRows - 1) / kBlockRows;
}

// o = o / divisor + D v
void add_skip(const MixerCall& call, int64_t row, int64_t head, float* o) {
  const MixerShape& shape = call.shape();
  if (shape.normalised) {
    const float divisor = call.gate_row(row)[call.gate_layout.divisor + head];
    for (int64_t j = 0; j < shape.value_dim; ++j) o[j] /= divisor;
  }
  const float* skip = call.weights.skip;
  if (skip == nullptr) return;
  const float* v = call.v(row, head);
  for (int64_t j = 0; j < shape.value_dim; ++j) o[j] += skip[head * shape.value_dim + j] * v[j];
}

// o = rms_norm(o) [* act(gate)] for one head.
void norm_and_gate_head(const MixerCall& call, int64_t row, int64_t head, float* o) {
  const MixerShape& shape = call.shape();
  rms_norm_row(o, call.weights.norm, shape.norm_eps, shape.value_dim, o);
  const int32_t column = call.layer.projection.gate;
  if (column < 0) return;
  const float* gate = call.projected_row(row) + column + head * shape.value_dim;
  gate_row(shape.gate_activation, gate, o, shape.value_dim, o);
}

// Copies states that continue in another slot, because every pass works in place.
void copy_moved_states(const MixerCall& call, ThreadPool& threads) {
  const StepView& step = call.step;
  const auto moves = [](const Segment& segment) {
    return segment.read_slot != segment.write_slot && segment.position > 0;
  };
  if (std::none_of(step.segments, step.segments + step.num_segments, moves)) return;
  const StateSpan whole = call.states.layout.whole();
  threads.parallel_for(step.num_segments, [&](int64_t s, int) {
    const Segment& segment = step.segments[s];
    if (!moves(segment)) return;
    std::copy_n(call.states.part(whole, segment.read_slot), whole.floats,
                call.states.part(whole, segment.write_slot));
  });
}

void rule_of_head(const MixerCall& call, const Segment& segment, int64_t head, float* scratch) {
  const MixerShape& shape = call.shape();
  if (shape.conditioning.on) condition_queries(call, segment, head, scratch);
  if (shape.normalised) sum_keys(call, segment, head);
  const HeadTokens tokens = head_tokens(call, segment.first_row, head);
  const HeadShape size = {shape.key_dim, shape.value_dim};
  SegmentState states = {call.states.head_state(size, segment.write_slot, head), {}};
  if (segment.keep_slot >= 0) states.kept = call.states.head_state(size, segment.keep_slot, head);
  float* out = call.out + segment.first_row * shape.value_columns() + head * shape.value_dim;
  run_segment(shape.kind, size, tokens, segment, states, out, shape.value_columns(), scratch);
  for (int64_t i = 0; i < segment.num_rows; ++i) {
    const int64_t row = segment.first_row + i;
    float* o = out + i * shape.value_columns();
    add_skip(call, row, head, o);
    if (shape.output_norm == OutputNorm::kHead) norm_and_gate_head(call, row, head, o);
  }
}

// Applies the norms over groups of channels, which span heads.
void norm_groups(const MixerCall& call, int64_t row) {
  const MixerShape& shape = call.shape();
  const int64_t columns = shape.value_columns();
  const int64_t width = columns / shape.norm_groups;
  float* o = call.out + row * columns;
  const auto norm = [&] {
    for (int64_t c = 0; c < columns; c += width) {
      const float* weight = call.weights.norm == nullptr ? nullptr : call.weights.norm + c;
      rms_norm_row(o + c, weight, shape.norm_eps, width, o + c);
    }
  };
  if (shape.output_norm == OutputNorm::kGroupsThenGate) norm();
  if (call.layer.projection.gate >= 0) {
    gate_row(shape.gate_activation, call.projected_row(row) + call.layer.projection.gate, o,
             columns, o);
  }
  if (shape.output_norm == OutputNorm::kGateThenGroups) norm();
}

// Stores in a slot the raw rows that a convolution after the segment's first `rows` reads, from
// the segment or zeros in front of the sequence; the rows before the segment are in the slot.
void store_raw_rows(const MixerCall& call, const Segment& segment, int slot, int64_t rows) {
  const int64_t channels = call.shape().channels();
  const int64_t width = call.shape().conv_width;
  const int64_t end = segment.position + rows;
  for (int64_t position = end - width; position < end; ++position) {
    const int64_t source = position - segment.position;  // row of the segment
    if (source >= 0) {
      std::copy_n(call.projected_row(segment.first_row + source), channels,
                  call.raw_row(slot, position));
    } else if (position < 0) {
      std::fill_n(call.raw_row(slot, position + width), channels, 0.0f);
    }
  }
}

template <class Body>
void for_row_blocks(int64_t rows, ThreadPool& threads, const Body& body) {
  threads.parallel_for(blocks_of(rows), [&](int64_t block, int) {
    const int64_t end = std::min(rows, (block + 1) * kBlockRows);
    for (int64_t row = block * kBlockRows; row < end; ++row) body(row);
  });
}

}  // namespace

void run_segment(MixerKind kind, const HeadShape& size, const HeadTokens& tokens,
                 const Segment& segment, const SegmentState& states, float* out, int64_t out_stride,
                 float* scratch) {
  const HeadState& state = states.state;
  const bool from_zero = segment.position == 0;
  if (segment.kind == RowKind::kPrefill) {
    return delta_prefill(kind, size, tokens, segment.num_rows, from_zero, state, out, out_stride,
                         scratch, states.kept);
  }
  if (from_zero) {
    const auto elements = static_cast<size_t>(size.value_dim * size.key_stride());
    std::memset(state.data, 0, elements * state_format_size(state.format));
  }
  delta_decode(kind, size, tokens, segment.num_rows, state, out, out_stride, scratch);
}

bool MixerRunner::reserve(Array<MixerLayer> layers, int64_t max_rows, int64_t max_segments,
                          int num_threads) {
  int64_t features = 0;
  int64_t gates = 0;
  int64_t queries = 0;
  for (const MixerLayer& layer : layers) {
    const MixerShape& shape = layer.shape;
    features = std::max<int64_t>(features, shape.channels());
    gates = std::max(gates, GateLayout(shape).floats);
    scratch_floats_ =
        std::max(scratch_floats_, delta_scratch_floats({shape.key_dim, shape.value_dim}));
    if (!shape.conditioning.on) continue;
    queries = std::max(queries, int64_t{shape.heads} * shape.key_dim);
    scratch_floats_ =
        std::max(scratch_floats_, delta_scratch_floats({shape.key_dim, shape.key_dim}));
  }
  const auto rows_of = [&](int64_t floats) {
    bytes_ += max_rows * floats * static_cast<int64_t>(sizeof(float));
    return allocate_aligned<float>(static_cast<size_t>(max_rows * floats));
  };
  features_ = rows_of(features);
  gates_ = rows_of(gates);
  if (queries > 0) {
    queries_ = rows_of(queries);
    covariance_ = rows_of(4 * queries);
    if (queries_ == nullptr || covariance_ == nullptr) return false;
  }
  scratch_floats_ = padded_to_16(scratch_floats_);
  bytes_ += num_threads * scratch_floats_ * static_cast<int64_t>(sizeof(float));
  scratch_ = allocate_aligned<float>(static_cast<size_t>(num_threads * scratch_floats_));
  first_block_ = allocate_aligned<int64_t>(static_cast<size_t>(max_segments + 1));
  return features_ != nullptr && gates_ != nullptr && scratch_ != nullptr &&
         first_block_ != nullptr;
}

void MixerRunner::run(const MixerLayer& layer, const MixerWeights& weights, const StepView& step,
                      const float* projected, float* out, const LayerStates& states,
                      ThreadPool& threads) {
  const MixerShape& shape = layer.shape;
  const MixerCall call = {layer,
                          weights,
                          step,
                          projected,
                          out,
                          states,
                          features_.get(),
                          gates_.get(),
                          shape.conditioning.on ? queries_.get() : nullptr,
                          shape.conditioning.on ? covariance_.get() : nullptr,
                          GateLayout(shape)};
  copy_moved_states(call, threads);
  run_features(call, threads);
  if (shape.precond_heads > 0) {
    threads.parallel_for(int64_t{step.num_segments} * shape.precond_heads, [&](int64_t task, int) {
      precondition_head(call, step.segments[task / shape.precond_heads],
                        task % shape.precond_heads);
    });
  }
  run_rule(call, threads);
  if (shape.output_norm != OutputNorm::kHead) {
    for_row_blocks(step.num_rows, threads, [&](int64_t row) { norm_groups(call, row); });
  }
  if (shape.conv_width <= 1) return;
  threads.parallel_for(step.num_segments, [&](int64_t s, int) {
    const Segment& segment = step.segments[s];
    if (segment.keep_slot >= 0) {
      store_raw_rows(call, segment, segment.keep_slot, kept_rows(segment));
    }
    store_raw_rows(call, segment, segment.write_slot, segment.num_rows);
  });
}

void MixerRunner::run_features(const MixerCall& call, ThreadPool& threads) {
  const StepView& step = call.step;
  first_block_[0] = 0;
  for (int s = 0; s < step.num_segments; ++s) {
    first_block_[s + 1] = first_block_[s] + blocks_of(step.segments[s].num_rows);
  }
  const int64_t* blocks = first_block_.get();
  threads.parallel_for(blocks[step.num_segments], [&](int64_t block, int) {
    const auto s = std::upper_bound(blocks, blocks + step.num_segments + 1, block) - blocks - 1;
    const Segment& segment = step.segments[s];
    const int64_t begin = (block - blocks[s]) * kBlockRows;
    compute_features(call, segment, begin, std::min<int64_t>(begin + kBlockRows, segment.num_rows));
  });
}

void MixerRunner::run_rule(const MixerCall& call, ThreadPool& threads) {
  const StepView& step = call.step;
  const int64_t heads = call.shape().heads;
  // Long segments go first: they take longest, and the short ones fill the gaps at the end.
  threads.parallel_for(int64_t{step.num_segments} * heads, [&](int64_t task, int thread) {
    const int64_t s = step.num_segments - 1 - task / heads;
    rule_of_head(call, step.segments[s], task % heads, scratch_.get() + thread * scratch_floats_);
  });
}

}  // namespace deltaserve::cpu
