// Whole mixer layers by the kernels for GPUs: equal to the reference, and the same bits whatever
// else is in the step.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "kernels/cuda/device/simt.h"
#include "kernels/cuda/rule/delta_prefill.h"
#include "tests/kernels/base/state_formats.h"
#include "tests/kernels/cuda/layer/layer_device.h"

namespace deltaserve {
namespace {

constexpr double kTolerance = 5e-6;         // relative, float against double
constexpr double kRoundedTolerance = 6e-3;  // with states in a format that rounds

// The jobs of a step. The emulation takes its time: beside short ones, one over a point of the
// grid.
enum class Jobs { kShort, kAll };
std::vector<int> jobs_of(Jobs which) {
  std::vector<int> jobs;
  for (int job = 0; job < kNumJobs; ++job) {
    const int rows = kJobs[job].rows;
    const bool is_taken = rows <= 3 || (which == Jobs::kAll && rows == kChunkTokens + 1);
    if (is_taken) jobs.push_back(job);
  }
  return jobs;
}

std::vector<Piece> whole(const std::vector<int>& jobs) {
  std::vector<Piece> pieces;
  for (const int job : jobs) pieces.push_back(whole_job(job));
  return pieces;
}

// Padding in front of every second segment and at both ends, decode rows first.
std::vector<Piece> with_padding(const std::vector<Piece>& pieces) {
  std::vector<Piece> padded;
  const auto pad = [&](bool decode) { padded.push_back({kPadding, 0, decode ? 1 : 3, decode}); };
  int i = 0;
  for (const Piece& piece : pieces) {
    if (i++ % 2 == 0) pad(piece.decode);
    padded.push_back(piece);
  }
  pad(pieces.back().decode);
  return padded;
}

void expect_near_truth(const LayerDevice& device, const std::vector<int>& jobs, double tolerance) {
  for (const int job : jobs) {
    SCOPED_TRACE(testing::Message()
                 << "sequence of " << kJobs[job].history << " + " << kJobs[job].rows << " tokens");
    // Written so that NaN fails.
    EXPECT_LT(device.rows_error(job), tolerance);
    EXPECT_LT(device.state_error(job), tolerance);
  }
  EXPECT_TRUE(device.same_foreign_states());
}

// A kept state has the bits of a step that ends there, and goes on with those of the whole job.
void expect_kept_states(const World& world, StateFormat format, const cuda::LayerPaths& paths) {
  std::vector<Piece> pieces, fronts, rests;
  for (const int job : jobs_of(Jobs::kAll)) {
    Piece piece = whole_job(job);
    const int end = piece.end / kChunkTokens * kChunkTokens;
    if (end > 0) {
      piece.keep_slot = slot_of(job) + 1;  // which nobody uses
      fronts.push_back({job, 0, end, false});
      rests.push_back({job, end, piece.end, false});
    }
    pieces.push_back(piece);
  }
  LayerDevice whole(world, format, paths);
  for (const Piece& front : fronts) whole.step({whole_job(front.job)});
  LayerDevice ends(world, format, paths);
  ends.step(fronts);
  LayerDevice keeps(world, format, paths);
  keeps.step(with_padding(pieces));
  EXPECT_TRUE(keeps.same_foreign_states());
  for (const Piece& front : fronts) {
    EXPECT_TRUE(keeps.same_job(whole, front.job)) << front.job;
    EXPECT_TRUE(keeps.same_kept(ends, front.job)) << front.job;
    keeps.go_back_to_kept(front.job, front.end);
  }
  keeps.step(rests);
  for (const Piece& rest : rests) EXPECT_TRUE(keeps.same_job(whole, rest.job)) << rest.job;
}

class ThreadOrder {
 public:
  explicit ThreadOrder(simt::host::Order order) { simt::host::set_order(order); }
  ~ThreadOrder() { simt::host::set_order(simt::host::Order::kForward); }
};

// Tests of a case share it: the reference takes longer than they do.
const World& world_of(const LayerCase& c) {
  static std::map<std::string, World> worlds;
  return worlds.try_emplace(c.name, c).first->second;
}

class CudaMixerLayer : public testing::TestWithParam<LayerCase> {
 protected:
  const World& world_ = world_of(GetParam());
};

class CudaMixerLayerSteps : public CudaMixerLayer {};
class CudaMixerLayerStates : public CudaMixerLayer {};

TEST_P(CudaMixerLayer, EqualsReferenceWhereverItIsCut) {
  const std::vector<int> jobs = jobs_of(Jobs::kAll);
  LayerDevice device(world_);
  device.step(with_padding(whole(jobs)));
  expect_near_truth(device, jobs, kTolerance);
  // Cuts on the grid change no bit.
  LayerDevice cut(world_);
  for (const int job : jobs) {
    if (kJobs[job].rows <= kChunkTokens) continue;
    cut.step({{job, 0, kChunkTokens, false}});
    cut.step({{job, kChunkTokens, kJobs[job].rows, false}});
    EXPECT_TRUE(cut.same_job(device, job)) << job;
  }
}

TEST_P(CudaMixerLayer, AKeptStateIsThatOfAStepThatEndsThere) {
  expect_kept_states(world_, StateFormat::kF32, {});
}

// One token a step, all sequences together.
TEST_P(CudaMixerLayerSteps, EqualReference) {
  const std::vector<int> jobs = jobs_of(Jobs::kShort);
  LayerDevice device(world_);
  for (int row = 0; row < 3; ++row) {
    std::vector<Piece> pieces;
    for (const bool decode : {true, false}) {
      for (const int job : jobs) {
        // The rows that begin a sequence are read as a prompt, as the engine does it.
        const bool begins = kJobs[job].history + row == 0;
        if (row < kJobs[job].rows && begins != decode)
          pieces.push_back({job, row, row + 1, decode});
      }
    }
    if (!pieces.empty()) device.step(pieces);
  }
  expect_near_truth(device, jobs, kTolerance);
}

TEST_P(CudaMixerLayer, BitsDependOnTheOwnSequenceOnly) {
  const std::vector<int> jobs = jobs_of(Jobs::kShort);
  LayerDevice together(world_);
  together.step(with_padding(whole(jobs)));
  LayerDevice alone(world_);
  for (const int job : jobs) alone.step({whole_job(job)});
  const ThreadOrder order(simt::host::Order::kBackward);
  LayerDevice backward(world_);
  backward.step(whole(jobs));
  for (const int job : jobs) {
    EXPECT_TRUE(alone.same_job(together, job)) << job;
    EXPECT_TRUE(backward.same_job(together, job)) << job;
  }
}

// A decode segment of several rows has the bits of as many steps of one row each, by one launch or
// by passes, whatever else is in its step, and whether its state stays in its slot.
TEST_P(CudaMixerLayer, DecodeSegmentsOfSeveralRowsAreSingleSteps) {
  struct Run {
    int job;
    int rows;
  };
  std::vector<Run> runs;
  std::vector<Piece> together;
  for (int job = 0; job < kNumJobs; ++job) {
    const int rows = std::min(kJobs[job].rows, 10);  // more than kernels load at a time
    const bool decoded = rows != 2 && job < 8;
    if (decoded) runs.push_back({job, rows});
    if (decoded) together.push_back({job, 0, rows, true});
  }
  together.push_back({kPadding, 0, 1, true});
  together.push_back({4, 0, 2, false});
  for (const StateFormat format : state_formats(GetParam().shape.decay() != Decay::kNone)) {
    LayerDevice several(world_, format);
    several.step(together);
    LayerDevice single(world_, format, {.one_launch_decode = true});
    for (int row = 0; row < 10; ++row) {
      std::vector<Piece> pieces;
      for (const Run& run : runs) {
        if (row < run.rows) pieces.push_back({run.job, row, row + 1, true});
      }
      single.step(pieces);
    }
    LayerDevice moved(world_, format);
    moved.step(together, 1);
    for (const Run& run : runs) {
      EXPECT_TRUE(several.same_job(single, run.job)) << run.job;
      EXPECT_TRUE(moved.same_job(single, run.job)) << run.job;
    }
    EXPECT_TRUE(several.same_foreign_states());
    EXPECT_TRUE(moved.same_foreign_states());
  }
}

TEST_P(CudaMixerLayer, AStateMayGoOnInAnotherSlot) {
  const std::vector<int> jobs = jobs_of(Jobs::kShort);
  LayerDevice in_place(world_);
  in_place.step(whole(jobs));
  LayerDevice moved(world_);
  moved.step(with_padding(whole(jobs)), 1);
  for (const int job : jobs) EXPECT_TRUE(moved.same_job(in_place, job)) << job;
  EXPECT_TRUE(moved.same_foreign_states());
}

TEST_P(CudaMixerLayerStates, AreRounded) {
  const std::vector<int> jobs = jobs_of(Jobs::kAll);
  for (const StateFormat format : rounding_state_formats()) {
    LayerDevice device(world_, format);
    device.step(with_padding(whole(jobs)));
    expect_near_truth(device, jobs, kRoundedTolerance);
  }
}

TEST_P(CudaMixerLayerStates, AreKept) {
  for (const StateFormat format : rounding_state_formats()) expect_kept_states(world_, format, {});
}

std::string name_of(const testing::TestParamInfo<LayerCase>& info) {
  return info.param.name;
}

template <class Wanted>
std::vector<LayerCase> cases_where(const Wanted& wanted) {
  std::vector<LayerCase> cases = layer_cases();
  std::erase_if(cases, [&](const LayerCase& c) { return !wanted(c.shape); });
  return cases;
}
// The released Q-Delta decodes by another rule than it reads by.
bool reads_as_it_decodes(const MixerShape& shape) {
  return shape.kind != MixerKind::kQDeltaReleased;
}
bool decays(const MixerShape& shape) {
  return shape.decay() != Decay::kNone;
}

INSTANTIATE_TEST_SUITE_P(All, CudaMixerLayer, testing::ValuesIn(layer_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(All, CudaMixerLayerSteps,
                         testing::ValuesIn(cases_where(reads_as_it_decodes)), name_of);
INSTANTIATE_TEST_SUITE_P(All, CudaMixerLayerStates, testing::ValuesIn(cases_where(decays)),
                         name_of);

// Heads of more than four channels a lane, values of more than one run, a norm over more columns
// than a block keeps in registers.
std::vector<LayerCase> wide_cases() {
  LayerCase c;
  c.shape.kind = MixerKind::kPrecondKimiDelta;
  c.shape.heads = c.shape.q_heads = c.shape.v_heads = c.shape.beta_heads = 2;
  c.shape.k_heads = c.shape.precond_heads = c.shape.decay_heads = 1;
  c.shape.decay_gate = DecayGate::kSoftplus;
  c.shape.conv_width = 4;
  c.shape.value_dim = 7;
  c.shape.scale = 0.25f;
  c.shape.conditioning.on = c.shape.conditioning.centered = true;
  c.shape.conditioning.l2_keys = c.shape.conditioning.renormalise = true;
  c.shape.conditioning.gate_input = QueryConditioning::GateInput::kFull;
  std::vector<LayerCase> cases;
  c.name = "conditioned_130";
  c.shape.key_dim = 130;
  cases.push_back(c);
  LayerCase sums;
  sums.gate = false;
  sums.shape.kind = MixerKind::kLinearAttention;
  sums.shape.heads = sums.shape.q_heads = sums.shape.v_heads = 2;
  sums.shape.k_heads = 1;
  sums.shape.qk_activation = sums.shape.v_activation = Activation::kNone;
  sums.shape.feature_map = Activation::kEluPlusOne;
  sums.shape.q_norm = sums.shape.k_norm = FeatureNorm::kSum;
  sums.shape.normalised = true;
  for (const int key_dim : {130, 260}) {
    sums.name = "normalised_" + std::to_string(key_dim);
    sums.shape.key_dim = key_dim;
    sums.shape.value_dim = 150;
    cases.push_back(sums);
  }
  LayerCase groups;
  groups.name = "one_group_of_4200";
  groups.skip = true;
  groups.shape.kind = MixerKind::kMamba2;
  groups.shape.heads = groups.shape.v_heads = groups.shape.decay_heads = 2;
  groups.shape.q_heads = groups.shape.k_heads = 1;
  groups.shape.key_dim = 5;
  groups.shape.value_dim = 2100;
  groups.shape.decay_gate = DecayGate::kTimeStep;
  groups.shape.time_step_max = 1;
  groups.shape.output_norm = OutputNorm::kGateThenGroups;
  cases.push_back(groups);
  return cases;
}

class CudaWideMixerLayer : public CudaMixerLayer {};

TEST_P(CudaWideMixerLayer, EqualsReference) {
  const std::vector<int> jobs = jobs_of(Jobs::kShort);
  LayerDevice device(world_);
  device.step(with_padding(whole(jobs)));
  expect_near_truth(device, jobs, kTolerance);
}

TEST_P(CudaWideMixerLayer, AKeptStateIsThatOfAStepThatEndsThere) {
  expect_kept_states(world_, StateFormat::kF32, {});
}

INSTANTIATE_TEST_SUITE_P(All, CudaWideMixerLayer, testing::ValuesIn(wide_cases()), name_of);

// Layers whose prefill takes q, k and v as images in bf16: with that the truth knows nothing of, so
// this is the distance of rounded operands.
constexpr double kImageTolerance = 1.2e-2;

std::vector<LayerCase> image_cases() {
  std::vector<LayerCase> cases = layer_cases();
  for (LayerCase& c : cases) {
    c.name += "_images";
    c.shape.key_dim = c.shape.value_dim = 64;
    c.shape.scale = 0.125f;
  }
  LayerCase wide = cases_where([](const MixerShape& shape) {
                     return shape.kind == MixerKind::kQDelta && shape.conv_width == 4;
                   }).front();
  wide.name = "qdelta_128_images";
  wide.shape.key_dim = wide.shape.value_dim = 128;
  wide.shape.scale = 0.09f;
  cases.push_back(wide);
  std::erase_if(cases, [](const LayerCase& c) { return !cuda::has_image_prefill(c.shape); });
  return cases;
}

class CudaImageMixerLayer : public CudaMixerLayer {
 protected:
  static constexpr cuda::LayerPaths kPaths = {.prefill = cuda::PrefillPath::kTensor};
};

TEST_P(CudaImageMixerLayer, EqualsReferenceWhereverItIsCut) {
  const std::vector<int> jobs = jobs_of(Jobs::kAll);
  LayerDevice device(world_, StateFormat::kF32, kPaths);
  device.step(with_padding(whole(jobs)));
  expect_near_truth(device, jobs, kImageTolerance);
  double rows = 0;
  double states = 0;
  for (const int job : jobs) {
    rows = std::max(rows, device.rows_error(job));
    states = std::max(states, device.state_error(job));
  }
  RecordProperty("out_error", std::to_string(rows));
  RecordProperty("state_error", std::to_string(states));
  const ThreadOrder order(simt::host::Order::kBackward);
  LayerDevice cut(world_, StateFormat::kF32, kPaths);
  for (const int job : jobs) {
    if (kJobs[job].rows <= kChunkTokens) {
      cut.step({whole_job(job)});
    } else {
      cut.step({{job, 0, kChunkTokens, false}});
      cut.step({{job, kChunkTokens, kJobs[job].rows, false}});
    }
    EXPECT_TRUE(cut.same_job(device, job)) << job;
  }
}

TEST_P(CudaImageMixerLayer, AKeptStateIsThatOfAStepThatEndsThere) {
  const ThreadOrder order(simt::host::Order::kBackward);
  expect_kept_states(world_, StateFormat::kF32, kPaths);
}

INSTANTIATE_TEST_SUITE_P(All, CudaImageMixerLayer, testing::ValuesIn(image_cases()), name_of);

}  // namespace
}  // namespace deltaserve
