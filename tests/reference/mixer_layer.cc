#include "tests/reference/mixer_layer.h"

#include <algorithm>
#include <cmath>

namespace deltaserve::reference {
namespace {

// x / sqrt(mean(x^2) + eps) * weight
void rms_norm(double* x, int n, double eps, const double* weight) {
  double squares = 0;
  for (int i = 0; i < n; ++i) squares += x[i] * x[i];
  const double root = std::sqrt(squares / n + eps);
  for (int i = 0; i < n; ++i) x[i] = x[i] / root * (weight == nullptr ? 1 : weight[i]);
}

class Layer {
 public:
  Layer(const MixerShape& shape, const ProjectionLayout& layout, const LayerWeights& weights,
        const Vec& projected, LayerState& state)
      : shape_(shape),
        layout_(layout),
        weights_(weights),
        projected_(projected),
        state_(state),
        rows_(static_cast<int>(projected.size()) / layout.columns),
        f_(layer_features(shape, layout, weights, projected, state.conv_rows)) {}

  Vec run() {
    Vec out(static_cast<size_t>(rows_ * shape_.value_columns()));
    const std::vector<Vec> multipliers = precondition();
    for (int head = 0; head < shape_.heads; ++head) {
      const Vec o = run_head(head, multipliers);
      for (int t = 0; t < rows_; ++t) {
        std::copy_n(&o[t * shape_.value_dim], shape_.value_dim,
                    &out[t * shape_.value_columns() + head * shape_.value_dim]);
      }
    }
    for (int t = 0; t < rows_; ++t) finish_row(t, &out[t * shape_.value_columns()]);
    state_.tokens += rows_;
    return out;
  }

 private:
  // Returns the rows of the head that belongs to `head`, from rows of `count` heads of `width`.
  Vec of_head(const Vec& x, int head, int count, int width) const {
    Vec rows;
    const int own = count == 0 ? 0 : head / (shape_.heads / count);
    for (int t = 0; !x.empty() && t < rows_; ++t) {
      const auto begin = x.begin() + (t * count + own) * width;
      rows.insert(rows.end(), begin, begin + width);
    }
    return rows;
  }

  // Returns M of every preconditioner head.
  std::vector<Vec> precondition() {
    std::vector<Vec> all;
    for (int p = 0; p < shape_.precond_heads; ++p) {
      const int head = p * (shape_.heads / shape_.precond_heads);  // the first that uses it
      HeadInputs keys = head_inputs(head);
      Preconditioner preconditioner;
      preconditioner.ga = of_head(f_.precond_g, head, shape_.precond_heads, 1);
      preconditioner.ba = of_head(f_.precond_beta, head, shape_.precond_heads, 1);
      preconditioner.center = weights_.precond_center[p];
      preconditioner.x = shape_.squash;
      preconditioner.eps = shape_.squash_eps;
      all.push_back(multipliers(preconditioner, keys, state_.squares[p]));
    }
    return all;
  }

  HeadInputs head_inputs(int head) const {
    HeadInputs x;
    x.tokens = rows_;
    x.key_dim = shape_.key_dim;
    x.value_dim = shape_.value_dim;
    x.scale = shape_.scale;
    x.q = of_head(f_.q, head, shape_.q_heads, shape_.key_dim);
    x.k = of_head(f_.k, head, shape_.k_heads, shape_.key_dim);
    x.v = of_head(f_.v, head, shape_.v_heads, shape_.value_dim);
    x.g = of_head(f_.g, head, shape_.decay_heads, shape_.decay_width());
    const bool time_step = shape_.decay_gate == DecayGate::kTimeStep;
    x.beta = of_head(f_.beta, head, time_step ? shape_.decay_heads : shape_.beta_heads, 1);
    if (x.beta.empty()) x.beta.assign(static_cast<size_t>(rows_), 1.0);
    x.lambda = of_head(f_.lambda, head, shape_.heads, 1);
    x.erase_gate = of_head(f_.erase_gate, head, shape_.beta_heads, shape_.key_dim);
    x.write_gate = of_head(f_.write_gate, head, shape_.heads, shape_.value_dim);
    return x;
  }

