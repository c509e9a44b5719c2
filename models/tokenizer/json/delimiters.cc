#include "models/tokenizer/json/delimiters.h"

#include <algorithm>

namespace deltaserve::tokenizer_json {

std::optional<Delimiter> delimiter_named(std::string_view name) {
  if (name == "Removed") return Delimiter::kRemoved;
  if (name == "Isolated") return Delimiter::kIsolated;
  if (name == "MergedWithPrevious") return Delimiter::kMergedWithPrevious;
  if (name == "MergedWithNext") return Delimiter::kMergedWithNext;
  if (name == "Contiguous") return Delimiter::kContiguous;
  return std::nullopt;
}

absl::Status DelimiterSplit::match(size_t begin, size_t end) {
  if (begin > done_) {
    absl::Status status = segment(done_, begin, invert_);
    if (!status.ok()) return status;
  }
  done_ = end;
  return segment(begin, end, !invert_);
}

absl::Status DelimiterSplit::finish() {
  absl::Status status;
  if (done_ < whole_.text.size()) status = segment(done_, whole_.text.size(), invert_);
  if (!status.ok() || !has_pending_) return status;
  return emit(pending_begin_, pending_end_);
}

absl::Status DelimiterSplit::finish_open(size_t settled, TakePiece open) {
  settled = std::max(settled, done_);
  const auto pass = [&](size_t begin) {
    if (begin == settled) return absl::OkStatus();
    return open({whole_.text.substr(begin, settled - begin), whole_.begins_text && begin == 0});
  };
  if (behavior_ == Delimiter::kIsolated) return pass(done_);
  if (behavior_ == Delimiter::kRemoved) return invert_ ? absl::OkStatus() : pass(done_);
  // Without text after the last match, that match may still join or be joined.
  if (settled == done_) return has_pending_ ? pass(pending_begin_) : absl::OkStatus();
  const absl::Status status = segment(done_, settled, invert_);
  return status.ok() ? pass(pending_begin_) : status;
}

absl::Status DelimiterSplit::emit(size_t begin, size_t end) {
  if (begin == end) return absl::OkStatus();
  return take_({whole_.text.substr(begin, end - begin), whole_.begins_text && begin == 0});
}

// Passes the pending segment on and puts another in its place.
absl::Status DelimiterSplit::begin_pending(size_t begin, size_t end) {
  absl::Status status;
  if (has_pending_) status = emit(pending_begin_, pending_end_);
  has_pending_ = true;
  pending_begin_ = begin;
  pending_end_ = end;
  return status;
}

absl::Status DelimiterSplit::segment(size_t begin, size_t end, bool is_match) {
  const bool joins_last = [&] {
    switch (behavior_) {
      case Delimiter::kMergedWithPrevious: return is_match && !last_matched_;
      case Delimiter::kMergedWithNext: return !is_match && last_matched_;
      case Delimiter::kContiguous: return is_match == last_matched_;
      default: return false;
    }
  }();
  last_matched_ = is_match;
  if (behavior_ == Delimiter::kRemoved) {
    return is_match ? absl::OkStatus() : emit(begin, end);
  }
  if (behavior_ == Delimiter::kIsolated) return emit(begin, end);
  if (!joins_last || !has_pending_) return begin_pending(begin, end);
  pending_end_ = end;
  return absl::OkStatus();
}

}  // namespace deltaserve::tokenizer_json
