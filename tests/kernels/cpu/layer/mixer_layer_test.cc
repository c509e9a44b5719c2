// Tests whole mixer layers: they equal the reference, and their bits do not depend on the rest of
// the step.
#include "kernels/cpu/layer/mixer_layer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tests/kernels/cpu/base/targets.h"
#include "tests/kernels/mixer/head_inputs.h"
#include "tests/kernels/program/layer_world.h"

namespace deltaserve {
namespace {

using reference::LayerState;
using reference::Vec;

constexpr double kTolerance = 5e-6;  // relative, float against double

// Rows [begin, end) of a job in a step.
struct Piece {
  int job;
  int begin;
  int end;
  RowKind kind = kJobs[job].decode ? RowKind::kDecode : RowKind::kPrefill;
  int keep_slot = -1;
};

std::vector<Piece> whole_jobs() {
  std::vector<Piece> pieces;
  for (int job = 0; job < kNumJobs; ++job) pieces.push_back({job, 0, kJobs[job].rows});
  return pieces;
}

constexpr int kMostRows = [] {
  int most = 0;
  for (const Job& job : kJobs) most = std::max(most, job.rows);
  return most;
}();

// Runs steps on the slots of a world and keeps the output rows.
class StepRunner {
 public:
  explicit StepRunner(const World& world, int num_threads = 1)
      : world_(world),
        threads_(num_threads),
        slots_(cpu::allocate_aligned<float>(world.before().size())) {
    std::copy(world.before().begin(), world.before().end(), slots_.get());
    int max_rows = 0;
    for (const Job& job : kJobs) max_rows += job.rows;
    EXPECT_TRUE(runner_.reserve({&world.layer(), 1}, max_rows, kNumJobs, num_threads));
    for (int job = 0; job < kNumJobs; ++job) {
      out_.emplace_back(static_cast<size_t>(kJobs[job].rows * columns()), NAN);
      slot_.push_back(slot_of(job));
      kept_.push_back(-1);
    }
  }

  // Runs one step. Final states are written to slots `slot_shift` after the initial ones.
  void step(const std::vector<Piece>& pieces, int slot_shift = 0) {
    std::vector<Segment> segments;
    std::vector<float> projected;
    int rows = 0;
    for (const Piece& piece : pieces) {
      const Job& job = kJobs[piece.job];
      const int slot = slot_[piece.job];
      slot_[piece.job] += slot_shift;
      segments.push_back({piece.kind, slot, slot + slot_shift, rows, piece.end - piece.begin,
                          job.history + piece.begin, piece.keep_slot});
      if (piece.keep_slot >= 0) kept_[piece.job] = piece.keep_slot;
      projected.insert(projected.end(), world_.projected_row(piece.job, piece.begin),
                       world_.projected_row(piece.job, piece.end));
      rows += piece.end - piece.begin;
    }
    const StepView view = StepView::of({{nullptr, rows}, array_of(segments)});
    leave_garbage(view, projected.size());
    // There is one extra row, which must not be written.
    std::vector<float> out(static_cast<size_t>((rows + 1) * columns()), 77.0f);
    runner_.run(world_.layer(), world_.weights(), view, projected.data(), out.data(),
                {slots_.get(), world_.slot_floats(), world_.state_layout()}, threads_);
    const float* from = out.data();
    for (const Piece& piece : pieces) {
      const int64_t floats = (piece.end - piece.begin) * columns();
      std::copy_n(from, floats, &out_[piece.job][piece.begin * columns()]);
      from += floats;
    }
    EXPECT_TRUE(std::all_of(from, from + columns(), [](float x) { return x == 77.0f; }));
  }

  void expect_near_truth() {
    for (int job = 0; job < kNumJobs; ++job) {
      SCOPED_TRACE(testing::Message() << "sequence of " << kJobs[job].history << " + "
                                      << kJobs[job].rows << " tokens");
      // The condition is written so that NaN fails.
      EXPECT_LT(relative_error(Vec(out_[job].begin(), out_[job].end()), world_.truth(job)),
                kTolerance);
      expect_near_state(job);
    }
    EXPECT_TRUE(same_foreign_states());
  }

  bool same_job(const StepRunner& other, int job) const {
    if (!same(out_[job].data(), other.out_[job].data(), out_[job].size())) return false;
    if (slot_[job] != other.slot_[job]) {
      return same_state(world_.state_layout(), state(job), other.state(job));
    }
    return same(state(job), other.state(job), static_cast<size_t>(world_.slot_floats()));
  }

