// The self-tests of a layer's fast kernels and of overlapping launches, with faults.
#include "kernels/cuda/self_test/layer_self_test.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/kernels/cuda/device/logged_runtime.h"
#include "tests/kernels/cuda/self_test/layer_shapes.h"

namespace deltaserve::cuda {
namespace {

constexpr TensorSupport kAllMatmuls = {true, true, true};

TEST(LayerSelfTest, TakesFastKernelsThatAgree) {
  RuntimeLog log;
  LoggedRuntime runtime(&log);
  std::string warning;
  for (const StateFormat format : kAllStateFormats) {
    log.copies = 0;
    const LayerPaths paths = self_test_paths(runtime, provable_shape(), format, &warning);
    EXPECT_TRUE(paths.one_launch_decode);
    EXPECT_EQ(paths.prefill, PrefillPath::kTensor);
    EXPECT_TRUE(paths.leaves_norm);
    EXPECT_EQ(warning, "");
    // By plain and fast kernels: rows of both kinds and states, then decode rows without their
    // norm, its sums of squares and states.
    EXPECT_EQ(log.copies, 12);
  }
}

TEST(LayerSelfTest, LeavesOffWhatDiffers) {
  for (const int wrong_copy : {7, 8}) {  // of the fast kernels: decode, prefill
    RuntimeLog log;
    log.wrong_copy = wrong_copy;
    LoggedRuntime runtime(&log);
    std::string warning;
    const LayerPaths paths =
        self_test_paths(runtime, provable_shape(), StateFormat::kF32, &warning);
    EXPECT_EQ(paths.one_launch_decode, wrong_copy != 7);
    EXPECT_EQ(paths.prefill, wrong_copy == 8 ? PrefillPath::kPlain : PrefillPath::kTensor);
    EXPECT_TRUE(paths.leaves_norm);
    EXPECT_EQ(warning, wrong_copy == 7
                           ? "one-launch decode failed its comparison and stays off"
                           : "prefill on tensor cores failed its comparison and stays off");
  }
}

// In every format states of the plain kernels and of the fast ones, then states of both without the
// norm, and rows and sums of squares that one launch leaves.
TEST(LayerSelfTest, WithOtherBitsOneLaunchStaysOff) {
  for (const StateFormat format : kAllStateFormats) {
    for (const int wrong_copy : {3, 9, 6, 12, 10, 11}) {
      RuntimeLog log;
      log.wrong_copy = wrong_copy;
      LoggedRuntime runtime(&log);
      std::string warning;
      const LayerPaths paths = self_test_paths(runtime, provable_shape(), format, &warning);
      EXPECT_FALSE(paths.one_launch_decode);
      EXPECT_EQ(paths.prefill, PrefillPath::kTensor);
      EXPECT_TRUE(paths.leaves_norm);
      EXPECT_EQ(warning, "one-launch decode has other bits than its passes and stays off");
    }
  }
}

// Rows and sums of squares of the passes.
TEST(LayerSelfTest, TheNormStaysInTheLayerWhereItsPlaceMatters) {
  for (const int wrong_copy : {4, 5}) {
    RuntimeLog log;
    log.wrong_copy = wrong_copy;
    LoggedRuntime runtime(&log);
    std::string warning;
    const LayerPaths paths =
        self_test_paths(runtime, provable_shape(), StateFormat::kF32, &warning);
    EXPECT_FALSE(paths.leaves_norm);
    EXPECT_TRUE(paths.one_launch_decode);
    EXPECT_EQ(paths.prefill, PrefillPath::kTensor);
    EXPECT_EQ(warning, "decode without its output norm failed its comparison and stays off");
  }
}

TEST(LayerSelfTest, LeavesOffWhatCannotBeLaunched) {
  RuntimeLog log;
  log.failed_launches = 3;  // the first of the fast kernels
  LoggedRuntime runtime(&log);
  std::string warning;
  const LayerPaths paths = self_test_paths(runtime, provable_shape(), StateFormat::kF32, &warning);
  EXPECT_FALSE(paths.one_launch_decode);
  EXPECT_EQ(paths.prefill, PrefillPath::kPlain);
  EXPECT_EQ(warning,
            "one-launch decode failed its comparison and stays off, "
            "prefill on tensor cores failed its comparison and stays off");
}

TEST(LayerSelfTest, NothingToProveTakesThePlainKernels) {
  RuntimeLog log;
  LoggedRuntime runtime(&log);
  MixerShape shape = provable_shape();
  shape.key_dim = 300;
  shape.value_dim = 40;
  std::string warning;
  const LayerPaths paths = self_test_paths(runtime, shape, StateFormat::kF32, &warning);
  EXPECT_FALSE(paths.one_launch_decode);
  EXPECT_EQ(paths.prefill, PrefillPath::kPlain);
  EXPECT_EQ(log.copies, 0);
}

TEST(OverlapSelfTest, LaunchesOverlapWhereThatChangesNothing) {
  for (const bool can_overlap : {false, true}) {
    RuntimeLog log;
    log.can_overlap = can_overlap;
    LoggedRuntime runtime(&log);
    std::string warning;
    self_test_overlap(runtime, {{provable_shape()}}, kAllMatmuls, &warning);
    const bool expected = runtime.can_overlap();  // some GPUs cannot
    EXPECT_EQ(log.overlaps, expected);
    EXPECT_EQ(log.copies > 0, expected);
    EXPECT_EQ(log.graphs_launched, expected ? 2 : 0);
    EXPECT_EQ(warning, "");
  }
}

// A launch that leaves its norm has the same bits when it overlaps: rows, sums of squares and
// states after those of the launch with its norm.
TEST(OverlapSelfTest, LeavesOffWhatDiffersWithoutTheNorm) {
  const LayerPaths paths = {.one_launch_decode = true, .leaves_norm = true};
  for (const int wrong_copy : {0, 10, 11, 12}) {
    RuntimeLog log;
    log.wrong_copy = wrong_copy;
    LoggedRuntime runtime(&log);
    if (!runtime.can_overlap()) GTEST_SKIP() << "this GPU's launches cannot overlap";
    std::string warning;
    self_test_overlap(runtime, {{provable_shape(), StateFormat::kF32, paths}}, {}, &warning);
    EXPECT_EQ(log.overlaps, wrong_copy == 0);
    EXPECT_EQ(warning.empty(), wrong_copy == 0);
  }
}

// Rows of both kinds and states of each try, then matmuls.
TEST(OverlapSelfTest, LeavesOffWhatDiffers) {
  for (const int wrong_copy : {4, 8, 12, 14}) {
    RuntimeLog log;
    log.wrong_copy = wrong_copy;
    LoggedRuntime runtime(&log);
    if (!runtime.can_overlap()) GTEST_SKIP() << "this GPU's launches cannot overlap";
    std::string warning;
    self_test_overlap(runtime, {{provable_shape()}}, kAllMatmuls, &warning);
    EXPECT_FALSE(log.overlaps);
    EXPECT_EQ(warning, "overlapping launches failed their comparison and stay off");
  }
}

// The second of two variants fails.
TEST(OverlapSelfTest, AllVariantsMustAgree) {
  MixerShape wide = provable_shape();
  wide.value_dim = 128;
  RuntimeLog log;
  log.wrong_copy = 12 + 4;
  LoggedRuntime runtime(&log);
  if (!runtime.can_overlap()) GTEST_SKIP() << "this GPU's launches cannot overlap";
  std::string warning;
  self_test_overlap(runtime, {{provable_shape()}, {wide}}, {}, &warning);
  EXPECT_FALSE(log.overlaps);
  EXPECT_EQ(warning, "overlapping launches failed their comparison and stay off");
  log.wrong_copy = 0;
  warning.clear();
  self_test_overlap(runtime, {{provable_shape()}, {wide}}, {}, &warning);
  EXPECT_TRUE(log.overlaps);
  EXPECT_EQ(warning, "");
}

}  // namespace
}  // namespace deltaserve::cuda
