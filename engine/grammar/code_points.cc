#include "engine/grammar/code_points.h"

#include <algorithm>

namespace deltaserve::grammar {

std::optional<uint32_t> read_utf8(std::string_view text, size_t* position) {
  const auto byte = [&](size_t i) -> uint32_t {
    return *position + i < text.size() ? static_cast<uint8_t>(text[*position + i]) : 0;
  };
  const uint32_t lead = byte(0);
  if (*position >= text.size()) return std::nullopt;
  if (lead < 0x80) {
    ++*position;
    return lead;
  }
  const size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4) return std::nullopt;
  uint32_t code_point = lead & (0xFFu >> (size + 1));
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return std::nullopt;
    code_point = code_point << 6 | (byte(i) & 0x3F);
  }
  constexpr uint32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code_point < kSmallest[size] || code_point > kLastCodePoint || is_surrogate(code_point)) {
    return std::nullopt;
  }
  *position += size;
  return code_point;
}

void append_utf8(uint32_t code_point, std::string* text) {
  const auto push = [&](uint32_t byte) { text->push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    push(code_point);
  } else if (code_point < 0x800) {
    push(0xC0 | code_point >> 6);
    push(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    push(0xE0 | code_point >> 12);
    push(0x80 | (code_point >> 6 & 0x3F));
    push(0x80 | (code_point & 0x3F));
  } else {
    push(0xF0 | code_point >> 18);
    push(0x80 | (code_point >> 12 & 0x3F));
    push(0x80 | (code_point >> 6 & 0x3F));
    push(0x80 | (code_point & 0x3F));
  }
}

bool is_utf8(std::string_view text) {
  size_t position = 0;
  while (position < text.size()) {
    if (!read_utf8(text, &position)) return false;
  }
  return true;
}

CodePointSet::CodePointSet(std::initializer_list<CodePointRange> ranges) : ranges_(ranges) {}

void CodePointSet::add(uint32_t first, uint32_t last) {
  ranges_.push_back({first, last});
}

void CodePointSet::add(const CodePointSet& other) {
  ranges_.insert(ranges_.end(), other.ranges_.begin(), other.ranges_.end());
}

CodePointSet CodePointSet::negated() const {
  CodePointSet result;
  uint32_t next = 0;
  for (const CodePointRange& range : ranges()) {
    if (range.first > next) result.add(next, range.first - 1);
    next = range.last + 1;
  }
  if (next <= kLastCodePoint) result.add(next, kLastCodePoint);
  return result;
}

std::vector<CodePointRange> CodePointSet::ranges() const {
  std::vector<CodePointRange> parts;
  for (const CodePointRange& range : ranges_) {
    const CodePointRange below{range.first, std::min(range.last, 0xD7FFu)};
    const CodePointRange above{std::max(range.first, 0xE000u),
                               std::min(range.last, kLastCodePoint)};
    if (below.first <= below.last) parts.push_back(below);
    if (above.first <= above.last) parts.push_back(above);
  }
  std::sort(parts.begin(), parts.end(),
            [](const CodePointRange& a, const CodePointRange& b) { return a.first < b.first; });
  std::vector<CodePointRange> merged;
  for (const CodePointRange& range : parts) {
    if (!merged.empty() && range.first <= merged.back().last + 1) {
      merged.back().last = std::max(merged.back().last, range.last);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

namespace {

// Cuts `range` in two and returns true if its UTF-8 is not a product of byte ranges.
bool split(CodePointRange range, CodePointRange* low, CodePointRange* high) {
  const auto cut_before = [&](uint32_t code_point) {
    *low = {range.first, code_point - 1};
    *high = {code_point, range.last};
    return true;
  };
  for (const uint32_t longer : {0x80u, 0x800u, 0x10000u}) {
    if (range.first < longer && range.last >= longer) return cut_before(longer);
  }
  if (range.last < 0x80) return false;
  for (int bits = 6; bits <= 18; bits += 6) {
    const uint32_t mask = (1u << bits) - 1;
    if ((range.first & ~mask) == (range.last & ~mask)) break;
    if ((range.first & mask) != 0) return cut_before((range.first | mask) + 1);
    if ((range.last & mask) != mask) return cut_before(range.last & ~mask);
  }
  return false;
}

}  // namespace

std::vector<Utf8Sequence> utf8_sequences(CodePointRange range) {
  std::vector<Utf8Sequence> sequences;
  std::vector<CodePointRange> pending{range};
  while (!pending.empty()) {
    const CodePointRange next = pending.back();
    pending.pop_back();
    CodePointRange low{};
    CodePointRange high{};
    if (split(next, &low, &high)) {
      pending.push_back(high);
      pending.push_back(low);
      continue;
    }
    std::string first;
    std::string last;
    append_utf8(next.first, &first);
    append_utf8(next.last, &last);
    Utf8Sequence sequence;
    sequence.size = static_cast<int>(first.size());
    for (size_t i = 0; i < first.size(); ++i) {
      sequence.bytes[i] = {static_cast<uint8_t>(first[i]), static_cast<uint8_t>(last[i])};
    }
    sequences.push_back(sequence);
  }
  return sequences;
}

}  // namespace deltaserve::grammar
