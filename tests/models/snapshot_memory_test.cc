// Tests when the CPU's snapshot slots take memory of the machine.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "tests/models/loaded_model.h"

namespace deltaserve {
namespace {

int64_t resident_bytes() {
  int64_t size = 0;
  int64_t resident = 0;
  std::ifstream("/proc/self/statm") >> size >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

TEST(SnapshotMemory, IsZeroAndTakenWhenItIsWritten) {
  constexpr int kSequences = 2;
  constexpr int kSnapshots = 200;
  LoadedModel model(DELTASERVE_BUNDLED_MODEL, 1, kSequences, std::nullopt, WeightFormat::kAuto,
                    StateFormat::kF32, kSnapshots);
  const auto slot_bytes = static_cast<int64_t>(model->layout().bytes());
  EXPECT_EQ(model->backend().memory().slots, (kSequences + kSnapshots) * slot_bytes);
  const std::vector<float> untouched = model.state(kSequences + kSnapshots - 1);
  EXPECT_TRUE(std::all_of(untouched.begin(), untouched.end(), [](float x) { return x == 0; }));

  const int64_t before = resident_bytes();
  for (int i = 0; i < kSnapshots; ++i) {
    model->backend().import_slot(kSequences + i, untouched.data());
  }
  const int64_t written = resident_bytes() - before;
  EXPECT_GT(written, kSnapshots * slot_bytes * 8 / 10);
  EXPECT_LT(written, kSnapshots * slot_bytes * 12 / 10);
}

}  // namespace
}  // namespace deltaserve
