#include "tests/kernels/program/layer_data.h"

#include <cmath>
#include <random>

namespace deltaserve {
namespace {

using reference::Vec;
using GateInput = QueryConditioning::GateInput;

class Source {
 public:
  explicit Source(uint32_t seed) : rng_(seed) {}

  // Returns normal numbers that are exact in float.
  Vec normals(int64_t n, double mean, double deviation) {
    return fill(n, std::normal_distribution<double>(mean, deviation));
  }
  Vec uniforms(int64_t n, double low, double high) {
    return fill(n, std::uniform_real_distribution<double>(low, high));
  }

 private:
  template <class Distribution>
  Vec fill(int64_t n, Distribution distribution) {
    Vec x(static_cast<size_t>(n));
    for (double& value : x) value = static_cast<float>(distribution(rng_));
    return x;
  }

  std::mt19937 rng_;
};

// A part of a projected row: the member of ProjectionLayout with its column, its width (0 = the
// layer has none), the mean of its values.
struct Part {
  int32_t ProjectionLayout::*column;
  int32_t width;
  double mean = 0;
  double deviation = 1;
};

std::vector<Part> parts_of(const LayerCase& c) {
  using At = ProjectionLayout;
  const MixerShape& shape = c.shape;
  const int32_t betas = shape.beta_heads * (shape.has_erase_gate() ? shape.key_dim : 1);
  const int32_t q_products = shape.product_features ? shape.q_columns() : 0;
  const int32_t k_products = shape.product_features ? shape.k_columns() : 0;
  return {{&At::q, shape.q_columns(), c.qk_mean},
          {&At::k, shape.k_columns(), c.qk_mean},
          {&At::v, shape.v_columns()},
          {&At::precond_beta, shape.precond_heads},
          {&At::beta, c.projects_beta ? betas : 0},
          {&At::gate, c.gate ? shape.value_columns() : 0},
          {&At::decay, shape.decay_heads * shape.decay_width(), c.decay_mean, c.decay_deviation},
          {&At::lambda, erases_query(shape.kind) ? shape.heads : 0},
          {&At::write_gate, shape.has_erase_gate() ? shape.value_columns() : 0},
          {&At::precond_decay, shape.precond_heads},
          {&At::q_right, q_products},
          {&At::k_left, k_products},
          {&At::q_left, q_products},
          {&At::k_right, k_products}};
}

}  // namespace

LayerWeights::LayerWeights(const LayerCase& c, uint32_t seed) {
  const MixerShape& shape = c.shape;
  Source source(seed);
  exact_.conv = source.normals(int64_t{shape.conv_width} * shape.channels(), 0, 0.5);
  if (c.conv_bias) exact_.conv_bias = source.normals(shape.channels(), 0, 0.3);
  const bool logits_only =
      shape.decay_gate == DecayGate::kNone || shape.decay_gate == DecayGate::kLogSigmoid;
  if (!logits_only) {
    if (c.a_log) exact_.a_log = source.uniforms(shape.decay_heads, -0.7, 2);
    exact_.dt_bias = source.uniforms(shape.decay_heads * shape.decay_width(), -5, -1);
  }
  exact_.precond_a_log = source.uniforms(shape.precond_heads, -0.7, 2);
  exact_.precond_dt_bias = source.uniforms(shape.precond_heads, -5, -1);
  exact_.precond_center = source.normals(shape.precond_heads, -0.2, 0.2);
  if (shape.conditioning.on) {
    const GateInput input = shape.conditioning.gate_input;
    const int64_t rows = input == GateInput::kShared ? 1 : shape.heads;
    const int64_t columns = int64_t{shape.key_dim} * (input == GateInput::kFull ? rows : 1);
    exact_.conditioning = source.normals(rows * columns, 0, 1);
    exact_.conditioning_bias = source.normals(rows, 0, 1);
  }
  if (c.skip) exact_.skip = source.normals(shape.value_columns(), 1, 0.3);
  const bool by_head = shape.output_norm == OutputNorm::kHead;
  if (c.norm) {
    exact_.norm = source.normals(by_head ? shape.value_dim : shape.value_columns(), 1, 0.1);
  }
  floats_ = map_vectors<std::vector<float>>(
      exact_, [](const Vec& x) { return std::vector<float>(x.begin(), x.end()); });
}

MixerWeights LayerWeights::floats() const {
  return map_vectors<const float*>(
      floats_, [](const std::vector<float>& x) { return x.empty() ? nullptr : x.data(); });
}

ProjectionLayout make_projection(const LayerCase& c) {
  constexpr int32_t kGap = 3;
  ProjectionLayout layout;
  for (const Part& part : parts_of(c)) {
    if (part.width == 0) continue;
    layout.*part.column = layout.columns;
    layout.columns += part.width;
    // q, k and v must be adjacent.
    if (layout.columns >= c.shape.channels()) layout.columns += kGap;
  }
  return layout;
}

Vec make_projected(const LayerCase& c, const ProjectionLayout& layout, int rows, uint32_t seed) {
  const Vec values = Source(seed).normals(int64_t{rows} * layout.columns, 0, 1);
  Vec x(values.size(), NAN);
  for (const Part& part : parts_of(c)) {
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t begin = row * layout.columns + layout.*part.column;
      for (int64_t i = begin; i < begin + part.width; ++i) {
        x[i] = static_cast<float>(values[i] * part.deviation + part.mean);
      }
    }
  }
  return x;
}

}  // namespace deltaserve