  // Compares the state that a job has kept with its state in another run.
  bool same_kept(const StepRunner& other, int job) const {
    return same_state(world_.state_layout(), slots_.get() + kept_[job] * world_.slot_floats(),
                      other.state(job));
  }
  // Takes a job back to row `row`, after which its state was kept, and forgets the rest.
  void go_back_to_kept(int job, int row) {
    slot_[job] = kept_[job];
    std::fill(out_[job].begin() + row * columns(), out_[job].end(), NAN);
  }

  // Compares the slots of no sequence, and the other layer's states.
  bool same_foreign_states() const {
    const auto floats = static_cast<size_t>(world_.slot_floats());
    for (int slot = 0; slot < kNumSlots; ++slot) {
      const bool owned = std::find(slot_.begin(), slot_.end(), slot) != slot_.end() ||
                         std::find(kept_.begin(), kept_.end(), slot) != kept_.end();
      const size_t foreign =
          owned ? static_cast<size_t>(world_.state_layout().state.offset) : floats;
      if (!same(slots_.get() + slot * floats, world_.before().data() + slot * floats, foreign)) {
        return false;
      }
    }
    return true;
  }

 private:
  static bool same(const float* a, const float* b, size_t n) {
    return std::memcmp(a, b, n * sizeof(float)) == 0;
  }

  const float* state(int job) const { return slots_.get() + slot_[job] * world_.slot_floats(); }
  int64_t columns() const { return world_.layer().shape.value_columns(); }

  // Runs a step of the same form on rows and slots of NaN, which leaves NaN in the runner's memory.
  void leave_garbage(const StepView& view, size_t floats) {
    const std::vector<float> projected(floats, NAN);
    std::vector<float> out(static_cast<size_t>(view.num_rows * columns()));
    const auto slots = cpu::allocate_aligned<float>(world_.before().size());
    std::fill_n(slots.get(), world_.before().size(), NAN);
    runner_.run(world_.layer(), world_.weights(), view, projected.data(), out.data(),
                {slots.get(), world_.slot_floats(), world_.state_layout()}, threads_);
  }

  void expect_near_state(int job) {
    const float* slot = state(job);
    const LayerStateLayout& parts = world_.state_layout();
    std::vector<bool> used(static_cast<size_t>(world_.slot_floats()));
    LayerState after = world_.state_after(job);
    Vec truth[7], got[7];
    for_each_float(world_.layer().shape, parts, after, [&](int64_t i, double x) {
      int of = 0;
      for (const StateSpan* part : {&parts.conv_rows, &parts.squares, &parts.key_sum,
                                    &parts.covariance, &parts.key_count, &parts.key_mean}) {
        of += part->floats > 0 && i >= part->offset ? 1 : 0;
      }
      truth[of].push_back(x);
      got[of].push_back(static_cast<double>(slot[i]));
      used[i] = true;
    });
    for (int of = 0; of < 7; ++of) {
      EXPECT_LT(relative_error(got[of], truth[of]), kTolerance) << "part " << of;
    }
    for (int64_t i = parts.state.offset; i < world_.slot_floats(); ++i) {
      ASSERT_TRUE(used[i] || slot[i] == 0.0f) << "padding at " << i;
    }
  }

