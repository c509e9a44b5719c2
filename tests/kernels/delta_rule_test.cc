// step == chunk == reference for every mixer, in every instruction set of this machine.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <tuple>

#include "hwy/highway.h"
#include "kernels/cpu/aligned.h"
#include "kernels/cpu/delta_rule_cpu.h"
#include "tests/reference/recurrences.h"

namespace deltaserve {
namespace {

using cpu::HeadShape;
using cpu::HeadTokens;
using reference::HeadInputs;
using reference::HeadOutputs;

constexpr double kTolerance = 5e-6;  // relative, float against double

enum class Inputs { kRandom, kHardDecay, kNoDecay, kCorrelatedKeys };

struct Case {
  MixerKind kind;
  int key_dim;
  int value_dim;
  int tokens;
  Inputs inputs;
  bool from_zero;
};

std::string name_of(const testing::TestParamInfo<Case>& info) {
  const Case& c = info.param;
  static const char* kKinds[] = {"gdn", "qdelta", "released"};
  static const char* kInputs[] = {"random", "hard", "nodecay", "correlated"};
  return std::string(kKinds[static_cast<int>(c.kind)]) + "_K" + std::to_string(c.key_dim) + "_V" +
         std::to_string(c.value_dim) + "_T" + std::to_string(c.tokens) + "_" +
         kInputs[static_cast<int>(c.inputs)] + (c.from_zero ? "_zero" : "_state");
}

void normalise(double* x, int n) {
  double squares = 0;
  for (int i = 0; i < n; ++i) squares += x[i] * x[i];
  for (int i = 0; i < n; ++i) x[i] = static_cast<float>(x[i] / std::sqrt(squares + 1e-6));
}

HeadInputs make_inputs(const Case& c, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform(0, 1);
  HeadInputs in;
  in.tokens = c.tokens;
  in.key_dim = c.key_dim;
  in.value_dim = c.value_dim;
  const double mean = c.inputs == Inputs::kCorrelatedKeys ? 3 : 0;
  for (int t = 0; t < c.tokens; ++t) {
    for (int i = 0; i < c.key_dim; ++i) in.q.push_back(normal(rng));
    for (int i = 0; i < c.key_dim; ++i) in.k.push_back(normal(rng) + mean);
    for (int j = 0; j < c.value_dim; ++j) in.v.push_back(static_cast<float>(normal(rng)));
    normalise(&in.q[t * c.key_dim], c.key_dim);
    normalise(&in.k[t * c.key_dim], c.key_dim);
    const double soft = -0.1 * uniform(rng);
    const double hard = uniform(rng) < 0.3 ? -60 * uniform(rng) : -0.01;
    in.g.push_back(static_cast<float>(c.inputs == Inputs::kHardDecay ? hard
                                      : c.inputs == Inputs::kNoDecay ? 0
                                                                     : soft));
    in.beta.push_back(static_cast<float>(uniform(rng)));
    in.lambda.push_back(static_cast<float>(uniform(rng)));
  }
  return in;
}

HeadOutputs run_reference(MixerKind kind, const HeadInputs& in, const std::vector<double>& s) {
  switch (kind) {
    case MixerKind::kGatedDeltaNet: return reference::gated_delta_net(in, s);
    case MixerKind::kQDelta: return reference::q_delta(in, s);
    case MixerKind::kQDeltaReleased: return reference::q_delta_released(in, s);
  }
  return {};
}

// The same inputs as the kernels take them, and a state as a slot holds it.
struct Device {
  explicit Device(const HeadInputs& in, const std::vector<double>& s)
      : shape{in.key_dim, in.value_dim},
        q(in.q.begin(), in.q.end()),
        k(in.k.begin(), in.k.end()),
        v(in.v.begin(), in.v.end()),
        g(in.g.begin(), in.g.end()),
        beta(in.beta.begin(), in.beta.end()),
        lambda(in.lambda.begin(), in.lambda.end()) {
    const auto floats = static_cast<size_t>(in.value_dim * shape.key_stride());
    state = cpu::allocate_aligned<float>(floats);
    std::fill_n(state.get(), floats, 0.0f);
    for (int i = 0; i < in.key_dim; ++i) {
      for (int j = 0; j < in.value_dim; ++j) {
        state[j * shape.key_stride() + i] = static_cast<float>(s[i * in.value_dim + j]);
      }
    }
    scratch_floats = static_cast<size_t>(cpu::delta_scratch_floats(shape));
    scratch = cpu::allocate_aligned<float>(scratch_floats);
    out.assign(static_cast<size_t>(in.tokens * in.value_dim), NAN);
  }

