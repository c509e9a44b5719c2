#include "server/template/tainted_text.h"

#include <algorithm>

namespace deltaserve {

bool TaintedText::trusted_at(size_t offset) const {
  const auto flips = std::upper_bound(flips_.begin(), flips_.end(), offset) - flips_.begin();
  return first_ == (flips % 2 == 0);
}

void TaintedText::append(std::string_view bytes, bool trusted) {
  if (bytes.empty()) return;
  if (empty()) {
    first_ = trusted;
    flips_.clear();
  } else if ((first_ == (flips_.size() % 2 == 0)) != trusted) {
    flips_.push_back(size());
  }
  bytes_.append(bytes);
}

void TaintedText::append(const TaintedText& other, size_t begin, size_t end) {
  if (begin >= end) return;
  auto flip = std::upper_bound(other.flips_.begin(), other.flips_.end(), begin);
  bool trusted = other.first_ == ((flip - other.flips_.begin()) % 2 == 0);
  const std::string_view bytes = other.bytes_;
  for (; flip != other.flips_.end() && *flip < end; ++flip) {
    append(bytes.substr(begin, *flip - begin), trusted);
    begin = *flip;
    trusted = !trusted;
  }
  append(bytes.substr(begin, end - begin), trusted);
}

TaintedText TaintedText::slice(size_t begin, size_t end) const {
  TaintedText part;
  part.append(*this, begin, end);
  return part;
}

}  // namespace deltaserve