  const World& world_;
  ThreadPool threads_;
  cpu::MixerRunner runner_;
  cpu::AlignedArray<float> slots_;
  std::vector<int> slot_;  // by job
  std::vector<int> kept_;  // by job, the slot of its kept state; -1 = none
  std::vector<std::vector<float>> out_;
};

class MixerLayerTest : public testing::TestWithParam<LayerCase> {
 protected:
  const World world_{GetParam()};
};

class MixerLayerSteps : public MixerLayerTest {};

TEST_P(MixerLayerTest, EqualsReference) {
  on_every_target([&] {
    StepRunner run(world_);
    run.step(whole_jobs());
    run.expect_near_truth();
  });
}

// Decodes one token per step, all sequences together.
TEST_P(MixerLayerSteps, EqualReference) {
  StepRunner run(world_);
  for (int row = 0; row < kMostRows; ++row) {
    std::vector<Piece> pieces;
    for (int job = 0; job < kNumJobs; ++job) {
      if (row < kJobs[job].rows) pieces.push_back({job, row, row + 1, RowKind::kDecode});
    }
    run.step(pieces);
  }
  run.expect_near_truth();
}

// Decode segments of several rows have the bits of single steps, also at a sequence's begin.
TEST_P(MixerLayerSteps, SeveralDecodeRowsAreAsManySteps) {
  constexpr int kRows = 5;
  StepRunner one_by_one(world_);
  StepRunner together(world_);
  std::vector<Piece> all;
  for (int job = 0; job < kNumJobs; ++job) {
    const int rows = std::min(kRows, kJobs[job].rows);
    all.push_back({job, 0, rows, RowKind::kDecode});
    for (int row = 0; row < rows; ++row) one_by_one.step({{job, row, row + 1, RowKind::kDecode}});
  }
  together.step(all);
  for (int job = 0; job < kNumJobs; ++job) EXPECT_TRUE(together.same_job(one_by_one, job)) << job;
}

TEST_P(MixerLayerTest, BitsDependOnTheOwnSequenceOnly) {
  StepRunner together(world_);
  together.step(whole_jobs());
  StepRunner alone(world_);
  for (const Piece& piece : whole_jobs()) alone.step({piece});
  StepRunner three_threads(world_, 3);
  three_threads.step(whole_jobs());
  for (int job = 0; job < kNumJobs; ++job) {
    EXPECT_TRUE(alone.same_job(together, job)) << job;
    EXPECT_TRUE(three_threads.same_job(together, job)) << job;
  }
}

TEST_P(MixerLayerTest, CutsOnTheGridChangeNoBit) {
  StepRunner whole(world_);
  whole.step(whole_jobs());
  for (const int size : {kChunkTokens, 2 * kChunkTokens}) {
    StepRunner cut(world_);
    for (int begin = 0; begin < kMostRows; begin += size) {
      std::vector<Piece> pieces;
      for (int job = 0; job < kNumJobs; ++job) {
        const int rows = kJobs[job].rows;
        if (begin < rows) pieces.push_back({job, begin, std::min(rows, begin + size)});
      }
      cut.step(pieces);
    }
    for (int job = 0; job < kNumJobs; ++job) EXPECT_TRUE(cut.same_job(whole, job)) << job;
  }
}

TEST_P(MixerLayerTest, AStateMayGoOnInAnotherSlot) {
  StepRunner in_place(world_);
  in_place.step(whole_jobs());
  StepRunner moved(world_, 2);
  moved.step(whole_jobs(), 1);
  for (int job = 0; job < kNumJobs; ++job) EXPECT_TRUE(moved.same_job(in_place, job)) << job;
  EXPECT_TRUE(moved.same_foreign_states());
}

// A kept state has the bits of a step that ends there, and goes on with those of the whole job.
TEST_P(MixerLayerTest, AKeptStateIsThatOfAStepThatEndsThere) {
  std::vector<Piece> keeping = whole_jobs();
  std::vector<Piece> fronts, rests;
  for (Piece& piece : keeping) {
    const int end = piece.end / kChunkTokens * kChunkTokens;
    if (end == 0) continue;
    piece.keep_slot = slot_of(piece.job) + 1;  // which nobody uses
    fronts.push_back({piece.job, 0, end});
    if (end < piece.end) rests.push_back({piece.job, end, piece.end});
  }
  StepRunner whole(world_);
  whole.step(whole_jobs());
  StepRunner ends(world_);
  ends.step(fronts);
  StepRunner keeps(world_, 2);
  keeps.step(keeping);
  EXPECT_TRUE(keeps.same_foreign_states());
  for (int job = 0; job < kNumJobs; ++job) EXPECT_TRUE(keeps.same_job(whole, job)) << job;
  for (const Piece& front : fronts) EXPECT_TRUE(keeps.same_kept(ends, front.job)) << front.job;
  for (const Piece& rest : rests) keeps.go_back_to_kept(rest.job, rest.begin);
  keeps.step(rests);
  for (const Piece& rest : rests) EXPECT_TRUE(keeps.same_job(whole, rest.job)) << rest.job;
}

std::string name_of(const testing::TestParamInfo<LayerCase>& info) {
  return info.param.name;
}

// Returns the cases in which released Q-Delta uses different rules for prefill and decode.
std::vector<LayerCase> stepping_cases() {
  std::vector<LayerCase> cases = layer_cases();
  std::erase_if(cases,
                [](const LayerCase& c) { return c.shape.kind == MixerKind::kQDeltaReleased; });
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, MixerLayerTest, testing::ValuesIn(layer_cases()), name_of);
INSTANTIATE_TEST_SUITE_P(All, MixerLayerSteps, testing::ValuesIn(stepping_cases()), name_of);

}  // namespace
}  // namespace deltaserve
