// Tests that step == chunk == reference for every mixer, in every instruction set of this machine.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "kernels/cpu/base/aligned.h"
#include "kernels/cpu/rule/delta_rule_cpu.h"
#include "tests/kernels/base/state_formats.h"
#include "tests/kernels/cpu/base/targets.h"
#include "tests/kernels/mixer/head_inputs.h"
#include "tests/reference/recurrences.h"

namespace deltaserve {
namespace {

using reference::HeadInputs;
using reference::HeadOutputs;
using reference::Vec;

constexpr double kTolerance = 5e-6;  // relative, float against double

struct Case {
  HeadCase head;
  std::vector<int> lengths;
  bool from_zero;
  StateFormat format = StateFormat::kF32;
};

std::string name_of(const testing::TestParamInfo<Case>& info) {
  static const char* kInputs[] = {"random",  "hard_decay",   "mixed_decay",
                                  "nodecay", "similar_keys", "identical_keys"};
  const HeadCase& c = info.param.head;
  std::string name;
  for (const char* at = mixer_name(c.kind); *at != 0; ++at) {
    if (std::isalnum(*at) != 0) name += *at;
  }
  return name + "_K" + std::to_string(c.key_dim) + "_V" + std::to_string(c.value_dim) + "_" +
         kInputs[static_cast<int>(c.inputs)] + (info.param.from_zero ? "_zero" : "_state") +
         state_format_suffix(info.param.format);
}

// Returns the mixer of a single step, which is the canonical one for released Q-Delta.
MixerKind kind_of_step(MixerKind kind) {
  return kind == MixerKind::kQDeltaReleased ? MixerKind::kQDelta : kind;
}

// One operand in the form that kernels take: rows with NaN between them.
class Operand {
 public:
  Operand(const Vec& x, int tokens)
      : stride_(static_cast<int64_t>(x.size()) / tokens + 3),
        data_(x.empty() ? 0 : static_cast<size_t>(tokens * stride_), NAN) {
    const int64_t width = stride_ - 3;
    for (int64_t i = 0; i < static_cast<int64_t>(x.size()); ++i) {
      data_[i / width * stride_ + i % width] = static_cast<float>(x[i]);
    }
  }

  TokenRows rows() const { return {data_.empty() ? nullptr : data_.data(), stride_}; }

 private:
  int64_t stride_;
  std::vector<float> data_;
};

// The operands and the state of a head, in the form that kernels and slots have.
class Head {
 public:
  Head(MixerKind kind, const HeadInputs& in, const Vec& state)
      : kind_(kind),
        shape_{in.key_dim, in.value_dim},
        operands_{{in.q, in.tokens},          {in.k, in.tokens},
                  {in.v, in.tokens},          {in.r, in.tokens},
                  {in.g, in.tokens},          {in.multiplier, in.tokens},
                  {in.erase_gate, in.tokens}, {in.write_gate, in.tokens},
                  {in.beta, in.tokens},       {in.lambda, in.tokens}},
        state_floats_(static_cast<size_t>(in.value_dim * shape_.key_stride())),
        state_(cpu::allocate_aligned<float>(state_floats_)),
        scratch_floats_(static_cast<size_t>(cpu::delta_scratch_floats(shape_))),
        scratch_(cpu::allocate_aligned<float>(scratch_floats_)),
        out_(static_cast<size_t>(in.tokens * in.value_dim), NAN) {
    tokens_ = {operands_[0].rows(), operands_[1].rows(),         operands_[2].rows(),
               operands_[3].rows(), operands_[4].rows(),         operands_[5].rows(),
               operands_[6].rows(), operands_[7].rows(),         operands_[8].rows(),
               operands_[9].rows(), static_cast<float>(in.scale)};
    std::fill_n(state_.get(), state_floats_, 0.0f);
    for (size_t i = 0; i < state.size(); ++i) state_at(i) = static_cast<float>(state[i]);
  }

