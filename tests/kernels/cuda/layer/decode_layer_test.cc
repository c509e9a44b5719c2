// Features, gates and rule of a layer's decode rows in one launch: equal to the reference, and the
// same bits whatever else is in the step and however many blocks share a head.
#include "kernels/cuda/layer/decode_layer.h"

#include <gtest/gtest.h>

#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/layer/output_norm.h"
#include "kernels/cuda/matmul/matmul.h"
#include "tests/kernels/base/state_formats.h"
#include "tests/kernels/cuda/layer/layer_device.h"

namespace deltaserve {
namespace {

constexpr double kTolerance = 5e-6;          // relative, float against double
constexpr double kRoundedTolerance = 2e-2;   // with states in a format that rounds
constexpr double kUnnormedTolerance = 4e-3;  // of rows rounded to bf16 before their norm

LayerCase decode_case(MixerKind kind, int key_dim, int value_dim) {
  LayerCase c;
  MixerShape& shape = c.shape;
  shape.kind = kind;
  shape.heads = shape.q_heads = shape.k_heads = shape.v_heads = 2;
  if (shape.decay() != Decay::kNone) {
    shape.decay_heads = 2;
    shape.decay_gate = DecayGate::kSoftplus;
  }
  if (kind == MixerKind::kMamba2) {
    shape.decay_gate = DecayGate::kTimeStep;
    shape.time_step_max = 1;
    shape.q_norm = shape.k_norm = FeatureNorm::kNone;
  } else if (kind != MixerKind::kGatedLinearAttention) {
    shape.beta_heads = 2;
  }
  shape.key_dim = key_dim;
  shape.value_dim = value_dim;
  shape.conv_width = 4;
  shape.scale = 0.25f;
  shape.norm_eps = 1e-2f;
  c.name = std::string("kind") + std::to_string(static_cast<int>(kind)) + "_" +
           std::to_string(key_dim) + "_" + std::to_string(value_dim);
  return c;
}

// Every mixer with a short convolution on small heads, then every size of a team of lanes, with
// turns that are not full, and convolutions of other widths, one of which is too wide to be loaded
// ahead.
std::vector<LayerCase> decode_cases() {
  std::vector<LayerCase> cases;
  for (const MixerKind kind : kAllMixers) {
    // Linear attention has a sum of keys and the preconditioned ones a pass of their own.
    if (is_preconditioned(kind) || kind == MixerKind::kLinearAttention) continue;
    cases.push_back(decode_case(kind, 24, 20));
  }
  LayerCase bare = decode_case(MixerKind::kQDelta, 24, 20);
  bare.norm = false;
  bare.name += "_without_norm_weight";
  cases.push_back(bare);
  bare.gate = false;
  bare.name += "_or_gate";
  cases.push_back(bare);
  cases.push_back(decode_case(MixerKind::kQDelta, 16, 9));
  cases.push_back(decode_case(MixerKind::kQDelta, 64, 150));
  cases.push_back(decode_case(MixerKind::kGatedDeltaNet2, 128, 70));
  cases.push_back(decode_case(MixerKind::kQDelta, 256, 40));
  cases.push_back(decode_case(MixerKind::kKimiDelta, 130, 170));
  cases.push_back(decode_case(MixerKind::kGatedDeltaNet, 128, 256));
  cases.push_back(decode_case(MixerKind::kQDelta, 256, 64));
  for (const int width : {2, 7}) {
    LayerCase other = decode_case(MixerKind::kQDelta, 24, 20);
    other.shape.conv_width = width;
    other.name += "_taps" + std::to_string(width);
    cases.push_back(other);
  }
  LayerCase groups = decode_case(MixerKind::kGatedDeltaNet, 24, 20);
  groups.shape.output_norm = OutputNorm::kGateThenGroups;
  groups.shape.norm_groups = 1;
  groups.name += "_norm_of_groups";
  cases.push_back(groups);
  return cases;
}

class CudaDecodeLayer : public testing::TestWithParam<LayerCase> {
 protected:
  static constexpr cuda::LayerPaths kPaths = {.one_launch_decode = true};

