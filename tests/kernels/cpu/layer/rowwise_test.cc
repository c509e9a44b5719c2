// Elementwise functions are right for every float: both infinities, denormals, arguments whose
// exponential overflows, and NaN, which stays NaN. They run on every instruction set, and CUDA's
// functions, which compile for the host too, are held to the same values.
#include "kernels/cpu/layer/rowwise.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

#include "kernels/cuda/layer/activation.h"
#include "tests/kernels/cpu/base/targets.h"

namespace deltaserve {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Returns a sample of all bit patterns, and the places where formulas change or overflow.
std::vector<float> all_kinds_of_floats() {
  std::vector<float> x;
  for (uint64_t bits = 0; bits < (uint64_t{1} << 32); bits += 65521) {
    x.push_back(std::bit_cast<float>(static_cast<uint32_t>(bits)));
  }
  for (float at = -256; at <= 256; at += 0.0625f) x.push_back(at);
  const float infinity = std::numeric_limits<float>::infinity();
  const float places[] = {0.0f,
                          -0.0f,
                          infinity,
                          std::numeric_limits<float>::max(),
                          1e-45f,
                          1e-38f,
                          kLeastExpArgument,
                          std::nextafter(kLeastExpArgument, -infinity),
                          88.7228f,
                          104.0f,
                          104.5f,
                          178.0f,
                          200.0f,
                          NAN};
  for (const float place : places) {
    x.push_back(place);
    x.push_back(-place);
  }
  return x;
}

double exact_sigmoid(double x) {
  return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
}

double exact_softplus(double x) {
  return x > 30 ? x : std::log1p(std::exp(x));
}

double exact(Activation activation, double x) {
  switch (activation) {
    case Activation::kNone: return x;
    case Activation::kSilu: return x == -kInfinity ? 0 : x * exact_sigmoid(x);
    case Activation::kRelu: return x < 0 ? 0 : x;
    case Activation::kEluPlusOne: return x > 0 ? x + 1 : std::exp(x);
    case Activation::kSigmoid: return exact_sigmoid(x);
  }
  return x;
}

constexpr Activation kActivations[] = {Activation::kNone, Activation::kSilu, Activation::kRelu,
                                       Activation::kEluPlusOne, Activation::kSigmoid};

// Products with a denormal power have its absolute error times 100.
void expect_near(float x, double got, double want) {
  if (std::isnan(want) || std::isinf(want) || std::abs(want) > std::numeric_limits<float>::max()) {
    const bool same =
        std::isnan(want) ? std::isnan(got) : std::isinf(got) && (got > 0) == (want > 0);
    EXPECT_TRUE(same) << "x " << x << " gives " << got << ", not " << want;
    return;
  }
  const bool near = std::abs(got - want) <= 1e-6 * std::abs(want) + 2e-43;
  EXPECT_TRUE(near) << "x " << x << " gives " << got << ", not " << want;
}

void expect_all_near(const std::vector<float>& x, const std::vector<float>& got,
                     const std::function<double(double)>& want) {
  for (size_t i = 0; i < x.size() && !testing::Test::HasFailure(); ++i) {
    expect_near(x[i], got[i], std::isnan(x[i]) ? NAN : want(static_cast<double>(x[i])));
  }
}

TEST(Elementwise, ActivationsOfEveryFloat) {
  const std::vector<float> x = all_kinds_of_floats();
  const std::vector<float> ones(x.size(), 1.0f);
  const auto n = static_cast<int64_t>(x.size());
  on_every_target([&] {
    for (const Activation activation : kActivations) {
      SCOPED_TRACE(static_cast<int>(activation));
      const auto want = [=](double value) { return exact(activation, value); };
      std::vector<float> got(x.size());
      cpu::activate_row(activation, x.data(), n, got.data());
      expect_all_near(x, got, want);
      cpu::gate_row(activation, x.data(), ones.data(), n, got.data());
      expect_all_near(x, got, want);
    }
    std::vector<float> got(x.size());
    const float* const row = x.data();
    cpu::conv_row(&row, ones.data(), n, 1, nullptr, true, n, got.data());
    expect_all_near(x, got, [](double value) { return exact(Activation::kSilu, value); });
  });
}

TEST(Elementwise, LogDecaysOfEveryFloat) {
  const std::vector<float> x = all_kinds_of_floats();
  const auto n = static_cast<int64_t>(x.size());
  const float bound = -7;
  const auto want = [&](DecayGate gate, double value) {
    if (gate == DecayGate::kSoftplus) return -exact_softplus(value);
    if (gate == DecayGate::kBoundedSigmoid) return double{bound} * exact_sigmoid(value);
    return std::max(-double{kLogSigmoidFactor} * exact_softplus(-value), double{bound});
  };
  constexpr DecayGate kGates[] = {DecayGate::kSoftplus, DecayGate::kBoundedSigmoid,
                                  DecayGate::kLogSigmoid};
  on_every_target([&] {
    for (const DecayGate gate : kGates) {
      SCOPED_TRACE(static_cast<int>(gate));
      std::vector<float> got(x.size());
      cpu::decay_gate_row(gate, x.data(), nullptr, 1, bound, n, got.data());
      expect_all_near(x, got, [&](double value) { return want(gate, value); });
      for (size_t i = 0; i < x.size(); ++i) got[i] = log_decay_of(gate, bound, 1, x[i]);
      expect_all_near(x, got, [&](double value) { return want(gate, value); });
    }
  });
}

// A decay of NaN must not turn a state into zeros without a word.
TEST(Elementwise, DecaysKeepNan) {
  const std::vector<float> g = {NAN, -1, NAN, 0, -200, -std::numeric_limits<float>::infinity()};
  on_every_target([&] {
    std::vector<float> sum(g.size(), 1.0f);
    const std::vector<float> add(g.size(), 0.0f);
    cpu::decayed_sum_row(g.data(), static_cast<int64_t>(g.size()), add.data(),
                         static_cast<int64_t>(g.size()), sum.data());
    for (size_t i = 0; i < g.size(); ++i) expect_near(g[i], sum[i], std::exp(double{g[i]}));
  });
}

TEST(Elementwise, FunctionsOfADeviceAreTheSame) {
  for (const float x : all_kinds_of_floats()) {
    for (const Activation activation : kActivations) {
      const double want = std::isnan(x) ? NAN : exact(activation, static_cast<double>(x));
      expect_near(x, cuda::activate(activation, x), want);
    }
    if (HasFailure()) break;
  }
}

// Case N01: the vector exponential is valid to 104 only.
TEST(Elementwise, SiluFarBelowZeroIsZero) {
  on_every_target([&] {
    const std::vector<float> x(17, -200.0f);
    std::vector<float> got(x.size());
    cpu::activate_row(Activation::kSilu, x.data(), 17, got.data());
    for (const float value : got) EXPECT_EQ(value, 0.0f);
  });
}

}  // namespace
}  // namespace deltaserve
