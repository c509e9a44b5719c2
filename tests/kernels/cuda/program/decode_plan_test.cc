// Which operations the matmuls of decode rows take in, and which not.
#include "kernels/cuda/program/decode_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/cuda/program/program_memory.h"
#include "tests/kernels/cuda/program/backend_driver.h"
#include "tests/kernels/cuda/self_test/layer_shapes.h"

namespace deltaserve::cuda {
namespace {

// A letter for each operation: as the program says (.), scaled rows (s), nothing (-), matmuls that
// store (m), that feed the next norm (n), that are a gate (g).
std::string letters(const std::vector<DecodeOp>& plan) {
  std::string text;
  for (const DecodeOp& op : plan) {
    switch (op.action) {
      case DecodeAction::kAsProgram: text += '.'; break;
      case DecodeAction::kNothing: text += '-'; break;
      case DecodeAction::kScaleRows: text += 's'; break;
      case DecodeAction::kMatmul:
        text += op.end == MatmulEnd::kStore ? 'm' : op.end == MatmulEnd::kNextNorm ? 'n' : 'g';
        break;
    }
  }
  return text;
}
const DecodeSupport kAll = {[](int32_t) { return true; }, [](int32_t) { return true; }};

std::string plan_of(const Program& program) {
  return letters(plan_decode(program, kAll));
}

TEST(DecodePlan, LeavesFiveLaunchesOfALayer) {
  const TestModel model(kHidden, kVocab,
                        {{plain_shape(), StateFormat::kF32, 16},
                         {provable_shape(), StateFormat::kF32, 32},
                         {{}, StateFormat::kF32, 16}},
                        WeightFormat::kBf16);
  // embed; norm, in, mixer, out; norm, gate and up, gate, down; the last layer has an MLP only.
  EXPECT_EQ(plan_of(model.program()), ".sm.n-g-n-m.n-g-n-g-m");
  const auto plan = plan_decode(model.program(), kAll);
  EXPECT_EQ(plan[2].norm, 1);
  EXPECT_EQ(plan[4].next_norm, 5);
  EXPECT_EQ(plan[6].norm, 5);
  EXPECT_EQ(plan[8].norm, -1);
  EXPECT_EQ(plan[8].next_norm, 9);
  // The out-projection finds the factors of the heads' norms.
  EXPECT_TRUE(plan[3].leaves_factors);
  EXPECT_EQ(plan[4].norm, 3);
}

TEST(DecodePlan, LeavesTheNormOfAMixerThatCannotLeaveItsFactors) {
  const TestModel model(kHidden, kVocab, {{plain_shape()}}, WeightFormat::kBf16);
  DecodeSupport support = kAll;
  support.leaves_factors = [](int32_t) { return false; };
  const auto plan = plan_decode(model.program(), support);
  EXPECT_EQ(letters(plan), ".sm..");
  EXPECT_FALSE(plan[3].leaves_factors);
  EXPECT_EQ(plan[4].norm, -1);
}

TEST(DecodePlan, LeavesWeightsOfOtherFormatsAlone) {
  const TestModel model(kHidden, kVocab, {{plain_shape(), StateFormat::kF32, 16}},
                        WeightFormat::kF32);
  DecodeSupport support = kAll;
  support.takes_ends = [](int32_t) { return false; };
  EXPECT_EQ(letters(plan_decode(model.program(), support)), ".........");
}

// Buffers of which `takes_bf16` decides that nobody needs floats.
std::vector<int32_t> without_floats(const Program& program, bool takes_bf16) {
  std::vector<int32_t> found;
  for (int32_t i = 0; i < program.buffers.count; ++i) {
    if (read_as_bf16_only(program, i, [&](int32_t) { return takes_bf16; })) found.push_back(i);
  }
  return found;
}

// They are the buffers that norms and the gate write for matmuls, and not those that embeddings,
// matmuls and mixers write, that mixers and gates read, or the rows of draws.
TEST(Bf16Buffers, AreThoseThatOnlyMatmulsRead) {
  const TestModel model(kHidden, kVocab, {{provable_shape(), StateFormat::kF32, 16}},
                        WeightFormat::kBf16);
  const Program program = model.program();
  std::vector<int32_t> expected;
  for (const Op& op : program.ops) {
    if (op.kind == OpKind::kNorm || op.kind == OpKind::kGate) expected.push_back(op.out);
  }
  std::sort(expected.begin(), expected.end());
  expected.erase(std::unique(expected.begin(), expected.end()), expected.end());
  ASSERT_GE(expected.size(), 2u);
  EXPECT_EQ(without_floats(program, true), expected);
  EXPECT_TRUE(without_floats(program, false).empty());
}

TEST(Bf16Buffers, AMatmulThatBeginsBetweenLoadsNeedsFloats) {
  const TestModel model(kHidden, kVocab, {{{}, StateFormat::kF32, 16}}, WeightFormat::kBf16);
  const Program program = model.program();
  std::vector<Op> ops(program.ops.begin(), program.ops.end());
  int32_t read = -1;
  for (Op& op : ops) {
    if (op.kind != OpKind::kMatmul || read >= 0) continue;
    op.in_column = 4;
    read = op.in;
  }
  Program other = program;
  other.ops = array_of(ops);
  const auto always = [](int32_t) { return true; };
  EXPECT_TRUE(read_as_bf16_only(program, read, always));
  EXPECT_FALSE(read_as_bf16_only(other, read, always));
}

// A norm and a gate between matmuls, of which each test changes something.
class Small {
 public:
  explicit Small(int32_t width = 16) : width_(width) {
    x_ = build_.buffer(width);
    normed_ = build_.buffer(width);
    wide_ = build_.buffer(2 * width);
    half_ = build_.buffer(width);
    norm_ = build_.random_vector(1, width);
    table_ = build_.random_matrix(kVocab, width, WeightFormat::kBf16);
    square_ = build_.random_matrix(width, width, WeightFormat::kBf16);
    up_ = build_.random_matrix(2 * width, width, WeightFormat::kBf16);
    build_.embed(table_, x_);
  }
  void norm() { build_.norm(x_, norm_, normed_); }
  Op& matmul(int32_t in, int32_t weight, int32_t out) { return build_.matmul(in, weight, out); }
  Op& up() { return matmul(normed_, up_, wide_); }
  void gate(Activation activation = Activation::kSilu) { build_.gate(activation, wide_, half_); }
  Op& down() {
    Op& op = matmul(half_, square_, x_);
    op.accumulate = true;
    return op;
  }
  std::string plan(int32_t last_hidden = -1) {
    return plan_of(build_.program(last_hidden < 0 ? x_ : last_hidden, norm_, table_));
  }

