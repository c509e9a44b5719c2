// Chunkwise prefill of the GPU, in the emulation, against the recurrences in double.
#include <gtest/gtest.h>

#include <cctype>
#include <cstring>

#include "tests/cuda/prefill_world.h"

namespace deltaserve {
namespace {

using cuda::PrefillPath;
using cuda::Rule;
using simt::host::Order;

struct Case {
  PrefillCase prefill;
  PrefillPath path;
};

// Relative, against double: float; products of bf16 (on operands that are not rounded to it).
double out_tolerance(PrefillPath path) {
  return path == PrefillPath::kPlain ? 5e-6 : 6e-3;
}
double state_tolerance(PrefillPath path) {
  return path == PrefillPath::kPlain ? 5e-6 : 5e-3;
}

std::string name_of(const testing::TestParamInfo<Case>& info) {
  static const char* kInputs[] = {"random",  "hard_decay",   "mixed_decay",
                                  "nodecay", "similar_keys", "identical_keys"};
  const PrefillCase& c = info.param.prefill;
  std::string name = info.param.path == PrefillPath::kPlain ? "plain_" : "tensor_";
  for (const char* at = mixer_name(c.head.kind); *at != 0; ++at) {
    if (std::isalnum(static_cast<unsigned char>(*at)) != 0) name += *at;
  }
  if (c.rule == Rule::kCovariance) name += "_covariance";
  return name + "_K" + std::to_string(c.head.key_dim) + "_V" + std::to_string(c.head.value_dim) +
         "_" + kInputs[static_cast<int>(c.head.inputs)] +
         (c.state_dtype == Dtype::kBf16 ? "_bf16" : "");
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class DeltaPrefill : public testing::TestWithParam<Case> {
 protected:
  ~DeltaPrefill() override {
    simt::host::set_order(Order::kForward);
    RecordProperty("out_error", std::to_string(PrefillWorld::largest_out_error));
    RecordProperty("state_error", std::to_string(PrefillWorld::largest_state_error));
  }

  const PrefillCase& prefill() const { return GetParam().prefill; }
  const PrefillPath path_ = GetParam().path;
};

TEST_P(DeltaPrefill, EqualsTheRecurrence) {
  for (const Order order : {Order::kForward, Order::kBackward}) {
    simt::host::set_order(order);
    PrefillWorld world(prefill(), order == Order::kForward ? std::vector<int>{129, 17, 1, 64}
                                                           : std::vector<int>{16, 65, 2, 63, 15});
    world.step_all(path_);
    world.expect_near(out_tolerance(path_), state_tolerance(path_));
  }
}

class Long : public DeltaPrefill {};

TEST_P(Long, EqualsTheRecurrence) {
  PrefillWorld world(prefill(), {200, 127});
  world.step_all(path_);
  world.expect_near(out_tolerance(path_), state_tolerance(path_));
}

// Of one sequence, bits: alone, between others, cut on the grid, threads in another order.
TEST_P(Long, BitsDependOnTheOwnSequenceOnly) {
  const std::vector<int> lengths = {129, 80};
  PrefillWorld together(prefill(), lengths);
  together.step_all(path_);
  PrefillWorld apart(prefill(), lengths);
  simt::host::set_order(Order::kBackward);
  apart.step(path_, {{1, 0, 80}});
  apart.step(path_, {{0, 0, 64}});
  apart.step(path_, {{0, 64, 129}});
  for (int s = 0; s < 2; ++s) {
    EXPECT_TRUE(same_bits(apart.out(s), together.out(s))) << s;
    EXPECT_TRUE(same_bits(apart.state(s), together.state(s))) << s;
  }
}

TEST_P(Long, RowsDoNotSeeLaterRows) {
  PrefillWorld whole(prefill(), {100});
  whole.step_all(path_);
  for (const int rows : {7, 16, 65}) {
    PrefillWorld shorter(prefill(), {100});
    shorter.step(path_, {{0, 0, rows}});
    std::vector<float> expected = whole.out(0);
    const size_t count = expected.size() / 100 * rows;
    expected.resize(count);
    std::vector<float> out = shorter.out(0);
    out.resize(count);
    EXPECT_TRUE(same_bits(out, expected)) << rows;
  }
}

class Bf16State : public DeltaPrefill {};

// To the bit: a bf16 state is a float state that is rounded behind every chunk.
TEST_P(Bf16State, IsRoundedOnTheGrid) {
  PrefillCase wide_case = prefill();
  wide_case.state_dtype = Dtype::kF32;
  const std::vector<int> lengths = {70, 66};
  PrefillWorld narrow(prefill(), lengths);
  narrow.step_all(path_);
  PrefillWorld wide(wide_case, lengths);
  for (int s = 0; s < 2; ++s) {
    wide.step(path_, {{s, 0, 64}});
    wide.round_states();
    wide.step(path_, {{s, 64, lengths[s]}});
    wide.round_states();
    EXPECT_TRUE(same_bits(narrow.out(s), wide.out(s))) << s;
    EXPECT_TRUE(same_bits(narrow.state(s), wide.state(s))) << s;
  }
}

std::vector<Case> cases(bool few) {
  std::vector<Case> all;
  for (const PrefillPath path : {PrefillPath::kPlain, PrefillPath::kTensor}) {
    for (const MixerKind kind : kAllMixers) {
      const auto add = [&](Inputs inputs, int key_dim, int value_dim, Rule rule = Rule::kLayer) {
        MixerShape shape;
        shape.kind = kind;
        shape.key_dim = key_dim;
        shape.value_dim = value_dim;
        if (path == PrefillPath::kTensor && !cuda::has_tensor_prefill(shape)) return;
        all.push_back({{{kind, inputs, key_dim, value_dim}, Dtype::kF32, rule}, path});
      };
      const bool plain = path == PrefillPath::kPlain;
      if (few) {
        add(Inputs::kRandom, plain ? 40 : 64, plain ? 33 : 64);
        continue;
      }
      add(Inputs::kRandom, 64, 64);
      if (plain) add(Inputs::kRandom, 17, 33);
      if (decay_of(kind) != Decay::kNone) add(Inputs::kHardDecay, 64, 64);
      if (decay_of(kind) == Decay::kPerChannel) add(Inputs::kMixedDecay, 64, 64);
      // With x = k + lambda q the released chunk matrix has no bound on correlated keys.
      if (kind != MixerKind::kQDeltaReleased) add(Inputs::kSimilarKeys, 64, 64);
    }
    for (const MixerKind kind :
         {MixerKind::kDeltaNet, MixerKind::kGatedDeltaNet, MixerKind::kKimiDelta}) {
      if (few) continue;
      MixerShape shape;
      shape.kind = kind;
      shape.key_dim = shape.value_dim = 64;
      if (path == PrefillPath::kTensor && !cuda::has_tensor_prefill(shape)) continue;
      all.push_back({{{kind, Inputs::kRandom, 64, 128}, Dtype::kF32, Rule::kCovariance}, path});
    }
  }
  return all;
}

std::vector<Case> bf16_cases() {
  std::vector<Case> all = cases(true);
  std::erase_if(all, [](const Case& c) { return decay_of(c.prefill.head.kind) == Decay::kNone; });
  for (Case& c : all) c.prefill.state_dtype = Dtype::kBf16;
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, DeltaPrefill, testing::ValuesIn(cases(false)), name_of);
INSTANTIATE_TEST_SUITE_P(All, Long, testing::ValuesIn(cases(true)), name_of);
INSTANTIATE_TEST_SUITE_P(All, Bf16State, testing::ValuesIn(bf16_cases()), name_of);

}  // namespace
}  // namespace deltaserve