  // q and k share the feature stride with v in the product; here each head is alone, so rows are
  // gathered into one buffer first.
  HeadTokens tokens(int first) {
    const int64_t stride = 2 * shape.key_dim + shape.value_dim;
    const int64_t rows = static_cast<int64_t>(g.size()) - first;
    features.resize(static_cast<size_t>(rows * stride));
    for (int64_t t = 0; t < rows; ++t) {
      float* row = features.data() + t * stride;
      std::copy_n(&q[(first + t) * shape.key_dim], shape.key_dim, row);
      std::copy_n(&k[(first + t) * shape.key_dim], shape.key_dim, row + shape.key_dim);
      std::copy_n(&v[(first + t) * shape.value_dim], shape.value_dim, row + 2 * shape.key_dim);
    }
    HeadTokens tokens;
    tokens.q = features.data();
    tokens.k = tokens.q + shape.key_dim;
    tokens.v = tokens.k + shape.key_dim;
    tokens.feature_stride = stride;
    tokens.g = &g[first];
    tokens.beta = &beta[first];
    tokens.lambda = &lambda[first];
    tokens.gate_stride = 1;
    tokens.scale = static_cast<float>(1 / std::sqrt(static_cast<double>(shape.key_dim)));
    return tokens;
  }

  void poison() { std::fill_n(scratch.get(), scratch_floats, NAN); }

  void prefill(MixerKind kind, int first, int count, bool from_zero) {
    poison();
    cpu::delta_prefill(kind, shape, tokens(first), count, from_zero, state.get(),
                       &out[first * shape.value_dim], shape.value_dim, scratch.get());
  }
  void step(MixerKind kind, int t) {
    poison();
    cpu::delta_decode(kind, shape, tokens(t), state.get(), &out[t * shape.value_dim],
                      scratch.get());
  }

  HeadShape shape;
  std::vector<float> q, k, v, g, beta, lambda, features;
  cpu::AlignedArray<float> state, scratch;
  size_t scratch_floats = 0;
  std::vector<float> out;
};

// ||x - truth|| / ||truth||
template <class X>
double relative_error(const X& x, const std::vector<double>& truth) {
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    const double d = static_cast<double>(x(i)) - truth[i];
    difference += d * d;
    norm += truth[i] * truth[i];
  }
  return std::sqrt(difference / std::max(norm, 1e-300));
}

double output_error(const Device& device, const HeadOutputs& truth) {
  return relative_error([&](size_t i) { return device.out[i]; }, truth.o);
}

double state_error(const Device& device, const HeadOutputs& truth) {
  const auto V = static_cast<size_t>(device.shape.value_dim);
  return relative_error(
      [&](size_t i) {
        return device.state[static_cast<int64_t>(i % V) * device.shape.key_stride() +
                            static_cast<int64_t>(i / V)];
      },
      truth.s);
}

class DeltaRule : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const Case& c = GetParam();
    in_ = make_inputs(c, 17);
    std::mt19937 rng(5);
    std::normal_distribution<double> normal;
    for (int i = 0; i < c.key_dim * c.value_dim; ++i) {
      state_.push_back(c.from_zero ? 0.0 : static_cast<float>(normal(rng)));
    }
  }

  // Runs `body` once per instruction set.
  template <class Body>
  void on_every_target(const Body& body) {
    const int64_t all = hwy::SupportedTargets() & HWY_TARGETS;
    for (int64_t rest = all; rest != 0; rest &= rest - 1) {
      const int64_t target = rest & -rest;
      SCOPED_TRACE(hwy::TargetName(target));
      hwy::SetSupportedTargetsForTest(target);
      hwy::GetChosenTarget().DeInit();
      body();
    }
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().DeInit();
  }

  HeadInputs in_;
  std::vector<double> state_;
};

