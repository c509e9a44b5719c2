// Chunkwise prefill of the GPU, in the emulation, against the recurrences in double.
#include <gtest/gtest.h>

#include <cctype>
#include <cmath>
#include <cstring>

#include "kernels/cuda/rule/prefill_chain.h"
#include "tests/kernels/base/state_formats.h"
#include "tests/kernels/cuda/rule/prefill_world.h"

namespace deltaserve {
namespace {

using cuda::PrefillPath;
using cuda::Rule;
using simt::host::Order;

struct Case {
  PrefillCase prefill;
  PrefillPath path;
  int lengths = 0;  // which of kLengths
};

// Sequences of a step, for each order of threads. The second of a step goes on from a state.
struct Lengths {
  std::vector<int> forward, backward;
};
const Lengths kLengths[] = {
    {{17, 129}, {15}}, {{65, 1}, {63}}, {{200, 2}, {16}}, {{64, 127}, {17}}, {{600}, {1}}};
constexpr size_t kShortLengths = 4;

// Relative, against double: float; products of bf16 (on operands that are rounded to it where the
// path takes images).
double out_tolerance(PrefillPath path) {
  return path == PrefillPath::kPlain ? 5e-6 : 6e-3;
}
double state_tolerance(PrefillPath path) {
  return path == PrefillPath::kPlain ? 5e-6 : 5e-3;
}

// Bounds both errors if no operand is rounded: a sequence of one chunk from zero reads no state,
// and without images every float is multiplied as high + low parts.
constexpr double kSplitTolerance = 2e-4;

bool takes_images(const PrefillCase& c) {
  MixerShape shape;
  shape.kind = c.head.kind;
  shape.key_dim = c.head.key_dim;
  shape.value_dim = c.head.value_dim;
  return c.rule == Rule::kLayer && cuda::has_image_prefill(shape);
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
         "_" + kInputs[static_cast<int>(c.head.inputs)] + state_format_suffix(c.format);
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class DeltaPrefill : public testing::TestWithParam<Case> {
 protected:
  ~DeltaPrefill() override {
    simt::host::set_order(Order::kForward);
    cuda::chain_columns_for_benchmarks = 0;
  }

  const PrefillCase& prefill() const { return GetParam().prefill; }
  const PrefillPath path_ = GetParam().path;
};

TEST_P(DeltaPrefill, EqualsTheRecurrence) {
  const Lengths& lengths = kLengths[GetParam().lengths];
  for (const Order order : {Order::kForward, Order::kBackward}) {
    simt::host::set_order(order);
    // Takes 64 where there are no 128.
    cuda::chain_columns_for_benchmarks = order == Order::kForward ? 128 : 32;
    PrefillWorld world(prefill(), order == Order::kForward ? lengths.forward : lengths.backward);
    world.step_all(path_);
    const bool splits = path_ == PrefillPath::kTensor && !takes_images(prefill());
    if (splits && order == Order::kBackward) {
      world.expect_near(kSplitTolerance, kSplitTolerance);
    } else {
      world.expect_near(out_tolerance(path_), state_tolerance(path_));
    }
    const std::string name = order == Order::kForward ? "forward" : "backward";
    RecordProperty(name + "_out_error", std::to_string(world.largest_out_error()));
    RecordProperty(name + "_state_error", std::to_string(world.largest_state_error()));
  }
}

// The state after the last whole chunk has the bits of a step that ends there, with and without
// rows after it, and the step's own results do not change.
void expect_kept_states(const PrefillCase& c, PrefillPath path) {
  const std::vector<int> lengths = {130, 64};
  PrefillWorld whole(c, lengths);
  whole.step_all(path);
  PrefillWorld ends(c, lengths);
  ends.step(path, {{0, 0, 128}, {1, 0, 64}});
  PrefillWorld keeps(c, lengths);
  keeps.step(path, {{0, 0, 130, true}, {-1, 0, 3}, {1, 0, 64, true}});
  for (int s = 0; s < 2; ++s) {
    EXPECT_TRUE(same_bits(keeps.out(s), whole.out(s))) << s;
    EXPECT_TRUE(same_bits(keeps.state(s), whole.state(s))) << s;
    EXPECT_TRUE(same_bits(keeps.kept_state(s), ends.state(s))) << s;
  }
}

class Invariance : public DeltaPrefill {};

// A sequence has the same bits alone, between others, cut on the grid, from slot to slot, with
// threads in another order, and with more or fewer columns a block.
TEST_P(Invariance, BitsDependOnTheOwnSequenceOnly) {
  const std::vector<int> lengths = {path_ == PrefillPath::kPlain ? 129 : 80, 20};
  PrefillWorld together(prefill(), lengths);
  cuda::chain_columns_for_benchmarks = 128;
  together.step_all(path_);
  cuda::chain_columns_for_benchmarks = 32;
  PrefillWorld apart(prefill(), lengths);
  simt::host::set_order(Order::kBackward);
  apart.step(path_, {{1, 0, 20}});
  apart.step(path_, {{0, 0, 64}}, 1);
  cuda::chain_columns_for_benchmarks = 64;
  apart.step(path_, {{0, 64, lengths[0]}}, -1);
  for (int s = 0; s < 2; ++s) {
    EXPECT_TRUE(same_bits(apart.out(s), together.out(s))) << s;
    EXPECT_TRUE(same_bits(apart.state(s), together.state(s))) << s;
  }
}

TEST_P(Invariance, AKeptStateIsThatOfAStepThatEndsThere) {
  expect_kept_states(prefill(), path_);
}

TEST_P(Invariance, RowsDoNotSeeLaterRows) {
  PrefillWorld whole(prefill(), {80});
  whole.step_all(path_);
  for (const int rows : {7, 65}) {
    PrefillWorld shorter(prefill(), {80});
    shorter.step(path_, {{0, 0, rows}});
    std::vector<float> expected = whole.out(0);
    const size_t count = expected.size() / 80 * rows;
    expected.resize(count);
    std::vector<float> out = shorter.out(0);
    out.resize(count);
    EXPECT_TRUE(same_bits(out, expected)) << rows;
  }
}

// Tensor cores multiply later rows of a tile of 16 by zero.
TEST_P(Invariance, WhatIsNotFiniteReachesNoFurtherThanFifteenRowsInFront) {
  constexpr int kRows = 64;
  PrefillWorld whole(prefill(), {kRows});
  whole.step_all(path_);
  PrefillWorld spoilt(prefill(), {kRows});
  constexpr int kSpoilt = 40;
  spoilt.spoil(0, kSpoilt);
  spoilt.step_all(path_);
  const auto front = [](std::vector<float> out) {
    out.resize(out.size() / kRows * (kSpoilt - 15));
    return out;
  };
  EXPECT_TRUE(same_bits(front(spoilt.out(0)), front(whole.out(0))));
  EXPECT_FALSE(std::isfinite(spoilt.out(0).back()));
}

class RoundedState : public DeltaPrefill {};

// A state in a format that rounds has the bits of a float state that is rounded after every chunk.
TEST_P(RoundedState, IsRoundedOnTheGrid) {
  PrefillCase wide_case = prefill();
  wide_case.format = StateFormat::kF32;
  const std::vector<int> lengths = {70, 66};
  PrefillWorld narrow(prefill(), lengths);
  narrow.step_all(path_);
  PrefillWorld wide(wide_case, lengths);
  for (int s = 0; s < 2; ++s) {
    wide.step(path_, {{s, 0, 64}});
    wide.round_states(prefill().format);
    wide.step(path_, {{s, 64, lengths[s]}});
    wide.round_states(prefill().format);
    EXPECT_TRUE(same_bits(narrow.out(s), wide.out(s))) << s;
    EXPECT_TRUE(same_bits(narrow.state(s), wide.state(s))) << s;
  }
}

TEST_P(RoundedState, IsKeptAsAStepThatEndsThereLeavesIt) {
  expect_kept_states(prefill(), path_);
}

bool has_path(PrefillPath path, const HeadCase& head) {
  MixerShape shape;
  shape.kind = head.kind;
  shape.key_dim = head.key_dim;
  shape.value_dim = head.value_dim;
  return path == PrefillPath::kPlain || cuda::has_tensor_prefill(shape);
}

bool erases(MixerKind kind) {
  return dispatch_mixer(kind, [](auto mixer) { return decltype(mixer)::kErases; });
}

// Inputs that break careless kernels, for every mixer.
std::vector<Case> all_cases() {
  std::vector<Case> all;
  for (const PrefillPath path : {PrefillPath::kPlain, PrefillPath::kTensor}) {
    const auto add = [&](const HeadCase& head, Rule rule = Rule::kLayer) {
      if (!has_path(path, head)) return;
      const auto lengths = static_cast<int>(all.size() % kShortLengths);
      all.push_back({{head, StateFormat::kF32, rule}, path, lengths});
    };
    const bool plain = path == PrefillPath::kPlain;
    const int K = plain ? 20 : 64;
    const int V = plain ? 33 : 64;
    for (const MixerKind kind : kAllMixers) {
      add({kind, Inputs::kRandom, K, V});
      if (decay_of(kind) != Decay::kNone) add({kind, Inputs::kHardDecay, K, V});
      if (decay_of(kind) == Decay::kPerChannel) add({kind, Inputs::kMixedDecay, K, V});
      // Without erasing keys make no difference; with x = k + lambda q the released chunk matrix
      // has no bound on correlated ones.
      if (!erases(kind) || kind == MixerKind::kQDeltaReleased) continue;
      add({kind, plain ? Inputs::kSimilarKeys : Inputs::kIdenticalKeys, 64, V});
    }
    for (const MixerKind kind :
         {MixerKind::kDeltaNet, MixerKind::kGatedDeltaNet, MixerKind::kKimiDelta}) {
      add({kind, Inputs::kRandom, 64, 128}, Rule::kCovariance);
    }
    if (plain) continue;
    // The wider states of the path that takes images.
    for (const int key_dim : {128, 256}) {
      for (const MixerKind kind :
           {MixerKind::kDeltaNet, MixerKind::kGatedDeltaNet, MixerKind::kQDelta}) {
        add({kind, Inputs::kRandom, key_dim, key_dim == 128 ? 128 : 64});
        add({kind, Inputs::kIdenticalKeys, key_dim, 64});
        all.back().lengths = key_dim == 128 ? 4 : 2;
      }
    }
    add({MixerKind::kQDelta, Inputs::kHardDecay, 128, 64});
    add({MixerKind::kPrecondKimiDelta, Inputs::kRandom, 256, 64});
    add({MixerKind::kMamba2, Inputs::kRandom, 256, 64});
    all.back().lengths = 2;  // several chunks
  }
  return all;
}

std::vector<Case> one_case_each(const std::vector<StateFormat>& formats) {
  std::vector<Case> all;
  const auto add = [&](const HeadCase& head, PrefillPath path) {
    for (const StateFormat format : formats) {
      if (decay_of(head.kind) == Decay::kNone && !state_format_is_exact(format)) continue;
      all.push_back({{head, format}, path});
    }
  };
  for (const PrefillPath path : {PrefillPath::kPlain, PrefillPath::kTensor}) {
    for (const MixerKind kind : kAllMixers) {
      const int size = path == PrefillPath::kPlain ? 40 : 64;
      add({kind, Inputs::kRandom, size, size}, path);
    }
  }
  // The wider states of tensor cores, erasing and not.
  for (const int key_dim : {128, 256}) {
    for (const MixerKind kind : {MixerKind::kDeltaNet, MixerKind::kGatedDeltaNet,
                                 MixerKind::kQDelta, MixerKind::kMamba2}) {
      add({kind, Inputs::kRandom, key_dim, 128}, PrefillPath::kTensor);
    }
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, DeltaPrefill, testing::ValuesIn(all_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(All, Invariance, testing::ValuesIn(one_case_each({StateFormat::kF32})),
                         name_of);
INSTANTIATE_TEST_SUITE_P(All, RoundedState,
                         testing::ValuesIn(one_case_each(rounding_state_formats())), name_of);

}  // namespace
}  // namespace deltaserve
