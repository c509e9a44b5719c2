// Updates the other parts that a sequence carries beside its states: the squares of a
// preconditioner, the covariance of a conditioned query, the sum of keys of normalised linear
// attention. They are updated token by token, except the covariance, which is a linear attention of
// its own with v := k.
#include <algorithm>
#include <cmath>

#include "kernels/cpu/layer/mixer_passes.h"
#include "kernels/cpu/layer/rowwise.h"
#include "kernels/mixer/gates.h"

namespace deltaserve::cpu {
namespace {

// A part's row of one head, which is carried from token to token. It is cleared if a sequence
// begins, and copied to the keep slot at the row where the segment's state is kept. A part that is
// absent has no data.
class CarriedRow {
 public:
  CarriedRow(const MixerCall& call, const StateSpan& part, const Segment& segment, int64_t head,
             int64_t stride)
      : stride_(stride), kept_end_(segment.first_row + kept_rows(segment)) {
    if (part.floats == 0) return;
    data_ = call.states.part(part, segment.write_slot) + head * stride;
    if (segment.position == 0) std::fill_n(data_, stride, 0.0f);
    if (segment.keep_slot >= 0) kept_ = call.states.part(part, segment.keep_slot) + head * stride;
  }

  float* data() const { return data_; }
  // Must be called after every row of the segment.
  void end_row(int64_t row) const {
    if (kept_ != nullptr && row + 1 == kept_end_) std::copy_n(data_, stride_, kept_);
  }

 private:
  int64_t stride_;
  int64_t kept_end_;  // the state is kept before this row of the step
  float* data_ = nullptr;
  float* kept_ = nullptr;
};

// out = (1 - e^g) k, the term that an exponential moving average adds.
void weigh_by_forgotten(const float* g, int64_t num_g, const float* key, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const float log_decay = num_g == 0 ? 0.0f : g[num_g == 1 ? 0 : i];
    out[i] = -std::expm1(log_decay) * key[i];
  }
}

// Fills the covariance rows of a segment: the key, the write vector, the query over the decayed
// count, the mean key.
void lower_covariance(const MixerCall& call, const Segment& segment, int64_t head) {
  using Normaliser = QueryConditioning::Normaliser;
  const MixerShape& shape = call.shape();
  const QueryConditioning& ccq = shape.conditioning;
  const LayerStateLayout& layout = call.states.layout;
  const int64_t n = shape.key_dim;
  const int64_t num_g = ccq.backbone_decay && shape.decay_heads > 0 ? shape.decay_width() : 0;
  const int64_t num_counts = shape.count_width();
  const CarriedRow counts(call, layout.key_count, segment, head, padded_to_16(num_counts));
  const CarriedRow means(call, layout.key_mean, segment, head, padded_to_16(n));
  float* count = counts.data();
  float* mean = means.data();
  for (int64_t row = segment.first_row; row < segment.first_row + segment.num_rows; ++row) {
    const auto to = [&](CovarianceRow part) { return call.covariance_row(row, head, part); };
    const float* g = call.g(row, head);
    float* key = to(CovarianceRow::kKey);
    std::copy_n(call.k(row, head), n, key);
    if (ccq.l2_keys) feature_norm_row(FeatureNorm::kL2, key, n);
    if (ccq.normaliser == Normaliser::kEma) {
      weigh_by_forgotten(g, num_g, key, n, to(CovarianceRow::kWrite));
    } else {
      std::copy_n(key, n, to(CovarianceRow::kWrite));
    }
    float* query = to(CovarianceRow::kQuery);
    std::copy_n(call.q(row, head), n, query);
    if (count == nullptr) continue;
    decayed_sum_row(g, num_g, nullptr, num_counts, count);
    counts.end_row(row);
    const auto divide = [&](const float* x, float* out) {
      if (num_counts > 1) {
        divide_row(x, count, n, out);
      } else {
        for (int64_t i = 0; i < n; ++i) out[i] = x[i] / count[0];
      }
    };
    divide(query, query);
    if (mean == nullptr) continue;
    decayed_sum_row(g, num_g, key, n, mean);
    means.end_row(row);
    divide(mean, to(CovarianceRow::kMean));
  }
}

float conditioning_gate(const MixerCall& call, int64_t row, int64_t head) {
  using GateInput = QueryConditioning::GateInput;
  const MixerShape& shape = call.shape();
  const int64_t n = shape.key_dim;
  const GateInput input = shape.conditioning.gate_input;
  const float* w = call.weights.conditioning;
  float logit = call.weights.conditioning_bias[input == GateInput::kShared ? 0 : head];
  if (input == GateInput::kFull) {
    for (int64_t h = 0; h < shape.heads; ++h) {
      logit += dot_row(w + (head * shape.heads + h) * n, call.q(row, h), n);
    }
  } else {
    logit += dot_row(input == GateInput::kShared ? w : w + head * n, call.q(row, head), n);
  }
  return sigmoid(logit);
}

}  // namespace

