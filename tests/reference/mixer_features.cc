#include "tests/reference/mixer_features.h"

#include <algorithm>
#include <cmath>

namespace deltaserve::reference {
namespace {

double sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

double softplus(double x) {
  return std::log1p(std::exp(-std::abs(x))) + std::max(x, 0.0);
}

void normalise(FeatureNorm norm, double* x, int n) {
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < n; ++i) {
    sum += x[i];
    squares += x[i] * x[i];
  }
  double divisor = 1;
  switch (norm) {
    case FeatureNorm::kNone: break;
    case FeatureNorm::kL2: divisor = std::sqrt(squares + 1e-6); break;
    case FeatureNorm::kSum: divisor = sum; break;
    case FeatureNorm::kSumPlusEps: divisor = sum + 1e-4; break;
  }
  for (int i = 0; i < n; ++i) x[i] /= divisor;
}

class Lowering {
 public:
  Lowering(const MixerShape& shape, const ProjectionLayout& layout, const LayerWeights& weights,
           const Vec& projected)
      : shape_(shape),
        layout_(layout),
        weights_(weights),
        projected_(projected),
        rows_(static_cast<int>(projected.size()) / layout.columns) {}

  LayerFeatures run(Vec& conv_rows) {
    convolve(conv_rows);
    map_features();
    decay_gates();
    strength_gates();
    precondition_gates();
    return std::move(f_);
  }

 private:
  // Returns `width` columns of every row; empty if absent.
  Vec columns(int begin, int width) const {
    Vec x;
    for (int t = 0; begin >= 0 && t < rows_; ++t) {
      const auto row = projected_.begin() + t * layout_.columns + begin;
      x.insert(x.end(), row, row + width);
    }
    return x;
  }

  void convolve(Vec& last) {
    const int channels = shape_.channels();
    const int width = shape_.conv_width;
    const Vec raw = columns(layout_.q, channels);
    Vec history = last;
    history.insert(history.end(), raw.begin(), raw.end());
    // The oldest of the rows before is behind no tap.
    const int before = last.empty() ? 0 : 1;
    for (int t = 0; t < rows_; ++t) {
      for (int c = 0; c < channels; ++c) {
        double x = width == 0 ? raw[t * channels + c] : 0;
        for (int j = 0; j < width; ++j) {
          x += weights_.conv[j * channels + c] * history[(before + t + j) * channels + c];
        }
        if (!weights_.conv_bias.empty()) x += weights_.conv_bias[c];
        if (c < shape_.q_columns()) {
          f_.q.push_back(activate(shape_.qk_activation, x));
        } else if (c < shape_.q_columns() + shape_.k_columns()) {
          f_.k.push_back(activate(shape_.qk_activation, x));
        } else {
          f_.v.push_back(activate(shape_.v_activation, x));
        }
      }
    }
    last = Vec(history.end() - static_cast<int64_t>(last.size()), history.end());
  }

  void map_features() {
    if (shape_.product_features) {
      f_.q = columns(layout_.q_left, shape_.q_columns());
      f_.k = columns(layout_.k_left, shape_.k_columns());
      const Vec q_right = columns(layout_.q_right, shape_.q_columns());
      const Vec k_right = columns(layout_.k_right, shape_.k_columns());
      for (size_t i = 0; i < f_.q.size(); ++i) f_.q[i] *= q_right[i];
      for (size_t i = 0; i < f_.k.size(); ++i) f_.k[i] *= k_right[i];
    }
    for (Vec* x : {&f_.q, &f_.k}) {
      for (double& value : *x) value = activate(shape_.feature_map, value);
    }
    const int K = shape_.key_dim;
    for (size_t i = 0; i < f_.q.size(); i += K) normalise(shape_.q_norm, &f_.q[i], K);
    for (size_t i = 0; i < f_.k.size(); i += K) normalise(shape_.k_norm, &f_.k[i], K);
  }

  // The time step of Mamba-2 is its beta.
  void decay_gates() {
    const int decays = shape_.decay_heads * shape_.decay_width();
    f_.g = columns(layout_.decay, decays);
    for (size_t i = 0; i < f_.g.size(); ++i) {
      const size_t at = i % decays;
      const double x = f_.g[i] + (weights_.dt_bias.empty() ? 0 : weights_.dt_bias[at]);
      const size_t h = at / shape_.decay_width();
      const double rate = weights_.a_log.empty() ? 1 : std::exp(weights_.a_log[h]);
      const double bound = shape_.decay_bound;
      switch (shape_.decay_gate) {
        case DecayGate::kNone: f_.g[i] = 0; break;
        case DecayGate::kSoftplus: f_.g[i] = -rate * softplus(x); break;
        case DecayGate::kBoundedSigmoid: f_.g[i] = bound * sigmoid(rate * x); break;
        case DecayGate::kLogSigmoid: f_.g[i] = std::max(std::log(sigmoid(x)) / 16, bound); break;
        case DecayGate::kTimeStep:
          f_.beta.push_back(
              std::clamp<double>(softplus(x), shape_.time_step_min, shape_.time_step_max));
          f_.g[i] = -rate * f_.beta.back();
          break;
      }
    }
  }

  void strength_gates() {
    const double factor = shape_.gate_factor;
    if (shape_.has_erase_gate()) {
      f_.erase_gate = columns(layout_.beta, shape_.beta_heads * shape_.key_dim);
      for (double& x : f_.erase_gate) x = factor * sigmoid(x);
    } else if (layout_.beta >= 0) {
      f_.beta = columns(layout_.beta, shape_.beta_heads);
      for (double& x : f_.beta) x = factor * sigmoid(x);
    } else if (shape_.beta_heads > 0) {
      f_.beta.assign(static_cast<size_t>(rows_ * shape_.beta_heads), factor);
    }
    f_.lambda = columns(layout_.lambda, shape_.heads);
    for (double& x : f_.lambda) x = factor * sigmoid(x - shape_.lambda_bias);
    f_.write_gate = columns(layout_.write_gate, shape_.value_columns());
    for (double& x : f_.write_gate) x = sigmoid(x);
  }

  void precondition_gates() {
    f_.precond_g = columns(layout_.precond_decay, shape_.precond_heads);
    f_.precond_beta = columns(layout_.precond_beta, shape_.precond_heads);
    for (size_t i = 0; i < f_.precond_g.size(); ++i) {
      const size_t h = i % shape_.precond_heads;
      f_.precond_g[i] = -std::exp(weights_.precond_a_log[h]) *
                        softplus(f_.precond_g[i] + weights_.precond_dt_bias[h]);
      f_.precond_beta[i] = sigmoid(f_.precond_beta[i]);
    }
  }

  const MixerShape& shape_;
  const ProjectionLayout& layout_;
  const LayerWeights& weights_;
  const Vec& projected_;
  const int rows_;
  LayerFeatures f_;
};

}  // namespace

double activate(Activation activation, double x) {
  switch (activation) {
    case Activation::kNone: return x;
    case Activation::kSilu: return x * sigmoid(x);
    case Activation::kRelu: return std::max(x, 0.0);
    case Activation::kEluPlusOne: return x > 0 ? x + 1 : std::exp(x);
    case Activation::kSigmoid: return sigmoid(x);
  }
  return NAN;
}

LayerFeatures layer_features(const MixerShape& shape, const ProjectionLayout& layout,
                             const LayerWeights& weights, const Vec& projected, Vec& conv_rows) {
  return Lowering(shape, layout, weights, projected).run(conv_rows);
}

}  // namespace deltaserve::reference
