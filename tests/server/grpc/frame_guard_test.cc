#include "server/grpc/frame_guard.h"

#include <gtest/gtest.h>

#include <ostream>
#include <random>
#include <string>

namespace deltaserve {
namespace {

using std::chrono::milliseconds;

constexpr FrameGuard::Time kNow{std::chrono::hours(1)};
const std::string kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

std::string frame(int type, const std::string& payload = "", int flags = 0) {
  std::string text;
  for (const int shift : {16, 8, 0}) text += static_cast<char>(payload.size() >> shift);
  text += static_cast<char>(type);
  text += static_cast<char>(flags);
  return text + std::string("\0\0\0\1", 4) + payload;
}

// Small rates: a burst of 3 and one a second of everything, 100 header bytes.
FrameRates small_rates() {
  constexpr Rate kFew{3, 1};
  return {kFew, kFew, kFew, kFew, {100, 10}, kFew};
}

struct Flood {
  const char* name;
  std::string frame;
  const char* reason;
};

void PrintTo(const Flood& flood, std::ostream* out) {
  *out << flood.name;
}

class FloodTest : public testing::TestWithParam<Flood> {};

TEST_P(FloodTest, ABurstPassesAndMoreDoesNot) {
  FrameGuard guard(small_rates());
  ASSERT_EQ(guard.check(kPreface, kNow), "");
  EXPECT_TRUE(guard.opened());
  for (int i = 0; i < 3; ++i) EXPECT_EQ(guard.check(GetParam().frame, kNow), "");
  EXPECT_EQ(guard.check(GetParam().frame, kNow), GetParam().reason);
}

TEST_P(FloodTest, TimeLetsThemPass) {
  FrameGuard guard(small_rates());
  ASSERT_EQ(guard.check(kPreface, kNow), "");
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(guard.check(GetParam().frame, kNow + i * milliseconds(1001)), "");
  }
}

INSTANTIATE_TEST_SUITE_P(
    Frames, FloodTest,
    testing::Values(Flood{"Streams", frame(1, "headers"), "too many streams"},
                    Flood{"Resets", frame(3, "code"), "too many resets"},
                    Flood{"Settings", frame(4), "too many settings"},
                    Flood{"Pings", frame(6, "12345678"), "too many pings"},
                    Flood{"Continuations", frame(9), "too many small frames"},
                    Flood{"EmptyData", frame(0), "too many small frames"},
                    Flood{"WindowUpdates", frame(8, "1234"), "too many small frames"},
                    Flood{"Answers", frame(6, "12345678", 1), "too many small frames"},
                    Flood{"Unknown", frame(77, "x"), "too many small frames"}),
    [](const auto& param) { return param.param.name; });

TEST(FrameGuard, DataIsFree) {
  FrameGuard guard(small_rates());
  ASSERT_EQ(guard.check(kPreface, kNow), "");
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(guard.check(frame(0, std::string(16384, 'd')), kNow), "");
  }
}

TEST(FrameGuard, HeaderBytesAreBounded) {
  FrameGuard guard(small_rates());
  ASSERT_EQ(guard.check(kPreface, kNow), "");
  EXPECT_EQ(guard.check(frame(1, std::string(60, 'h')), kNow), "");
  EXPECT_EQ(guard.check(frame(9, std::string(41, 'h')), kNow), "too many header bytes");
}

TEST(FrameGuard, OtherProtocolsAreClosed) {
  for (const std::string text : {"GET / HTTP/1.1\r\n", "\x16\x03\x01", "PRI * HTTP/2.1"}) {
    EXPECT_EQ(FrameGuard(small_rates()).check(text, kNow), "not HTTP/2") << text;
  }
  FrameGuard half(small_rates());
  EXPECT_EQ(half.check(kPreface.substr(0, 20), kNow), "");
  EXPECT_FALSE(half.opened());
}

// The cuts of the reads change nothing, also inside a frame's header.
TEST(FrameGuard, AnyCuts) {
  std::mt19937 random(7);
  std::string text = kPreface;
  for (int i = 0; i < 3; ++i) {
    text += frame(1, "some headers") + frame(0, std::string(random() % 300, 'd')) +
            frame(6, "12345678") + frame(3, "code");
  }
  for (int round = 0; round < 100; ++round) {
    FrameGuard guard(small_rates());
    for (size_t at = 0; at < text.size();) {
      const size_t size = std::min<size_t>(1 + random() % 20, text.size() - at);
      ASSERT_EQ(guard.check(std::span(text).subspan(at, size), kNow), "");
      at += size;
    }
    EXPECT_EQ(guard.check(frame(3, "code"), kNow), "too many resets");
  }
}

}  // namespace
}  // namespace deltaserve