  // The decode jobs, padding between them, then two prompts.
  static std::vector<Piece> pieces() {
    std::vector<Piece> pieces = {{kPadding, 0, 1, true}};
    for (int job = 0; job < kNumJobs; ++job) {
      if (kJobs[job].decode || kJobs[job].rows <= 2) pieces.push_back(whole_job(job));
      if (job == 1) pieces.push_back({kPadding, 0, 1, true});
    }
    return pieces;
  }
  void expect_near_truth(const LayerDevice& device, double tolerance) const {
    for (const Piece& piece : pieces()) {
      if (piece.job == kPadding) continue;
      // Written so that NaN fails.
      EXPECT_LT(device.rows_error(piece.job), tolerance) << piece.job;
      EXPECT_LT(device.state_error(piece.job), tolerance) << piece.job;
    }
    EXPECT_TRUE(device.same_foreign_states());
  }

  const World world_{GetParam()};
};

TEST_P(CudaDecodeLayer, EqualsReference) {
  ASSERT_TRUE(cuda::has_decode_layer(world_.layer().shape, world_.weights()));
  LayerDevice device(world_, StateFormat::kF32, kPaths);
  device.step(pieces());
  expect_near_truth(device, kTolerance);
}

// By one launch and by the passes; what its slot had does not count.
TEST_P(CudaDecodeLayer, ASequenceMayBeginWithADecodedToken) {
  constexpr int kBegins = 3;
  ASSERT_EQ(kJobs[kBegins].history, 0);
  ASSERT_EQ(kJobs[kBegins].rows, 1);
  for (const bool one_launch : {false, true}) {
    LayerDevice device(world_, StateFormat::kF32, {.one_launch_decode = one_launch});
    device.step({{kBegins, 0, 1, true}});
    EXPECT_LT(device.rows_error(kBegins), kTolerance) << one_launch;
    EXPECT_LT(device.state_error(kBegins), kTolerance) << one_launch;
  }
}

TEST_P(CudaDecodeLayer, StatesAreRounded) {
  if (GetParam().shape.decay() == Decay::kNone) return;  // refused by the loader
  for (const StateFormat format : rounding_state_formats()) {
    LayerDevice device(world_, format, kPaths);
    device.step(pieces());
    expect_near_truth(device, kRoundedTolerance);
  }
}

TEST_P(CudaDecodeLayer, BitsDependOnTheOwnSequenceOnly) {
  LayerDevice together(world_, StateFormat::kF32, kPaths);
  together.step(pieces());
  LayerDevice alone(world_, StateFormat::kF32, kPaths);
  for (const Piece& piece : pieces()) {
    if (piece.job != kPadding) alone.step({piece});
  }
  simt::host::set_order(simt::host::Order::kBackward);
  LayerDevice backward(world_, StateFormat::kF32, kPaths);
  backward.step(pieces());
  simt::host::set_order(simt::host::Order::kForward);
  for (const Piece& piece : pieces()) {
    if (piece.job == kPadding) continue;
    EXPECT_TRUE(alone.same_job(together, piece.job)) << piece.job;
    EXPECT_TRUE(backward.same_job(together, piece.job)) << piece.job;
  }
}

// A step in which a decode segment has several rows takes the passes.
TEST_P(CudaDecodeLayer, HasTheBitsOfThePasses) {
  const cuda::LayerPaths passes;
  for (const StateFormat format : state_formats(GetParam().shape.decay() != Decay::kNone)) {
    LayerDevice one_launch(world_, format, kPaths);
    one_launch.step(pieces());
    LayerDevice apart(world_, format, passes);
    apart.step(pieces());
    for (const Piece& piece : pieces()) {
      if (piece.job == kPadding) continue;
      EXPECT_TRUE(one_launch.same_job(apart, piece.job)) << piece.job;
    }
  }
}

// How many blocks share a head follows from the rows of the step, or is asked for.
TEST_P(CudaDecodeLayer, BitsDoNotDependOnRowsNorOnParts) {
  for (const StateFormat format : state_formats(GetParam().shape.decay() != Decay::kNone)) {
    LayerDevice one(world_, format, kPaths);
    for (int job = 0; job < 3; ++job) one.step({whole_job(job)});
    for (const int rows : {2, 11, 12, 128}) {
      std::vector<Piece> step = {whole_job(0), whole_job(1)};
      if (rows > 2) step.push_back(whole_job(2));
      step.resize(static_cast<size_t>(rows), {kPadding, 0, 1, true});
      LayerDevice more(world_, format, kPaths);
      more.step(step);
      for (int job = 0; job < std::min(rows, 3); ++job)
        EXPECT_TRUE(more.same_job(one, job)) << rows;
    }
    for (const int parts : {1, 2, 3, 16}) {
      for (const bool one_launch : {false, true}) {
        LayerDevice cut(world_, format, {.one_launch_decode = one_launch, .decode_parts = parts});
        cut.step({whole_job(0), whole_job(1), whole_job(2)});
        for (int job = 0; job < 3; ++job) EXPECT_TRUE(cut.same_job(one, job)) << parts;
      }
    }
  }
}

// The output projection applies the norm of decode rows, whichever kernels ran them.
TEST_P(CudaDecodeLayer, LeavesTheNormToTheOutputProjection) {
  if (!cuda::has_unnormed_decode(GetParam().shape)) return;
  LayerDevice one_launch(world_, StateFormat::kF32, kPaths, true);
  one_launch.step(pieces());
  LayerDevice passes(world_, StateFormat::kF32, {}, true);
  passes.step(pieces());
  for (const Piece& piece : pieces()) {
    if (piece.job == kPadding) continue;
    const double tolerance = piece.decode ? kUnnormedTolerance : kTolerance;
    EXPECT_LT(one_launch.rows_error(piece.job), tolerance) << piece.job;
    EXPECT_TRUE(one_launch.same_job(passes, piece.job)) << piece.job;
  }
}

TEST_P(CudaDecodeLayer, AStateMayGoOnInAnotherSlot) {
  LayerDevice in_place(world_, StateFormat::kF32, kPaths);
  in_place.step(pieces());
  LayerDevice moved(world_, StateFormat::kF32, kPaths);
  moved.step(pieces(), 1);
  for (const Piece& piece : pieces()) {
    if (piece.job == kPadding) continue;
    EXPECT_TRUE(moved.same_job(in_place, piece.job)) << piece.job;
  }
  EXPECT_TRUE(moved.same_foreign_states());
}

std::string name_of(const testing::TestParamInfo<LayerCase>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(All, CudaDecodeLayer, testing::ValuesIn(decode_cases()), name_of);

TEST(CudaDecodeLayerShapes, OthersAreLeftToThePasses) {
  const MixerWeights weights = {};
  MixerShape shape = decode_case(MixerKind::kQDelta, 128, 256).shape;
  EXPECT_TRUE(cuda::has_decode_layer(shape, weights));
  MixerShape shared_keys = shape;
  shared_keys.k_heads = 1;
  EXPECT_FALSE(cuda::has_decode_layer(shared_keys, weights));
  MixerShape wide = shape;
  wide.key_dim = 512;
  EXPECT_FALSE(cuda::has_decode_layer(wide, weights));
  MixerShape conditioned = shape;
  conditioned.conditioning.on = true;
  EXPECT_FALSE(cuda::has_decode_layer(conditioned, weights));
  MixerShape normalised = shape;
  normalised.normalised = true;
  EXPECT_FALSE(cuda::has_decode_layer(normalised, weights));
  MixerWeights skip = {};
  const float any = 1;
  skip.skip = &any;
  EXPECT_FALSE(cuda::has_decode_layer(shape, skip));
}

TEST(CudaDecodeLayerShapes, MixersThatMayLeaveTheirNorm) {
  MixerShape shape = decode_case(MixerKind::kQDelta, 128, 256).shape;
  shape.heads = cuda::kMostFactorParts;
  EXPECT_TRUE(cuda::has_unnormed_decode(shape));
  MixerShape many = shape;
  many.heads = cuda::kMostFactorParts + 1;
  EXPECT_FALSE(cuda::has_unnormed_decode(many));
  MixerShape odd = shape;
  odd.value_dim = 40;
  EXPECT_FALSE(cuda::has_unnormed_decode(odd));
  MixerShape groups = shape;
  groups.output_norm = OutputNorm::kGateThenGroups;
  EXPECT_FALSE(cuda::has_unnormed_decode(groups));
}

}  // namespace
}  // namespace deltaserve