  void prefill(int first, int count, bool from_zero) {
    std::fill_n(scratch_.get(), scratch_floats_, NAN);
    // The initial state of a sequence must not be read.
    if (from_zero) std::fill_n(state_.get(), state_floats_, NAN);
    cpu::delta_prefill(kind_, shape_, tokens_.from(first), count, from_zero, slot(),
                       &out_[first * shape_.value_dim], shape_.value_dim, scratch_.get());
  }

  void step(int t) {
    std::fill_n(scratch_.get(), scratch_floats_, NAN);
    cpu::delta_decode(kind_, shape_, tokens_.from(t), 1, slot(), &out_[t * shape_.value_dim], 0,
                      scratch_.get());
  }

  // Stores the state in another format from here on.
  void convert_state(StateFormat format) {
    const std::vector<float> floats = state_floats();
    for (size_t i = 0; i < state_floats_; ++i) {
      store_rounded(format, floats[i], state_.get(), static_cast<int64_t>(i));
    }
    format_ = format;
  }
  // Rounds a float state to another format.
  void round_state(StateFormat format) {
    convert_state(format);
    convert_state(StateFormat::kF32);
  }

  void expect_near(const HeadOutputs& truth) {
    Vec state;
    for (size_t i = 0; i < truth.s.size(); ++i) state.push_back(state_at(i));
    // The condition is written so that NaN fails.
    EXPECT_LT(relative_error(Vec(out_.begin(), out_.end()), truth.o), kTolerance);
    EXPECT_LT(relative_error(state, truth.s), kTolerance);
    for (int64_t i = 0; i < static_cast<int64_t>(state_floats_); ++i) {
      if (i % shape_.key_stride() < shape_.key_dim) continue;
      ASSERT_EQ(state_[i], 0.0f) << "padding";
    }
  }

  // Compares the bits of the first `rows` outputs, and of the state.
  bool same_outputs(const Head& other, int rows) const {
    return std::memcmp(out_.data(), other.out_.data(),
                       static_cast<size_t>(rows * shape_.value_dim) * sizeof(float)) == 0;
  }
  bool same_state(const Head& other) const {
    return std::memcmp(state_.get(), other.state_.get(), state_floats_ * sizeof(float)) == 0;
  }

 private:
  HeadState slot() { return {state_.get(), format_}; }

  std::vector<float> state_floats() const {
    std::vector<float> floats;
    for (size_t i = 0; i < state_floats_; ++i) {
      floats.push_back(load_stored(format_, state_.get(), static_cast<int64_t>(i)));
    }
    return floats;
  }

  // Returns element i of S [key_dim, value_dim].
  float& state_at(size_t i) {
    const auto at = static_cast<int64_t>(i);
    return state_[at % shape_.value_dim * shape_.key_stride() + at / shape_.value_dim];
  }

  MixerKind kind_;
  HeadShape shape_;
  std::vector<Operand> operands_;
  HeadTokens tokens_;
  size_t state_floats_;
  cpu::AlignedArray<float> state_;
  StateFormat format_ = StateFormat::kF32;
  size_t scratch_floats_;
  cpu::AlignedArray<float> scratch_;
  std::vector<float> out_;
};

class DeltaRule : public testing::TestWithParam<Case> {
 protected:
  // Calls body(tokens, inputs) for every length of the case.
  template <class Body>
  void for_each_length(const Body& body) {
    const HeadCase& c = GetParam().head;
    std::mt19937 rng(5);
    std::normal_distribution<double> normal;
    state_.assign(static_cast<size_t>(c.key_dim * c.value_dim), 0.0);
    if (!GetParam().from_zero) {
      for (double& x : state_) x = static_cast<float>(normal(rng));
    }
    for (const int tokens : GetParam().lengths) {
      SCOPED_TRACE(tokens);
      body(tokens, make_head_inputs(c, tokens, 17));
    }
  }

