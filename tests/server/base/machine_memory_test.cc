// Reads what Linux says about memory, from folders that look like its own.
#include "server/base/machine_memory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace deltaserve {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMiB = 1 << 20;

class MachineMemory : public testing::Test {
 protected:
  MachineMemory() {
    write("proc/meminfo", "MemTotal:  4194304 kB\nMemAvailable:    1048576 kB\nCached: 7 kB\n");
  }
  ~MachineMemory() override { fs::remove_all(root_); }

  void write(const std::string& path, const std::string& text) const {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  // A group of version 2 in which `used` MiB are taken, `cached` of them by files.
  void write_group(const std::string& group, const std::string& limit, uint64_t used,
                   uint64_t cached = 0) const {
    const std::string folder = "sys/fs/cgroup/" + group;
    write(folder + "/memory.max", limit + "\n");
    write(folder + "/memory.current", std::to_string(used * kMiB) + "\n");
    write(folder + "/memory.stat", "anon 1\ninactive_file " + std::to_string(cached * kMiB) + "\n");
  }
  uint64_t mib() const { return available_memory(root_).value() / kMiB; }

  const fs::path root_ = fs::path(testing::TempDir()) / ("memory_" + std::to_string(getpid()));
};

TEST_F(MachineMemory, IsWhatTheMachineHas) {
  EXPECT_EQ(mib(), 1024u);
  EXPECT_FALSE(available_memory((root_ / "nothing").string()));
}

TEST_F(MachineMemory, AGroupsLimitCounts) {
  write("proc/self/cgroup", "0::/a/b\n");
  write_group("a/b", "max", 10);
  EXPECT_EQ(mib(), 1024u);
  write_group("a/b", std::to_string(500 * kMiB), 100, 30);
  EXPECT_EQ(mib(), 430u);  // what caches files can be had
  write_group("a", std::to_string(300 * kMiB), 100);
  EXPECT_EQ(mib(), 200u);  // the group around it has less
  write_group("a", std::to_string(300 * kMiB), 400);
  EXPECT_EQ(mib(), 0u);
}

TEST_F(MachineMemory, TheLimitIsThatOfTheSmallestGroup) {
  EXPECT_EQ(memory_limit(root_), 4096 * kMiB);
  write("proc/self/cgroup", "0::/a/b\n");
  write_group("a/b", "max", 10);
  EXPECT_EQ(memory_limit(root_), 4096 * kMiB);
  write_group("a", std::to_string(300 * kMiB), 400);
  EXPECT_EQ(memory_limit(root_), 300 * kMiB);
  EXPECT_FALSE(memory_limit((root_ / "nothing").string()));
  EXPECT_GT(resident_memory(), kMiB);
}

TEST_F(MachineMemory, InsideAContainerTheGroupIsTheTop) {
  write("proc/self/cgroup", "0::/somewhere/outside\n");
  write_group("", std::to_string(256 * kMiB), 56);
  EXPECT_EQ(mib(), 200u);
}

TEST_F(MachineMemory, Version1) {
  write("proc/self/cgroup", "7:cpu,cpuacct:/other\n4:memory:/a\n");
  const std::string folder = "sys/fs/cgroup/memory/a/";
  write(folder + "memory.limit_in_bytes", std::to_string(128 * kMiB));
  write(folder + "memory.usage_in_bytes", std::to_string(100 * kMiB));
  write(folder + "memory.stat",
        "inactive_file 5\ntotal_inactive_file " + std::to_string(20 * kMiB));
  EXPECT_EQ(mib(), 48u);
}

TEST(SnapshotsThatFit, TakeAQuarterOfTheRest) {
  EXPECT_EQ(snapshots_that_fit(1000 * kMiB, 200 * kMiB, kMiB, kMachineShare), 200);
  EXPECT_EQ(snapshots_that_fit(1000 * kMiB, 200 * kMiB, 3 * kMiB, kMachineShare), 66);
  EXPECT_EQ(snapshots_that_fit(1000 * kMiB, 200 * kMiB, 1024, kMachineShare), 512);
  EXPECT_EQ(snapshots_that_fit(1000 * kMiB, 2000 * kMiB, 1024, kMachineShare), 0);
  EXPECT_EQ(snapshots_that_fit(1000 * kMiB, 998 * kMiB, kMiB, kMachineShare), 0);
  EXPECT_EQ(snapshots_that_fit(1000 * kMiB, 200 * kMiB, kMiB, kDeviceShare), 400);
  EXPECT_EQ(snapshots_that_fit(1000 * kMiB, 200 * kMiB, 1024, kDeviceShare), 4096);
}

}  // namespace
}  // namespace deltaserve
