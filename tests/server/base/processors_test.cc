// Reads what Linux says about processors, from folders that look like its own.
#include "server/base/processors.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

namespace deltaserve {
namespace {

namespace fs = std::filesystem;

class Processors : public testing::Test {
 protected:
  Processors() {
    CPU_ZERO(&set_);
    sched_getaffinity(0, sizeof set_, &set_);
  }
  ~Processors() override {
    sched_setaffinity(0, sizeof set_, &set_);
    fs::remove_all(root_);
  }

  void write(const std::string& path, const std::string& text) const {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  int usable() const { return usable_processors(root_.string()); }

  const fs::path root_ = fs::path(testing::TempDir()) / ("processors_" + std::to_string(getpid()));
  cpu_set_t set_;
};

TEST_F(Processors, AnAffinityCounts) {
  EXPECT_EQ(usable(), CPU_COUNT(&set_));
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++i) {
    if (CPU_ISSET(i, &set_)) CPU_SET(i, &one);
  }
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(usable(), 1);
}

TEST_F(Processors, AQuotaOfVersion2Counts) {
  write("proc/self/cgroup", "0::/a/b\n");
  write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  EXPECT_EQ(usable(), CPU_COUNT(&set_));
  write("sys/fs/cgroup/a/cpu.max", "50000 100000\n");  // of a group around it
  EXPECT_EQ(usable(), 1);
  write("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
  EXPECT_EQ(usable(), std::min(2, CPU_COUNT(&set_)));
  write("sys/fs/cgroup/a/cpu.max", "nonsense\n");
  EXPECT_EQ(usable(), CPU_COUNT(&set_));
}

TEST_F(Processors, AQuotaOfVersion1Counts) {
  write("proc/self/cgroup", "4:cpu,cpuacct:/a\n");
  write("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "-1\n");
  write("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(usable(), CPU_COUNT(&set_));
  write("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "100000\n");
  EXPECT_EQ(usable(), 1);
}

}  // namespace
}  // namespace deltaserve
