#include "kernels/cuda/layer/output_norm.h"

#include <algorithm>

#include "kernels/base/check.h"
#include "kernels/cuda/layer/row_norm.h"
#include "kernels/cuda/layer/unnormed.h"
#include "kernels/cuda/matmul/matmul.h"

namespace deltaserve::cuda {
namespace {

// Parts of a row that are normalised by themselves.
int norm_groups(const MixerShape& shape) {
  const bool by_head =
      shape.output_norm == OutputNorm::kHead || shape.output_norm == OutputNorm::kGateOnly;
  return by_head ? shape.heads : shape.norm_groups;
}

// Columns [first, first + width) of one row.
class OutputColumns {
 public:
  DS_DEVICE OutputColumns(const LayerCall& call, int row, int first)
      : call_(call),
        shape_(call.mixer.shape()),
        row_(row),
        first_(first),
        v_(call.mixer.feature_row(row) + shape_.q_columns() + shape_.k_columns()),
        heads_per_v_(shape_.heads / shape_.v_heads) {}

  // Returns column first + c as the norm sees it.
  DS_DEVICE float before_norm(int c) const {
    const float o = with_skip(c);
    const bool gated = shape_.output_norm == OutputNorm::kGateThenGroups ||
                       shape_.output_norm == OutputNorm::kGateOnly;
    return gated ? gate(c) * o : o;
  }
  // Returns the factor that multiplies the norm's result.
  DS_DEVICE float factor(int c) const {
    if (shape_.output_norm == OutputNorm::kHead) {
      return head_factor(call_.mixer, row_, simt::block_index().y, c);
    }
    const float* weights = call_.mixer.weights.norm;
    const float weight = weights == nullptr ? 1.0f : weights[first_ + c];
    return shape_.output_norm == OutputNorm::kGateThenGroups ? weight : gate(c) * weight;
  }
  DS_DEVICE void store(int c, float o) const {
    const int64_t at = call_.out_row(row_) + first_ + c;
    call_.mixer.out[at] = o;
    if (call_.out_bf16 != nullptr) call_.out_bf16[at] = f32_to_bf16(o);
  }

 private:
  // o / divisor + D v
  DS_DEVICE float with_skip(int c) const {
    const MixerCall& mixer = call_.mixer;
    const int column = first_ + c;
    float o = mixer.out[call_.out_row(row_) + column];
    const float* skip = mixer.weights.skip;
    if (!shape_.normalised && skip == nullptr) return o;
    const int head = column / shape_.value_dim;
    if (shape_.normalised) o /= mixer.gate_row(row_)[mixer.gate_layout.divisor + head];
    if (skip == nullptr) return o;
    const int in_head = column - head * shape_.value_dim;
    return o + skip[column] * v_[head / heads_per_v_ * shape_.value_dim + in_head];
  }
  DS_DEVICE float gate(int c) const { return output_gate(call_.mixer, row_, first_ + c); }

  const LayerCall& call_;
  const MixerShape& shape_;
  int row_;
  int first_;
  const float* v_;  // of the row
  int heads_per_v_;
};

// grid [rows, groups]
DS_KERNEL void DS_BOUNDS(kMaxRowThreads, 1)
    output_norm_kernel(LayerCall call, int width, int first_row) {
  simt::await_launches_before();
  const int row = first_row + simt::block_index().x;
  const OutputColumns columns(call, row, simt::block_index().y * width);
  const bool padding = call.segment_of_row(row).write_slot < 0;
  const MixerShape& shape = call.mixer.shape();
  if (call.head_squares != nullptr && row < call.mixer.step.num_decode_rows) {
    const int head = simt::block_index().y;
    for (int c = simt::thread_index(); c < width; c += simt::block_threads()) {
      store_unnormed(call, row, head, c, true, padding ? 0.0f : columns.before_norm(c),
                     padding ? 0.0f : columns.factor(c));
    }
    return;
  }
  if (padding || shape.output_norm == OutputNorm::kGateOnly) {
    for (int c = simt::thread_index(); c < width; c += simt::block_threads()) {
      columns.store(c, padding ? 0.0f : columns.before_norm(c));
    }
    return;
  }
  const auto normalise = [&]<bool kByGroups>() {
    normalise_row<kByGroups>(
        width, shape.norm_eps, [&](int c) { return columns.before_norm(c); },
        [&](int c) { return columns.factor(c); }, [&](int c, float o) { columns.store(c, o); });
  };
  // A decode row's mean is that of head_squares, so that its bits do not depend on who takes it.
  if (row < call.mixer.step.num_decode_rows && shape.output_norm == OutputNorm::kHead) {
    normalise.template operator()<true>();
  } else {
    normalise.template operator()<false>();
  }
}

}  // namespace

bool has_unnormed_decode(const MixerShape& shape) {
  return shape.output_norm == OutputNorm::kHead && shape.value_dim % simt::kWarp == 0 &&
         shape.heads <= kMostFactorParts;
}

void launch_output_norm(simt::Stream stream, const LayerCall& call, int first_row) {
  DS_CHECK(call.head_squares == nullptr || has_unnormed_decode(call.mixer.shape()));
  const MixerShape& shape = call.mixer.shape();
  const int groups = norm_groups(shape);
  const int width = shape.value_columns() / groups;
  const int threads = row_threads(width);
  const int bytes =
      std::max(row_scratch_bytes(threads), square_groups(width) * static_cast<int>(sizeof(float)));
  simt::launch(stream, {call.mixer.step.num_rows - first_row, groups, 1}, threads, bytes,
               output_norm_kernel, call, width, first_row);
}

}  // namespace deltaserve::cuda
