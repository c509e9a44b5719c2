#include "models/tokenizer/json/code_point_set.h"

#include <algorithm>

namespace deltaserve::tokenizer_json {

CodePointSet CodePointSet::from_boundaries(std::span<const uint32_t> boundaries) {
  CodePointSet set;
  for (size_t i = 0; i < boundaries.size(); i += 2) {
    const char32_t end = i + 1 < boundaries.size() ? boundaries[i + 1] : kLastCodePoint + 1;
    set.ranges_.push_back({boundaries[i], end - 1});
  }
  return set;
}

CodePointSet CodePointSet::from_codes(std::vector<char32_t> codes) {
  CodePointSet set;
  std::sort(codes.begin(), codes.end());
  for (const char32_t code : codes) {
    if (!set.ranges_.empty() && code <= set.ranges_.back().last + 1) {
      set.ranges_.back().last = code;
    } else {
      set.ranges_.push_back({code, code});
    }
  }
  return set;
}

void CodePointSet::add(const CodePointSet& other) {
  ranges_.insert(ranges_.end(), other.ranges_.begin(), other.ranges_.end());
  std::sort(ranges_.begin(), ranges_.end(),
            [](const Range& a, const Range& b) { return a.first < b.first; });
  std::vector<Range> merged;
  for (const Range& range : ranges_) {
    if (!merged.empty() && range.first <= merged.back().last + 1) {
      merged.back().last = std::max(merged.back().last, range.last);
    } else {
      merged.push_back(range);
    }
  }
  ranges_ = std::move(merged);
}

void CodePointSet::intersect(const CodePointSet& other) {
  CodePointSet outside = other;
  outside.complement();
  complement();
  add(outside);
  complement();
}

void CodePointSet::complement() {
  std::vector<Range> gaps;
  char32_t next = 0;
  for (const Range& range : ranges_) {
    if (range.first > next) gaps.push_back({next, range.first - 1});
    next = range.last + 1;
  }
  if (next <= kLastCodePoint) gaps.push_back({next, kLastCodePoint});
  ranges_ = std::move(gaps);
}

bool CodePointSet::contains(char32_t code) const {
  const auto after = std::upper_bound(ranges_.begin(), ranges_.end(), code,
                                      [](char32_t c, const Range& r) { return c < r.first; });
  return after != ranges_.begin() && code <= std::prev(after)->last;
}

CodePointBits::CodePointBits(const CodePointSet& set) : words_((kLastCodePoint + 1) / 64) {
  for (const CodePointSet::Range& range : set.ranges()) {
    for (char32_t c = range.first; c <= range.last; ++c) words_[c / 64] |= uint64_t{1} << (c % 64);
  }
}

}  // namespace deltaserve::tokenizer_json
