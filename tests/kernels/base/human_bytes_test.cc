#include "kernels/base/human_bytes.h"

#include <gtest/gtest.h>

#include <limits>
#include <utility>

namespace deltaserve {
namespace {

TEST(HumanBytes, HasAUnitThatFits) {
  const std::pair<uint64_t, const char*> kTable[] = {
      {0, "0 B"},
      {1, "1 B"},
      {1023, "1023 B"},
      {1024, "1.0 KiB"},
      {387'072, "378.0 KiB"},
      {(1 << 20) - 1, "1.0 MiB"},  // and not 1024.0 KiB
      {uint64_t{3} << 29, "1.5 GiB"},
      {uint64_t{1} << 40, "1.0 TiB"},
      {std::numeric_limits<uint64_t>::max(), "16777216.0 TiB"},
  };
  for (const auto& [bytes, text] : kTable) EXPECT_EQ(human_bytes(bytes), text);
}

}  // namespace
}  // namespace deltaserve
