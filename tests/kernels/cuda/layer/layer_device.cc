#include "tests/kernels/cuda/layer/layer_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cuda/layer/mixer_layer.h"
#include "kernels/cuda/rule/delta_prefill.h"
#include "tests/kernels/base/state_formats.h"
#include "tests/kernels/mixer/head_inputs.h"

namespace deltaserve {
namespace {

using reference::Vec;

constexpr float kUntouched = 77;
constexpr int kSquareGroup = 16;  // values of a sum of LayerCall::head_squares

using FloatPart = StateSpan LayerStateLayout::*;
constexpr FloatPart kFloatParts[] = {&LayerStateLayout::conv_rows, &LayerStateLayout::squares,
                                     &LayerStateLayout::key_sum,   &LayerStateLayout::covariance,
                                     &LayerStateLayout::key_count, &LayerStateLayout::key_mean};

size_t size(int64_t n) {
  return static_cast<size_t>(n);
}

// Copies a slot into one whose states have another format; `elements` of each layer's state.
void convert(const StateLayout& from_layout, const StateLayout& to_layout, int64_t elements,
             const float* from, float* to) {
  for (size_t layer = 0; layer < to_layout.layers.size(); ++layer) {
    const LayerStateLayout& source = from_layout.layers[layer];
    const LayerStateLayout& target = to_layout.layers[layer];
    for (int64_t i = 0; i < elements; ++i) {
      store_rounded(target.format, load_stored(source.format, from + source.state.offset, i),
                    to + target.state.offset, i);
    }
    for (const auto part : kFloatParts) {
      std::copy_n(from + (source.*part).offset, padded_to_16((source.*part).floats),
                  to + (target.*part).offset);
    }
  }
}

std::vector<cuda::Chunk> chunks_of(const StepView& view) {
  std::vector<cuda::Chunk> chunks;
  for (int s = view.num_decode; s < view.num_segments; ++s) {
    const Segment& segment = view.segments[s];
    for (int32_t row = 0; row < segment.num_rows; row += kChunkTokens) {
      chunks.push_back(
          {s, segment.first_row + row, std::min<int32_t>(kChunkTokens, segment.num_rows - row)});
    }
  }
  return chunks;
}

std::vector<int32_t> row_segments_of(const StepView& view) {
  std::vector<int32_t> rows;
  for (int s = 0; s < view.num_segments; ++s) {
    rows.insert(rows.end(), size(view.segments[s].num_rows), s);
  }
  return rows;
}

bool same(const float* a, const float* b, size_t n) {
  return std::memcmp(a, b, n * sizeof(float)) == 0;
}

}  // namespace

Piece whole_job(int job) {
  return {job, 0, kJobs[job].rows, kJobs[job].decode};
}

LayerDevice::LayerDevice(const World& world, StateFormat format, const cuda::LayerPaths& paths,
                         bool unnormed)
    : world_(world),
      paths_(paths),
      unnormed_(unnormed),
      float_layout_(StateLayout::of(world.layer().shape, kLayers)),
      layout_(StateLayout::of(world.layer().shape, kLayers, format)),
      slots_(size(kNumSlots * layout_.floats)),
      before_(size(kNumSlots * layout_.floats)) {
  for (int i = 0; i < kNumSlots; ++i) {
    const float* from = world.before().data() + i * world.slot_floats();
    float* to = slots_.data() + i * layout_.floats;
    convert(float_layout_, layout_, state_elements(), from, to);
  }
  for (int job = 0; job < kNumJobs; ++job) {
    if (kJobs[job].history == 0) poison(slots_.data() + slot_of(job) * layout_.floats);
  }
  std::copy_n(slots_.data(), kNumSlots * layout_.floats, before_.data());
  for (int job = 0; job < kNumJobs; ++job) {
    out_.emplace_back(size(kJobs[job].rows * columns()), NAN);
    slot_.push_back(slot_of(job));
    kept_.push_back(-1);
  }
}

void LayerDevice::poison(float* slot) const {
  const LayerStateLayout& layer = layout_.layers[1];
  for (const auto part : kFloatParts) {
    std::fill_n(slot + (layer.*part).offset, (layer.*part).floats, NAN);
  }
  std::fill_n(slot + layer.state.offset, layer.state.floats, NAN);
}

void LayerDevice::run(const StepView& view, const std::vector<float>& projected,
                      std::vector<float>& out, std::vector<uint16_t>& out_bf16,
                      std::vector<float>& head_squares) {
  const MixerShape& shape = world_.layer().shape;
  const GateLayout gate_layout(shape);
  const int64_t key_columns = shape.conditioning.on ? int64_t{shape.heads} * shape.key_dim : 0;
  // Exactly as large as they must be, for the sanitizers, and full of NaN.
  const auto rows_of = [&](int64_t floats) {
    return std::vector<float>(size(view.num_rows * floats), NAN);
  };
  std::vector<float> features = rows_of(shape.channels());
  std::vector<float> gates = rows_of(gate_layout.floats);
  std::vector<float> queries = rows_of(key_columns);
  std::vector<float> covariance = rows_of(4 * key_columns);
  const std::vector<cuda::Chunk> chunks = chunks_of(view);
  const std::vector<int32_t> row_segments = row_segments_of(view);
  const size_t scratch_bytes = cuda::prefill_scratch_bytes(shape, std::ssize(chunks));
  std::vector<unsigned char> scratch(scratch_bytes, 0xff);
  MixerLayer layer = world_.layer();
  std::vector<float> rows = rows_of(layer.projection.columns + kBehindRow);
  for (int64_t r = 0; r < view.num_rows; ++r) {
    const int64_t width = layer.projection.columns;
    std::copy_n(&projected[size(r * width)], width, &rows[size(r * (width + kBehindRow))]);
  }
  layer.projection.columns += kBehindRow;
  const cuda::LayerCall call = {{layer,
                                 world_.weights(),
                                 view,
                                 rows.data(),
                                 out.data(),
                                 {slots_.data(), layout_.floats, layout_.layers[1]},
                                 features.data(),
                                 gates.data(),
                                 key_columns == 0 ? nullptr : queries.data(),
                                 key_columns == 0 ? nullptr : covariance.data(),
                                 gate_layout},
                                row_segments.data(),
                                chunks.data(),
                                static_cast<int32_t>(chunks.size()),
                                scratch.data(),
                                out_bf16.data(),
                                paths_,
                                kBehindRow,
                                unnormed_ ? head_squares.data() : nullptr};
  cuda::run_mixer_layer({}, call);
}

void LayerDevice::step(const std::vector<Piece>& pieces, int slot_shift) {
  std::vector<Segment> segments;
  std::vector<float> projected;
  int rows = 0;
  for (const Piece& piece : pieces) {
    const int count = piece.end - piece.begin;
    const RowKind kind = piece.decode ? RowKind::kDecode : RowKind::kPrefill;
    if (piece.job == kPadding) {
      segments.push_back({kind, -1, -1, rows, count, 0});
      projected.insert(projected.end(), size(count * world_.layer().projection.columns), NAN);
    } else {
      int& slot = slot_[size(piece.job)];
      segments.push_back({kind, slot, slot + slot_shift, rows, count,
                          kJobs[piece.job].history + piece.begin, piece.keep_slot});
      slot += slot_shift;
      if (piece.keep_slot >= 0) kept_[size(piece.job)] = piece.keep_slot;
      projected.insert(projected.end(), world_.projected_row(piece.job, piece.begin),
                       world_.projected_row(piece.job, piece.end));
    }
    rows += count;
  }
  const std::vector<int32_t> no_tokens(size(rows), 0);
  const StepView view = StepView::of({array_of(no_tokens), array_of(segments)});
  // One row more than there are.
  std::vector<float> out(size((rows + 1) * stride()), kUntouched);
  std::vector<uint16_t> out_bf16(out.size(), f32_to_bf16(kUntouched));
  const int64_t squares = int64_t{view.num_decode_rows} * columns() / kSquareGroup;
  std::vector<float> head_squares(size(squares), NAN);
  run(view, projected, out, out_bf16, head_squares);
  if (unnormed_) normalise(out_bf16, head_squares, view.num_decode_rows, out);
  const auto untouched = [](float x) { return x == kUntouched; };
  const float* from = out.data();
  for (const Piece& piece : pieces) {
    for (int i = piece.begin; i < piece.end; ++i, from += stride()) {
      if (piece.job == kPadding) {
        EXPECT_TRUE(std::all_of(from, from + columns(), [](float x) { return x == 0; }));
      } else {
        std::copy_n(from, columns(), &out_[size(piece.job)][size(i * columns())]);
      }
      EXPECT_TRUE(std::all_of(from + columns(), from + stride(), untouched));
    }
  }
  EXPECT_TRUE(std::all_of(from, from + stride(), untouched));
  const int64_t begin = unnormed_ ? view.num_decode_rows * stride() : 0;
  EXPECT_TRUE(std::equal(out.begin() + begin, out.end(), out_bf16.begin() + begin,
                         [](float x, uint16_t half) { return f32_to_bf16(x) == half; }));
}

void LayerDevice::normalise(const std::vector<uint16_t>& out_bf16,
                            const std::vector<float>& head_squares, int64_t decode_rows,
                            std::vector<float>& out) const {
  const MixerShape& shape = world_.layer().shape;
  const int64_t groups = shape.value_dim / kSquareGroup;
  for (int64_t i = 0; i < decode_rows * columns(); ++i) {
    const int64_t at = i / columns() * stride() + i % columns();
    const float* squares = &head_squares[size(i / shape.value_dim * groups)];
    float sum = 0;
    for (int64_t g = 0; g < groups; ++g) sum += squares[g];
    const float mean = sum / static_cast<float>(shape.value_dim);
    const float x = bf16_to_f32(out_bf16[size(at)]);
    out[size(at)] = x / std::sqrt(mean + shape.norm_eps);
  }
}

double LayerDevice::rows_error(int job) const {
  const std::vector<float>& out = out_[size(job)];
  return relative_error(Vec(out.begin(), out.end()), world_.truth(job));
}

double LayerDevice::state_error(int job) const {
  const std::vector<float> slot = unpacked(state(job));
  const LayerStateLayout& parts = world_.state_layout();
  std::vector<bool> used(slot.size());
  reference::LayerState after = world_.state_after(job);
  Vec truth[1 + std::size(kFloatParts)], got[1 + std::size(kFloatParts)];
  for_each_float(world_.layer().shape, parts, after, [&](int64_t i, double x) {
    int of = 0;
    for (const auto part : kFloatParts) {
      of += (parts.*part).floats > 0 && i >= (parts.*part).offset ? 1 : 0;
    }
    truth[of].push_back(x);
    got[of].push_back(static_cast<double>(slot[size(i)]));
    used[size(i)] = true;
  });
  for (int64_t i = parts.state.offset; i < std::ssize(slot); ++i) {
    if (!used[size(i)] && slot[size(i)] != 0) return std::numeric_limits<double>::infinity();
  }
  double largest = 0;
  for (size_t of = 0; of < std::size(truth); ++of) {
    if (truth[of].empty()) continue;
    const double error = relative_error(got[of], truth[of]);
    if (!(error <= largest)) largest = error;
    if (std::isnan(error)) break;
  }
  return largest;
}

bool LayerDevice::same_job(const LayerDevice& other, int job) const {
  const std::vector<float>& out = out_[size(job)];
  if (!same(out.data(), other.out_[size(job)].data(), out.size())) return false;
  if (slot_[size(job)] != other.slot_[size(job)]) {
    return same_state(layout_.layers[1], state(job), other.state(job));
  }
  return same(state(job), other.state(job), size(layout_.floats));
}

bool LayerDevice::same_kept(const LayerDevice& other, int job) const {
  return same_state(layout_.layers[1], slots_.data() + kept_[size(job)] * layout_.floats,
                    other.state(job));
}

void LayerDevice::go_back_to_kept(int job, int row) {
  slot_[size(job)] = kept_[size(job)];
  std::vector<float>& out = out_[size(job)];
  std::fill(out.begin() + row * columns(), out.end(), NAN);
}

bool LayerDevice::same_foreign_states() const {
  for (int i = 0; i < kNumSlots; ++i) {
    const bool owned = std::find(slot_.begin(), slot_.end(), i) != slot_.end() ||
                       std::find(kept_.begin(), kept_.end(), i) != kept_.end();
    const int64_t floats = owned ? layout_.layers[1].state.offset : layout_.floats;
    const int64_t at = i * layout_.floats;
    if (!same(slots_.data() + at, before_.data() + at, size(floats))) return false;
  }
  return true;
}

const float* LayerDevice::state(int job) const {
  return slots_.data() + slot_[size(job)] * layout_.floats;
}

std::vector<float> LayerDevice::unpacked(const float* slot) const {
  std::vector<float> floats(size(float_layout_.floats));
  convert(layout_, float_layout_, state_elements(), slot, floats.data());
  return floats;
}

}  // namespace deltaserve