  Vec run_head(int head, const std::vector<Vec>& multipliers) {
    HeadInputs x = head_inputs(head);
    if (!multipliers.empty()) {
      x.multiplier = multipliers[head / (shape_.heads / shape_.precond_heads)];
    }
    if (shape_.conditioning.on) {
      x.r = conditioned_queries(shape_.conditioning, x, conditioning_gate(head),
                                state_.covariance[head]);
    }
    HeadOutputs out = recurrence(shape_.kind, x, state_.s[head]);
    state_.s[head] = out.s;
    if (shape_.normalised) normalise_by_key_sum(x, state_.key_sum[head], out.o);
    for (size_t i = 0; !weights_.skip.empty() && i < out.o.size(); ++i) {
      out.o[i] += weights_.skip[head * shape_.value_dim + i % shape_.value_dim] * x.v[i];
    }
    return out.o;
  }

  // Returns sigmoid(w . q + b) for every token.
  Vec conditioning_gate(int head) const {
    using GateInput = QueryConditioning::GateInput;
    const int K = shape_.key_dim;
    const GateInput input = shape_.conditioning.gate_input;
    const int own = input == GateInput::kShared ? 0 : head;
    const int width = input == GateInput::kFull ? shape_.heads * K : K;
    Vec gate;
    for (int t = 0; t < rows_; ++t) {
      double x = weights_.conditioning_bias[own];
      for (int i = 0; i < width; ++i) {
        const int of = input == GateInput::kFull ? i / K : head;
        const int q_head = of / (shape_.heads / shape_.q_heads);
        x += weights_.conditioning[own * width + i] *
             f_.q[(t * shape_.q_heads + q_head) * K + i % K];
      }
      gate.push_back(activate(Activation::kSigmoid, x));
    }
    return gate;
  }

  void times_gate(int t, double* o) const {
    for (int i = 0; layout_.gate >= 0 && i < shape_.value_columns(); ++i) {
      o[i] *= activate(shape_.gate_activation, projected_[t * layout_.columns + layout_.gate + i]);
    }
  }

  void norm_groups(double* o, int groups, bool one_weight) const {
    const int width = shape_.value_columns() / groups;
    for (int group = 0; group < groups; ++group) {
      const double* weight = weights_.norm.empty() ? nullptr
                             : one_weight          ? weights_.norm.data()
                                                   : &weights_.norm[group * width];
      rms_norm(o + group * width, width, shape_.norm_eps, weight);
    }
  }

  void finish_row(int t, double* o) const {
    switch (shape_.output_norm) {
      case OutputNorm::kHead:
        norm_groups(o, shape_.heads, true);
        times_gate(t, o);
        return;
      case OutputNorm::kGateThenGroups:
        times_gate(t, o);
        norm_groups(o, shape_.norm_groups, false);
        return;
      case OutputNorm::kGroupsThenGate:
        norm_groups(o, shape_.norm_groups, false);
        times_gate(t, o);
        return;
      case OutputNorm::kGateOnly: times_gate(t, o); return;
    }
  }

  const MixerShape& shape_;
  const ProjectionLayout& layout_;
  const LayerWeights& weights_;
  const Vec& projected_;
  LayerState& state_;
  const int rows_;
  const LayerFeatures f_;
};

}  // namespace

LayerState::LayerState(const MixerShape& shape) {
  const auto zeros = [](int64_t n) { return Vec(static_cast<size_t>(n), 0.0); };
  const int64_t K = shape.key_dim;
  conv_rows = zeros(shape.conv_width > 1 ? int64_t{shape.channels()} * shape.conv_width : 0);
  s.assign(static_cast<size_t>(shape.heads), zeros(K * shape.value_dim));
  squares.assign(static_cast<size_t>(shape.precond_heads), zeros(K));
  key_sum.assign(static_cast<size_t>(shape.normalised ? shape.heads : 0), zeros(K));
  covariance.assign(static_cast<size_t>(shape.conditioning.on ? shape.heads : 0),
                    {zeros(K * K), zeros(shape.count_width()), zeros(K)});
}

Vec mixer_layer(const MixerShape& shape, const ProjectionLayout& layout,
                const LayerWeights& weights, const Vec& projected, LayerState& state) {
  return Layer(shape, layout, weights, projected, state).run();
}

}  // namespace deltaserve::reference