TEST_P(DeltaRule, ChunksEqualReference) {
  const Case& c = GetParam();
  const HeadOutputs truth = run_reference(c.kind, in_, state_);
  on_every_target([&] {
    Device device(in_, state_);
    if (c.from_zero) std::fill_n(device.state.get(), 1, NAN);  // must not be read
    device.prefill(c.kind, 0, c.tokens, c.from_zero);
    EXPECT_LT(output_error(device, truth), kTolerance);
    EXPECT_LT(state_error(device, truth), kTolerance);
  });
}

TEST_P(DeltaRule, StepsEqualReference) {
  const Case& c = GetParam();
  // A single step of released Q-Delta is the canonical one.
  const MixerKind step = c.kind == MixerKind::kQDeltaReleased ? MixerKind::kQDelta : c.kind;
  const HeadOutputs truth = run_reference(step, in_, state_);
  on_every_target([&] {
    Device device(in_, state_);
    for (int t = 0; t < c.tokens; ++t) device.step(c.kind, t);
    EXPECT_LT(output_error(device, truth), kTolerance);
    EXPECT_LT(state_error(device, truth), kTolerance);
  });
}

TEST_P(DeltaRule, CutsOnTheGridChangeNoBit) {
  const Case& c = GetParam();
  on_every_target([&] {
    Device whole(in_, state_);
    whole.prefill(c.kind, 0, c.tokens, c.from_zero);
    for (const int piece : {kChunkTokens, 2 * kChunkTokens}) {
      Device cut(in_, state_);
      for (int t = 0; t < c.tokens; t += piece) {
        cut.prefill(c.kind, t, std::min(piece, c.tokens - t), c.from_zero && t == 0);
      }
      const size_t floats = static_cast<size_t>(c.value_dim * cut.shape.key_stride());
      EXPECT_EQ(0, std::memcmp(cut.out.data(), whole.out.data(), whole.out.size() * 4));
      EXPECT_EQ(0, std::memcmp(cut.state.get(), whole.state.get(), floats * 4));
    }
  });
}

TEST_P(DeltaRule, RowsDoNotSeeLaterRows) {
  const Case& c = GetParam();
  Device whole(in_, state_);
  whole.prefill(c.kind, 0, c.tokens, c.from_zero);
  for (const int tokens : {1, 2, 7, 8, 9, 63, 65, c.tokens - 1}) {
    if (tokens < 1 || tokens >= c.tokens) continue;
    Device shorter(in_, state_);
    shorter.prefill(c.kind, 0, tokens, c.from_zero);
    EXPECT_EQ(0, std::memcmp(shorter.out.data(), whole.out.data(),
                             static_cast<size_t>(tokens * c.value_dim) * 4))
        << tokens;
  }
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const MixerKind kind : kAllMixers) {
    for (const int tokens : {1, 2, 63, 64, 65, 200, 1000}) {
      for (const bool zero : {false, true}) {
        cases.push_back({kind, 32, 48, tokens, Inputs::kRandom, zero});
      }
    }
    for (const Inputs inputs : {Inputs::kHardDecay, Inputs::kNoDecay}) {
      cases.push_back({kind, 48, 96, 200, inputs, false});
    }
    cases.push_back({kind, 128, 256, 130, Inputs::kRandom, false});
    cases.push_back({kind, 120, 121, 130, Inputs::kRandom, false});
    cases.push_back({kind, 1, 1, 70, Inputs::kRandom, false});
    // With x = k + lambda q the released chunk matrix has no bound on correlated keys.
    if (kind != MixerKind::kQDeltaReleased) {
      cases.push_back({kind, 64, 64, 200, Inputs::kCorrelatedKeys, false});
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, DeltaRule, testing::ValuesIn(all_cases()), name_of);

}  // namespace
}  // namespace deltaserve