  // Computes the reference in calls of `piece` tokens each.
  HeadOutputs cut_recurrence(const HeadInputs& in, int piece) const {
    HeadOutputs all = {{}, state_};
    for (int t = 0; t < in.tokens; t += piece) {
      const int end = std::min(t + piece, in.tokens);
      HeadOutputs part = recurrence(kind_, rows_of(in, t, end), all.s);
      all.o.insert(all.o.end(), part.o.begin(), part.o.end());
      all.s = std::move(part.s);
    }
    return all;
  }

  Head head(const HeadInputs& in) const { return Head(kind_, in, state_); }

  const MixerKind kind_ = GetParam().head.kind;
  const bool from_zero_ = GetParam().from_zero;
  Vec state_;
};

TEST_P(DeltaRule, ChunksEqualReference) {
  for_each_length([&](int tokens, const HeadInputs& in) {
    const HeadOutputs truth = recurrence(kind_, in, state_);
    on_every_target([&] {
      Head chunks = head(in);
      chunks.prefill(0, tokens, from_zero_);
      chunks.expect_near(truth);
    });
  });
}

TEST_P(DeltaRule, StepsEqualReference) {
  for_each_length([&](int tokens, const HeadInputs& in) {
    const HeadOutputs truth = recurrence(kind_of_step(kind_), in, state_);
    on_every_target([&] {
      Head steps = head(in);
      for (int t = 0; t < tokens; ++t) steps.step(t);
      steps.expect_near(truth);
    });
  });
}

TEST_P(DeltaRule, ChunksThenStepsEqualReference) {
  for_each_length([&](int tokens, const HeadInputs& in) {
    const int prompt = std::min(64, tokens - 1);
    if (prompt == 0) return;
    HeadOutputs truth = recurrence(kind_, rows_of(in, 0, prompt), state_);
    const HeadOutputs rest = recurrence(kind_of_step(kind_), rows_of(in, prompt, tokens), truth.s);
    truth.o.insert(truth.o.end(), rest.o.begin(), rest.o.end());
    truth.s = rest.s;
    on_every_target([&] {
      Head both = head(in);
      both.prefill(0, prompt, from_zero_);
      for (int t = prompt; t < tokens; ++t) both.step(t);
      both.expect_near(truth);
    });
  });
}

TEST_P(DeltaRule, CutsOnTheGridChangeNoBit) {
  for_each_length([&](int tokens, const HeadInputs& in) {
    on_every_target([&] {
      Head whole = head(in);
      whole.prefill(0, tokens, from_zero_);
      for (const int piece : {kChunkTokens, 2 * kChunkTokens}) {
        Head cut = head(in);
        for (int t = 0; t < tokens; t += piece) {
          cut.prefill(t, std::min(piece, tokens - t), from_zero_ && t == 0);
        }
        EXPECT_TRUE(cut.same_outputs(whole, tokens)) << piece;
        EXPECT_TRUE(cut.same_state(whole)) << piece;
      }
    });
  });
}

// The cuts of released Q-Delta affect its result; those of the others must not.
TEST_P(DeltaRule, CutsAnywhereEqualReference) {
  for_each_length([&](int tokens, const HeadInputs& in) {
    HeadOutputs truth = recurrence(kind_, in, state_);
    for (const int piece : {1, 5, 17, 90}) {
      if (kind_ == MixerKind::kQDeltaReleased) truth = cut_recurrence(in, piece);
      Head cut = head(in);
      for (int t = 0; t < tokens; t += piece) {
        cut.prefill(t, std::min(piece, tokens - t), from_zero_ && t == 0);
      }
      SCOPED_TRACE(piece);
      cut.expect_near(truth);
    }
  });
}

TEST_P(DeltaRule, RowsDoNotSeeLaterRows) {
  for_each_length([&](int tokens, const HeadInputs& in) {
    Head whole = head(in);
    whole.prefill(0, tokens, from_zero_);
    for (const int rows : {1, 2, 7, 8, 9, 15, 16, 17, 33, 63, 65, tokens - 1}) {
      if (rows < 1 || rows >= tokens) continue;
      Head shorter = head(in);
      shorter.prefill(0, rows, from_zero_);
      EXPECT_TRUE(shorter.same_outputs(whole, rows)) << rows;
    }
  });
}

class RoundedState : public DeltaRule {
 protected:
  const StateFormat format_ = GetParam().format;
};

// Compares bits: a state in a format that rounds equals a float state that is rounded after every
// chunk and every step.
TEST_P(RoundedState, IsRoundedOnTheGridAndAtTheEnd) {
  for_each_length([&](int tokens, const HeadInputs& in) {
    on_every_target([&] {
      Head narrow = head(in);
      narrow.convert_state(format_);
      narrow.prefill(0, tokens, from_zero_);
      narrow.convert_state(StateFormat::kF32);
      Head wide = head(in);
      wide.round_state(format_);
      for (int t = 0; t < tokens; t += kChunkTokens) {
        wide.prefill(t, std::min(kChunkTokens, tokens - t), from_zero_ && t == 0);
        wide.round_state(format_);
      }
      EXPECT_TRUE(narrow.same_outputs(wide, tokens));
      EXPECT_TRUE(narrow.same_state(wide));
    });
  });
}

TEST_P(RoundedState, IsRoundedBehindEveryStep) {
  for_each_length([&](int tokens, const HeadInputs& in) {
    on_every_target([&] {
      Head narrow = head(in);
      Head wide = head(in);
      narrow.convert_state(format_);
      wide.round_state(format_);
      for (int t = 0; t < tokens; ++t) {
        narrow.step(t);
        wide.step(t);
        wide.round_state(format_);
      }
      narrow.convert_state(StateFormat::kF32);
      EXPECT_TRUE(narrow.same_outputs(wide, tokens));
      EXPECT_TRUE(narrow.same_state(wide));
    });
  });
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const MixerKind kind : kAllMixers) {
    const auto add = [&](Inputs inputs, int key_dim, int value_dim, std::vector<int> lengths,
                         bool from_zero = false) {
      cases.push_back({{kind, inputs, key_dim, value_dim}, std::move(lengths), from_zero});
    };
    for (const bool from_zero : {false, true}) {
      add(Inputs::kRandom, 32, 48, {1, 2, 63, 64, 65, 200, 1000}, from_zero);
    }
    add(Inputs::kRandom, 128, 256, {130});
    add(Inputs::kRandom, 120, 121, {130});
    add(Inputs::kRandom, 96, 120, {130});
    add(Inputs::kRandom, 121, 1, {130});
    add(Inputs::kRandom, 1, 48, {130});
    add(Inputs::kRandom, 1, 1, {70});
    if (decay_of(kind) != Decay::kNone) {
      add(Inputs::kHardDecay, 48, 96, {64, 200});
      add(Inputs::kNoDecay, 48, 96, {64, 200});
    }
    if (decay_of(kind) == Decay::kPerChannel) add(Inputs::kMixedDecay, 48, 96, {64, 200});
    // With x = k + lambda q the released chunk matrix is unbounded on correlated keys.
    if (kind != MixerKind::kQDeltaReleased) {
      add(Inputs::kSimilarKeys, 64, 64, {200});
      add(Inputs::kIdenticalKeys, 64, 64, {200});
    }
  }
  return cases;
}

std::vector<Case> rounding_cases() {
  std::vector<Case> cases;
  for (Case& c : all_cases()) {
    if (decay_of(c.head.kind) == Decay::kNone) continue;
    for (const StateFormat format : rounding_state_formats()) {
      c.format = format;
      cases.push_back(c);
    }
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, DeltaRule, testing::ValuesIn(all_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(All, RoundedState, testing::ValuesIn(rounding_cases()), name_of);

}  // namespace
}  // namespace deltaserve
