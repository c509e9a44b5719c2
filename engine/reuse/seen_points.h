// Remembers which grid points earlier prompts contained, without their states, in memory that never
// grows. Where a new prompt leaves these points, a state is worth keeping.
//
// A point is stored as 32 bits of its key, in a cache line that 32 other bits choose; a new point
// replaces the oldest of its line. Once in 2^28 queries a point is mistaken for another. Then one
// state too many is kept and a few tokens are counted as read before, but no answer changes.
#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "engine/reuse/prefix_keys.h"

namespace deltaserve {

class SeenPoints {
 public:
  // Makes room for `points` of them, rounded up to a power of two.
  explicit SeenPoints(size_t points)
      : lines_(std::bit_ceil(std::max<size_t>(points, kPerLine)) / kPerLine) {}

  size_t capacity() const { return lines_.size() * kPerLine; }

  bool contains(const PrefixKey& key) const {
    const Line& line = lines_[line_of(key)];
    return std::find(line.begin(), line.end(), mark_of(key)) != line.end();
  }

  // Makes the point the newest of its line.
  void add(const PrefixKey& key) {
    Line& line = lines_[line_of(key)];
    const uint32_t mark = mark_of(key);
    const auto place = std::min(std::find(line.begin(), line.end(), mark), line.end() - 1);
    std::copy_backward(line.begin(), place, place + 1);
    line.front() = mark;
  }

 private:
  static constexpr size_t kPerLine = 16;
  using Line = std::array<uint32_t, kPerLine>;  // newest first; 0: no point

  static uint32_t bits(const PrefixKey& key, size_t first_byte) {
    uint32_t bits = 0;
    std::memcpy(&bits, key.data() + first_byte, sizeof(bits));
    return bits;
  }
  static uint32_t mark_of(const PrefixKey& key) { return std::max(bits(key, 0), 1u); }
  size_t line_of(const PrefixKey& key) const { return bits(key, 4) & (lines_.size() - 1); }

  std::vector<Line> lines_;
};

}  // namespace deltaserve
