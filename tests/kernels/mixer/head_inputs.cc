#include "tests/kernels/mixer/head_inputs.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace deltaserve {
namespace {

using reference::HeadInputs;
using reference::Vec;

bool has_beta(MixerKind kind) {
  return kind != MixerKind::kLinearAttention && kind != MixerKind::kGatedLinearAttention &&
         !has_channel_gates(kind);
}

class Source {
 public:
  explicit Source(uint32_t seed) : rng_(seed) {}

  double normal() { return normal_(rng_); }
  double uniform() { return uniform_(rng_); }

  Vec normals(int64_t n) {
    Vec x(static_cast<size_t>(n));
    for (double& value : x) value = normal();
    return x;
  }
  Vec uniforms(int64_t n) {
    Vec x(static_cast<size_t>(n));
    for (double& value : x) value = uniform();
    return x;
  }

 private:
  std::mt19937 rng_;
  std::normal_distribution<double> normal_;
  std::uniform_real_distribution<double> uniform_{0, 1};
};

void round_to_float(Vec& x) {
  for (double& value : x) value = static_cast<float>(value);
}

// Scales rows of `width` to norm 1.
void normalise_rows(Vec& x, int width) {
  for (size_t begin = 0; begin < x.size(); begin += width) {
    double squares = 0;
    for (int i = 0; i < width; ++i) squares += x[begin + i] * x[begin + i];
    for (int i = 0; i < width; ++i) x[begin + i] /= std::sqrt(squares + 1e-6);
  }
}

// Makes unit vectors whose cosine with each other is about `cosine`.
Vec make_keys(int tokens, int key_dim, double cosine, Source& source) {
  Vec common = source.normals(key_dim);
  Vec keys = source.normals(int64_t{tokens} * key_dim);
  normalise_rows(common, key_dim);
  normalise_rows(keys, key_dim);
  for (size_t i = 0; i < keys.size(); ++i) {
    keys[i] = std::sqrt(cosine) * common[i % key_dim] + std::sqrt(1 - cosine) * keys[i];
  }
  normalise_rows(keys, key_dim);
  return keys;
}

double make_decay(Inputs inputs, int channel, Source& source) {
  const double x = source.uniform();
  switch (inputs) {
    case Inputs::kHardDecay: return x < 0.3 ? -60 * source.uniform() : -0.01;
    case Inputs::kMixedDecay: return channel % 3 == 0 ? -60 : -1e-4 * x;
    case Inputs::kNoDecay: return 0;
    default: return -0.1 * x;
  }
}

}  // namespace

HeadInputs make_head_inputs(const HeadCase& c, int tokens, uint32_t seed) {
  Source source(seed);
  const int64_t keys = int64_t{tokens} * c.key_dim;
  const int64_t values = int64_t{tokens} * c.value_dim;
  const bool correlated = c.inputs == Inputs::kSimilarKeys || c.inputs == Inputs::kIdenticalKeys;
  HeadInputs in;
  in.tokens = tokens;
  in.key_dim = c.key_dim;
  in.value_dim = c.value_dim;
  in.scale = static_cast<float>(1 / std::sqrt(c.key_dim));
  in.q = source.normals(keys);
  in.r = source.normals(keys);
  normalise_rows(in.q, c.key_dim);
  const double cosine = c.inputs == Inputs::kIdenticalKeys ? 1 : correlated ? 0.9 : 0;
  in.k = make_keys(tokens, c.key_dim, cosine, source);
  in.v = source.normals(values);
  const Vec strength = correlated ? Vec(static_cast<size_t>(keys), 0.95) : source.uniforms(keys);
  if (has_beta(c.kind)) in.beta = Vec(strength.begin(), strength.begin() + tokens);
  if (erases_query(c.kind)) in.lambda = source.uniforms(tokens);
  if (has_channel_gates(c.kind)) {
    in.erase_gate = strength;
    in.write_gate = source.uniforms(values);
  }
  const Decay decay = decay_of(c.kind);
  const int decays = decay == Decay::kNone ? 0 : decay == Decay::kPerHead ? 1 : c.key_dim;
  for (int i = 0; i < tokens * decays; ++i) {
    in.g.push_back(make_decay(c.inputs, i % decays, source));
  }
  for (Vec* x :
       {&in.q, &in.r, &in.k, &in.v, &in.g, &in.beta, &in.lambda, &in.erase_gate, &in.write_gate}) {
    round_to_float(*x);
  }
  if (is_preconditioned(c.kind)) {
    reference::Preconditioner preconditioner;
    preconditioner.center = -0.2;
    preconditioner.ba = source.uniforms(tokens);
    for (int t = 0; t < tokens; ++t) preconditioner.ga.push_back(-source.uniform());
    Vec squares(static_cast<size_t>(c.key_dim), 0.0);
    in.multiplier = multipliers(preconditioner, in, squares);
    round_to_float(in.multiplier);
  }
  return in;
}

HeadInputs rows_of(const HeadInputs& in, int begin, int end) {
  HeadInputs part = in;
  part.tokens = end - begin;
  for (Vec* x : {&part.q, &part.r, &part.k, &part.v, &part.g, &part.beta, &part.lambda,
                 &part.erase_gate, &part.write_gate, &part.multiplier}) {
    const auto width = static_cast<int64_t>(x->size()) / in.tokens;
    *x = Vec(x->begin() + begin * width, x->begin() + end * width);
  }
  return part;
}

double relative_error(const Vec& x, const Vec& truth) {
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    difference += (x[i] - truth[i]) * (x[i] - truth[i]);
    norm += truth[i] * truth[i];
  }
  return std::sqrt(difference / std::max(norm, 1e-300));
}

}  // namespace deltaserve
