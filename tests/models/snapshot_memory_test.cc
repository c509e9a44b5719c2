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

// Runs of neighbours give back the page between them, too.
TEST(SnapshotMemory, IsGivenBack) {
  constexpr int kSequences = 2;
  constexpr int kSnapshots = 100;
  LoadedModel model(DELTASERVE_BUNDLED_MODEL, 1, kSequences, std::nullopt, WeightFormat::kAuto,
                    StateFormat::kF32, kSnapshots);
  Backend& backend = model->backend();
  const auto slot_bytes = static_cast<int64_t>(model->layout().bytes());
  std::vector<float> written = model.state(0);
  const auto fill = [&](int slot) {
    std::fill(written.begin(), written.end(), static_cast<float>(slot));
    backend.import_slot(slot, written.data());
  };
  for (int i = 0; i < kSnapshots; ++i) fill(kSequences + i);

  // Every tenth one stays, and those of the sequences.
  int64_t before = resident_bytes();
  for (int i = 0; i < kSnapshots; i += 10) backend.drop_slots(kSequences + i + 1, 9);
  const int64_t given_back = before - resident_bytes();
  EXPECT_GT(given_back, kSnapshots * slot_bytes * 8 / 10);
  EXPECT_LE(given_back, kSnapshots * slot_bytes * 9 / 10 + (1 << 20));
  for (int i = 0; i < kSnapshots; i += 10) {
    const std::vector<float> kept = model.state(kSequences + i);
    EXPECT_TRUE(std::all_of(kept.begin(), kept.end(),
                            [&](float x) { return x == static_cast<float>(kSequences + i); }));
  }
  fill(kSequences + 5);
  EXPECT_EQ(model.state(kSequences + 5), written);
  backend.drop_slots(kSequences, 0);
}

}  // namespace
}  // namespace deltaserve