void precondition_head(const MixerCall& call, const Segment& segment, int64_t precond_head) {
  const MixerShape& shape = call.shape();
  const GateLayout& at = call.gate_layout;
  const int64_t head = precond_head * (shape.heads / shape.precond_heads);
  const CarriedRow squares(call, call.states.layout.squares, segment, precond_head,
                           padded_to_16(shape.key_dim));
  PreconditionArgs args;
  args.center = call.weights.precond_center[precond_head];
  args.log_squash = std::log(shape.squash);
  args.eps = shape.squash_eps;
  for (int64_t row = segment.first_row; row < segment.first_row + segment.num_rows; ++row) {
    float* gates = call.gate_row(row);
    args.decay = std::exp(gates[at.precond_g + precond_head]);
    args.beta = gates[at.precond_beta + precond_head];
    precondition_row(args, call.k(row, head), shape.key_dim, squares.data(),
                     gates + at.multiplier + precond_head * shape.key_dim);
    squares.end_row(row);
  }
}

void condition_queries(const MixerCall& call, const Segment& segment, int64_t head,
                       float* scratch) {
  const MixerShape& shape = call.shape();
  const int64_t n = shape.key_dim;
  lower_covariance(call, segment, head);

  const int64_t first = segment.first_row;
  const HeadTokens tokens = covariance_tokens(call, first, head);
  const HeadShape square = {n, n};
  const auto covariance = [&](int slot) {
    return HeadState{call.states.part(call.states.layout.covariance, slot) +
                     head * n * square.key_stride()};
  };
  SegmentState states = {covariance(segment.write_slot), {}};
  if (segment.keep_slot >= 0) states.kept = covariance(segment.keep_slot);
  run_segment(covariance_kind(shape), square, tokens, segment, states, call.query_row(first, head),
              int64_t{shape.heads} * n, scratch);

  for (int64_t row = first; row < first + segment.num_rows; ++row) {
    const float* query = call.q(row, head);
    float* out = call.query_row(row, head);
    if (shape.conditioning.has_mean()) {
      const float* mean = call.covariance_row(row, head, CovarianceRow::kMean);
      add_scaled_row(-dot_row(mean, query, n), mean, n, out);
    }
    const float lambda = conditioning_gate(call, row, head);
    for (int64_t i = 0; i < n; ++i) out[i] = query[i] - lambda * out[i];
    if (shape.conditioning.renormalise) feature_norm_row(FeatureNorm::kL2, out, n);
  }
}

void sum_keys(const MixerCall& call, const Segment& segment, int64_t head) {
  const MixerShape& shape = call.shape();
  const CarriedRow sum(call, call.states.layout.key_sum, segment, head,
                       padded_to_16(shape.key_dim));
  for (int64_t row = segment.first_row; row < segment.first_row + segment.num_rows; ++row) {
    decayed_sum_row(nullptr, 0, call.k(row, head), shape.key_dim, sum.data());
    sum.end_row(row);
    call.gate_row(row)[call.gate_layout.divisor + head] =
        shape.scale * dot_row(call.q(row, head), sum.data(), shape.key_dim) + kKeySumEps;
  }
}

}  // namespace deltaserve::cpu