  ProgramBuilder build_;
  int32_t width_, x_, normed_, wide_, half_, norm_, table_, square_, up_;
};

TEST(DecodePlan, TakesWhatItKnows) {
  Small small;
  small.norm();
  small.up();
  small.gate();
  small.down();
  small.norm();
  small.up();
  small.gate();
  small.down();
  EXPECT_EQ(small.plan(), ".sg-n-g-m");
}

TEST(DecodePlan, LeavesWhatDrawsRead) {
  Small normed;
  normed.norm();
  normed.up();
  normed.gate();
  normed.down();
  EXPECT_EQ(normed.plan(normed.normed_), "..g-m");
  Small half;
  half.norm();
  half.up();
  half.gate();
  half.down();
  EXPECT_EQ(half.plan(half.half_), ".sm..");
}

TEST(DecodePlan, LeavesWhatOthersRead) {
  Small gated;  // a gate reads the norm's rows, too
  gated.norm();
  gated.up();
  const int32_t narrow = gated.build_.buffer(gated.width_ / 2);
  gated.build_.gate(Activation::kSilu, gated.normed_, narrow);
  EXPECT_EQ(gated.plan(), "....");
  Small twice;  // a second gate reads the matmul's rows
  twice.norm();
  twice.up();
  twice.gate();
  twice.down();
  twice.build_.gate(Activation::kSilu, twice.wide_, twice.normed_);
  EXPECT_EQ(twice.plan(), ".sm...");
  Small columns;  // a matmul reads some of the norm's columns
  columns.norm();
  columns
      .matmul(columns.normed_, columns.build_.random_matrix(16, 8, WeightFormat::kBf16),
              columns.half_)
      .in_column = 8;
  EXPECT_EQ(columns.plan(), "...");
}

TEST(DecodePlan, LeavesWhatNoMatmulDoes) {
  Small relu;
  relu.norm();
  relu.up();
  relu.gate(Activation::kRelu);
  relu.down();
  EXPECT_EQ(relu.plan(), ".sm..");
  Small biased;
  biased.norm();
  biased.up().bias = biased.build_.random_vector(1, 32);
  biased.gate();
  biased.down().bias = biased.build_.random_vector(1, 16);
  biased.norm();
  biased.up();
  EXPECT_EQ(biased.plan(), ".sm..sm");
  Small odd(20);  // rows that are no multiple of 16 bytes
  odd.norm();
  odd.up();
  odd.gate();
  odd.down();
  EXPECT_EQ(odd.plan(), ".....");
}

// A matmul reads the buffer into which it would write the next norm's rows.
TEST(DecodePlan, LeavesAMatmulOfTheNormsOwnRows) {
  Small small;
  small.norm();
  small.matmul(small.normed_, small.square_, small.x_).accumulate = true;
  small.norm();
  small.up();
  EXPECT_EQ(small.plan(), ".smsm");
}

// Somebody reads the old rows of the norm's buffer between the matmul and the norm.
TEST(DecodePlan, LeavesANormWhoseBufferIsInUse) {
  Small small;
  small.norm();
  small.up();
  small.gate();
  small.down();
  small.matmul(small.normed_, small.square_, small.half_);
  small.norm();
  small.up();
  EXPECT_EQ(small.plan(), ".sg-mmsm");
}

}  // namespace
}  // namespace deltaserve::cuda
