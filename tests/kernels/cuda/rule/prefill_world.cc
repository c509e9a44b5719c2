#include "tests/kernels/cuda/rule/prefill_world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "kernels/cuda/layer/prefill_features.h"
#include "tests/kernels/base/state_formats.h"

namespace deltaserve {
namespace {

using cuda::Chunk;
using cuda::Rule;
using reference::HeadInputs;
using reference::Vec;

constexpr int kHeads = 2;
constexpr int kPaddingRows = 3;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

MixerShape make_shape(const PrefillCase& c) {
  const HeadCase& head = c.head;
  MixerShape shape;
  shape.kind = head.kind;
  shape.heads = shape.v_heads = shape.beta_heads = kHeads;
  // Both heads share queries and keys.
  shape.q_heads = shape.k_heads = 1;
  shape.decay_heads = decay_of(head.kind) == Decay::kNone ? 0 : kHeads;
  shape.precond_heads = is_preconditioned(head.kind) ? 1 : 0;
  shape.key_dim = head.key_dim;
  shape.value_dim = head.value_dim;
  shape.scale = static_cast<float>(1 / std::sqrt(head.key_dim));
  shape.conditioning.on = c.rule == Rule::kCovariance;
  return shape;
}

// Row `t` of an operand, `width` numbers; nothing where it is absent.
void copy_row(const Vec& from, int t, int64_t width, float* to) {
  if (from.empty()) return;
  for (int64_t i = 0; i < width; ++i) to[i] = static_cast<float>(from[t * width + i]);
}

}  // namespace

// This is the device's memory during a step; NaN where nothing is written.
struct PrefillWorld::Memory {
  Memory(const MixerShape& shape, int64_t rows, int64_t max_chunks)
      : gate_layout(shape),
        features(static_cast<size_t>(rows * shape.channels()), kNan),
        gates(static_cast<size_t>(rows * gate_layout.floats), kNan),
        queries(static_cast<size_t>(rows * shape.heads * shape.key_dim), kNan),
        covariance(static_cast<size_t>(rows * shape.heads * 4 * shape.key_dim), kNan),
        out(static_cast<size_t>(rows * shape.value_columns()), kNan),
        scratch(cuda::prefill_scratch_bytes(shape, max_chunks) / sizeof(simt::Words4) + 1) {
    std::memset(scratch.data(), 0xff, scratch.size() * sizeof(scratch[0]));
  }

