// The backend whose decode matmuls do what surrounds them, against the CPU and against the same
// without, and how many launches a layer takes.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/base/thread_pool.h"
#include "tests/kernels/cuda/program/backend_driver.h"

namespace deltaserve::cuda {
namespace {

constexpr int32_t kWidth = 72;  // no multiple of 32

// Layers with a mixer and an MLP, with one of them, of shapes that have a launch for a layer's
// decode and that have none.
TestModel layers(WeightFormat format) {
  return TestModel(kWidth, kVocab,
                   {{provable_shape(), StateFormat::kF32, 40},
                    {plain_shape(), StateFormat::kF32, 0},
                    {{}, StateFormat::kF32, 88},
                    {provable_shape(), StateFormat::kF32, 40}},
                   format);
}

// Launches that do not overlap need no self-test.
BackendOptions options_with(bool ends) {
  BackendOptions options;
  options.overlap = false;
  options.matmul_ends = ends;
  return options;
}

TEST(BackendEnds, AgreeWithTheCpuAndWithTheProgramAsItIs) {
  ThreadPool threads(1);
  const TestModel exact = layers(WeightFormat::kF32);
  const TestModel model = layers(WeightFormat::kBf16);
  Driver cpu(make_cpu_backend(&threads), exact.program());
  Driver plain(cuda_backend(options_with(false)), model.program());
  Driver ends(cuda_backend(options_with(true)), model.program());
  for (const auto& [rows, num_prefill] :
       {std::pair(1, 0), std::pair(9, 3), std::pair(20, 0), std::pair(20, 3)}) {
    const auto rows_of = [rows = rows, num_prefill = num_prefill](Driver& driver) {
      return driver.draw_rows(driver.forward(tokens_of(rows), num_prefill), greedy_rows(rows))
          .hidden;
    };
    const std::vector<float> truth = rows_of(cpu);
    const std::vector<float> as_is = rows_of(plain);
    const std::vector<float> found = rows_of(ends);
    EXPECT_LT(error(found, truth), 6e-3);
    EXPECT_LT(error(found, as_is), 6e-3);
    // They are not the same computation, because the factor of a norm comes after the rounding.
    EXPECT_NE(found, as_is);
  }
}

// The rows of prompts in a step with decode rows.
TEST(BackendEnds, ChangeNoPrefillRow) {
  const TestModel model = layers(WeightFormat::kBf16);
  const auto prefill_rows = [&](bool ends) {
    Driver driver(cuda_backend(options_with(ends)), model.program());
    std::vector<float> rows =
        driver.draw_rows(driver.forward(tokens_of(9), 3), greedy_rows(9)).hidden;
    rows.erase(rows.begin(), rows.end() - 3 * kWidth);
    return rows;
  };
  EXPECT_EQ(prefill_rows(true), prefill_rows(false));
}

TEST(BackendEnds, BitsOfADecodeRowDependOnNoOtherRow) {
  const TestModel model = layers(WeightFormat::kBf16);
  const auto rows_of = [&](int rows, int32_t num_prefill) {
    Driver driver(cuda_backend(options_with(true)), model.program());
    return driver.draw_rows(driver.forward(tokens_of(rows), num_prefill), greedy_rows(rows)).hidden;
  };
  const std::vector<float> all = rows_of(20, 0);
  for (const auto& [rows, num_prefill] : {std::pair(1, 0), std::pair(9, 0), std::pair(12, 4)}) {
    const std::vector<float> some = rows_of(rows, num_prefill);
    const auto floats = static_cast<size_t>((rows - num_prefill) * kWidth);
    EXPECT_EQ(0, std::memcmp(some.data(), all.data(), floats * sizeof(float))) << rows;
  }
}

// Returns the launches of a forward pass of `rows` decode rows.
int launches_of(const TestModel& model, int rows, const BackendOptions& options) {
  RuntimeLog log;
  Driver driver(logged_backend(&log, options), model.program());
  driver.step(tokens_of(rows), greedy_rows(rows));  // nothing is left in the queue
  const std::vector<simt::host::Work>& queue = *log.runtime->stream().queue;
  EXPECT_TRUE(queue.empty());
  const Ticket ticket = driver.forward(tokens_of(rows));
  const auto launches = std::count_if(queue.begin(), queue.end(), [](const simt::host::Work& work) {
    return work.launch.threads > 0;
  });
  driver.draw(ticket, greedy_rows(rows));
  return static_cast<int>(launches);
}

TEST(BackendEnds, LeaveFiveLaunchesOfALayer) {
  BackendOptions options = options_with(true);
  options.graphs = false;
  const TestLayer layer = {provable_shape(), StateFormat::kF32, 40};
  const TestModel two(kWidth, kVocab, {layer, layer}, WeightFormat::kBf16);
  const TestModel four(kWidth, kVocab, {layer, layer, layer, layer}, WeightFormat::kBf16);
  // Before the layers the embeddings, and the first norm's squares.
  EXPECT_EQ(launches_of(two, 1, options), 2 + 2 * 5);
  EXPECT_EQ(launches_of(four, 9, options), 2 + 4 * 5);
  options.matmul_ends = false;
  // The output norm, the gate and two norms have launches of their own.
  EXPECT_EQ(launches_of(two, 1, options), 1 + 2 * 9);
  options.one_launch_mixer = false;
  EXPECT_GT(launches_of(two, 1, options), 1 + 2 * 9);
}

}  // namespace
}  // namespace deltaserve::cuda