  GateLayout gate_layout;
  std::vector<float> features, gates, queries, covariance, out;
  std::vector<simt::Words4> scratch;
  std::vector<Segment> segments;
  std::vector<Chunk> chunks;
  std::vector<int32_t> row_segments;
};

PrefillWorld::PrefillWorld(const PrefillCase& c, const std::vector<int>& lengths)
    : case_(c), shape_(make_shape(c)), layout_(StateLayout::of(shape_, 1, c.format)) {
  const auto count = static_cast<int>(lengths.size());
  slots_.assign(static_cast<size_t>((2 * count + 1) * layout_.floats), kNan);
  for (int s = 0; s < count; ++s) {
    // Even slots belong to nobody.
    Sequence sequence = {lengths[s], s % 2 == 0 ? 0 : 128, 2 * s + 1, {}, {}, {}};
    std::mt19937 rng(static_cast<uint32_t>(s) + 5);
    std::normal_distribution<double> normal;
    for (int h = 0; h < kHeads; ++h) {
      sequence.heads.push_back(make_inputs(s, h, lengths[s]));
      if (h > 0) {
        sequence.heads[h].q = sequence.heads[0].q;
        sequence.heads[h].k = sequence.heads[0].k;
        sequence.heads[h].multiplier = sequence.heads[0].multiplier;
      }
      Vec state(static_cast<size_t>(shape_.key_dim * value_dim()), 0.0);
      if (sequence.position > 0) {
        // Quarters are the same numbers in every format.
        for (double& x : state) x = std::round(4 * normal(rng)) / 4;
        const int64_t stride = padded_to_16(shape_.key_dim);
        void* to = state_of(sequence.slot, h);
        for (int64_t at = 0; at < value_dim() * stride; ++at) {
          const int64_t channel = at % stride;
          const double x =
              channel < shape_.key_dim ? state[channel * value_dim() + at / stride] : 0.0;
          store_rounded(format(), static_cast<float>(x), to, at);
        }
      }
      sequence.states.push_back(std::move(state));
    }
    sequence.out.assign(static_cast<size_t>(lengths[s] * kHeads * value_dim()), kNan);
    sequences_.push_back(std::move(sequence));
  }
}

MixerKind PrefillWorld::kind() const {
  return case_.rule == Rule::kLayer ? shape_.kind : covariance_kind(shape_);
}

HeadInputs PrefillWorld::make_inputs(int sequence, int head, int tokens) const {
  const auto seed = static_cast<uint32_t>(17 + 2 * sequence + head);
  HeadInputs in =
      make_head_inputs({kind(), case_.head.inputs, shape_.key_dim, value_dim()}, tokens, seed);
  if (case_.rule == Rule::kCovariance) {
    in.r.clear();
    in.scale = 1;
    if (!in.beta.empty()) in.beta.assign(in.beta.size(), 1.0);
  }
  // A rule that takes bf16 is compared with the truth of rounded operands, as matmuls are. It reads
  // with q itself.
  if (cuda::has_image_prefill(shape_)) {
    in.r.clear();
    for (Vec* operand : {&in.q, &in.k, &in.v}) {
      for (double& x : *operand) x = bf16_to_f32(f32_to_bf16(static_cast<float>(x)));
    }
  }
  return in;
}

void* PrefillWorld::state_of(int slot, int head) {
  const auto& layer = layout_.layers[0];
  const StateSpan& part = case_.rule == Rule::kLayer ? layer.state : layer.covariance;
  const int64_t elements = head * value_dim() * padded_to_16(shape_.key_dim);
  auto* base = reinterpret_cast<unsigned char*>(&slots_[slot * layout_.floats + part.offset]);
  return base + elements * static_cast<int64_t>(state_format_size(format()));
}

float PrefillWorld::stored(int slot, int head, int64_t element) const {
  return load_stored(format(), const_cast<PrefillWorld*>(this)->state_of(slot, head), element);
}

void PrefillWorld::fill_row(const Sequence& sequence, int t, int64_t row, Memory& memory) const {
  const int64_t K = shape_.key_dim;
  const int64_t V = shape_.value_dim;
  const GateLayout& at = memory.gate_layout;
  float* features = &memory.features[row * shape_.channels()];
  float* gates = &memory.gates[row * at.floats];
  for (int64_t h = 0; h < kHeads; ++h) {
    const HeadInputs& in = sequence.heads[h];
    const int64_t decays = shape_.decay_width();
    copy_row(in.g, t, decays, gates + at.g + h * decays);
    if (case_.rule == Rule::kCovariance) {
      float* operands = &memory.covariance[(row * kHeads + h) * 4 * K];
      copy_row(in.v, t, K, operands + static_cast<int64_t>(CovarianceRow::kKey) * K);
      copy_row(in.k, t, K, operands + static_cast<int64_t>(CovarianceRow::kWrite) * K);
      copy_row(in.q, t, K, operands + static_cast<int64_t>(CovarianceRow::kQuery) * K);
      continue;
    }
    copy_row(in.q, t, K, features);
    copy_row(in.k, t, K, features + K);
    copy_row(in.v, t, V, features + 2 * K + h * V);
    copy_row(in.r, t, K, &memory.queries[(row * kHeads + h) * K]);
    copy_row(in.beta, t, 1, gates + at.beta + h);
    if (in.beta.empty()) gates[at.beta + h] = 1;
    copy_row(in.lambda, t, 1, gates + at.lambda + h);
    copy_row(in.erase_gate, t, K, gates + at.erase_gate + h * K);
    copy_row(in.write_gate, t, V, gates + at.write_gate + h * V);
    copy_row(in.multiplier, t, K, gates + at.multiplier);
  }
}

void PrefillWorld::spoil(int sequence, int token) {
  for (HeadInputs& head : sequences_[sequence].heads) {
    std::fill_n(head.v.begin() + int64_t{token} * head.value_dim, head.value_dim, INFINITY);
  }
}

void PrefillWorld::step(cuda::PrefillPath path, const std::vector<Part>& parts, int slot_shift) {
  int64_t rows = 1;
  int64_t max_chunks = 0;
  for (const Part& part : parts) {
    rows += part.end - part.begin;
    max_chunks += (part.end - part.begin + kChunkTokens - 1) / kChunkTokens;
  }
  Memory memory(shape_, rows, max_chunks);
  memory.segments.push_back({RowKind::kDecode, 0, 0, 0, 1, 5});
  memory.row_segments.push_back(0);
  for (const Part& part : parts) {
    const auto index = static_cast<int32_t>(memory.segments.size());
    const auto first = static_cast<int32_t>(memory.row_segments.size());
    const int count = part.end - part.begin;
    const bool padding = part.sequence < 0;
    Segment segment = {RowKind::kPrefill, -1, -1, first, count, 0};
    if (!padding) {
      Sequence& sequence = sequences_[part.sequence];
      segment.read_slot = sequence.slot;
      segment.write_slot = sequence.slot += slot_shift;
      segment.position = sequence.position + part.begin;
      if (part.keeps) segment.keep_slot = keep_slot(part.sequence);
    }
    memory.segments.push_back(segment);
    for (int i = 0; i < count; ++i) {
      if (!padding) fill_row(sequences_[part.sequence], part.begin + i, first + i, memory);
      memory.row_segments.push_back(index);
    }
    for (int i = 0; i < count; i += kChunkTokens) {
      memory.chunks.push_back({index, first + i, std::min(kChunkTokens, count - i)});
    }
  }

  const std::vector<float> before = slots_;
  MixerLayer layer;
  layer.shape = shape_;
  StepView view = {nullptr,
                   static_cast<int32_t>(rows),
                   memory.segments.data(),
                   static_cast<int32_t>(memory.segments.size()),
                   1,
                   1};
  const bool layer_rule = case_.rule == Rule::kLayer;
  const MixerCall mixer = {layer,
                           {},
                           view,
                           nullptr,
                           memory.out.data(),
                           {slots_.data(), layout_.floats, layout_.layers[0]},
                           memory.features.data(),
                           memory.gates.data(),
                           cuda::has_image_prefill(shape_) ? nullptr : memory.queries.data(),
                           layer_rule ? nullptr : memory.covariance.data(),
                           memory.gate_layout};
  const cuda::LayerCall call = {mixer,
                                memory.row_segments.data(),
                                memory.chunks.data(),
                                static_cast<int32_t>(memory.chunks.size()),
                                memory.scratch.data(),
                                nullptr,
                                {}};
  if (path == cuda::PrefillPath::kTensor && cuda::has_image_prefill(shape_)) {
    launch_rounded_features({}, call);
  }
  launch_prefill({}, {call, case_.rule}, path);

  const std::vector<float>& out = layer_rule ? memory.out : memory.queries;
  const int64_t width = kHeads * value_dim();
  for (int64_t i = 0; i < width; ++i) ASSERT_TRUE(std::isnan(out[i])) << "the decode row's";
  int64_t row = 1;
  std::vector<bool> owned(slots_.size() / layout_.floats, false);
  for (const Part& part : parts) {
    const int64_t count = (part.end - part.begin) * width;
    const float* from = &out[row * width];
    if (part.sequence >= 0) {
      std::copy_n(from, count, &sequences_[part.sequence].out[part.begin * width]);
      owned[sequences_[part.sequence].slot] = true;
      if (part.keeps) owned[keep_slot(part.sequence)] = true;
    } else {
      for (int64_t i = 0; i < count; ++i) ASSERT_EQ(from[i], 0.0f) << "padding";
    }
    row += part.end - part.begin;
  }
  for (size_t slot = 0; slot < owned.size(); ++slot) {
    const size_t at = slot * layout_.floats;
    if (owned[slot]) continue;
    ASSERT_EQ(std::memcmp(&slots_[at], &before[at], layout_.bytes()), 0) << "slot " << slot;
  }
}

void PrefillWorld::step_all(cuda::PrefillPath path) {
  std::vector<Part> parts;
  for (int s = 0; s < static_cast<int>(sequences_.size()); ++s) {
    parts.push_back({s, 0, sequences_[s].tokens});
    if (s == 0) parts.push_back({-1, 0, kPaddingRows});
  }
  step(path, parts);
}

void PrefillWorld::round_states(StateFormat format) {
  for (const Sequence& sequence : sequences_) {
    for (int h = 0; h < kHeads; ++h) {
      auto* state = static_cast<float*>(state_of(sequence.slot, h));
      for (int64_t i = 0; i < value_dim() * padded_to_16(shape_.key_dim); ++i) {
        state[i] = round_to(format, state[i]);
      }
    }
  }
}

std::vector<float> PrefillWorld::slot_state(int slot) const {
  std::vector<float> all;
  for (int h = 0; h < kHeads; ++h) {
    for (int64_t i = 0; i < value_dim() * padded_to_16(shape_.key_dim); ++i) {
      all.push_back(stored(slot, h, i));
    }
  }
  return all;
}

void PrefillWorld::expect_near(double out_tolerance, double state_tolerance) {
  const int64_t stride = padded_to_16(shape_.key_dim);
  for (const Sequence& sequence : sequences_) {
    for (int h = 0; h < kHeads; ++h) {
      SCOPED_TRACE(testing::Message() << sequence.tokens << " tokens, head " << h);
      const auto truth = recurrence(kind(), sequence.heads[h], sequence.states[h]);
      Vec out, state(truth.s.size());
      for (int64_t t = 0; t < sequence.tokens; ++t) {
        const float* row = &sequence.out[(t * kHeads + h) * value_dim()];
        out.insert(out.end(), row, row + value_dim());
      }
      for (int64_t at = 0; at < value_dim() * stride; ++at) {
        const float x = stored(sequence.slot, h, at);
        if (at % stride < shape_.key_dim) {
          state[at % stride * value_dim() + at / stride] = x;
        } else {
          ASSERT_EQ(x, 0.0f) << "padding of the state";
        }
      }
      const double out_error = relative_error(out, truth.o);
      const double state_error = relative_error(state, truth.s);
      // Written so that NaN fails.
      EXPECT_LT(out_error, out_tolerance);
      EXPECT_LT(state_error, state_tolerance);
      largest_out_error_ = std::max(largest_out_error_, out_error);
      largest_state_error_ = std::max(largest_state_error_, state_error);
    }
  }
}

}  // namespace deltaserve
