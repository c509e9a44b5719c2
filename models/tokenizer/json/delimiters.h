// Cuts a text at matches. A behaviour says what becomes of each match.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

#include "absl/status/status.h"
#include "models/tokenizer/json/pre_tokenizer.h"

namespace deltaserve::tokenizer_json {

enum class Delimiter : uint8_t {
  kRemoved,
  kIsolated,            // a piece of its own
  kMergedWithPrevious,  // joins the text before it
  kMergedWithNext,      // joins the text after it
  kContiguous,          // matches that touch become one piece
};

std::optional<Delimiter> delimiter_named(std::string_view name);

// Takes the matches of a text in order and passes the pieces on.
class DelimiterSplit {
 public:
  // With `invert` the matches and the text between them change roles.
  DelimiterSplit(Piece whole, Delimiter behavior, bool invert, TakePiece take)
      : whole_(whole), behavior_(behavior), invert_(invert), take_(take) {}

  // Takes the next match, which begins at or after the end of the one before.
  absl::Status match(size_t begin, size_t end);
  // Ends the text.
  absl::Status finish();
  // Ends the known part of an incomplete text: no further match begins before `settled`. `open`
  // gets the beginning of the piece that is not complete.
  absl::Status finish_open(size_t settled, TakePiece open);

 private:
  absl::Status segment(size_t begin, size_t end, bool is_match);
  absl::Status emit(size_t begin, size_t end);
  absl::Status begin_pending(size_t begin, size_t end);

  Piece whole_;
  Delimiter behavior_;
  bool invert_;
  TakePiece take_;
  size_t done_ = 0;  // the end of the last match
  // The segment that a later one may join.
  bool has_pending_ = false;
  size_t pending_begin_ = 0;
  size_t pending_end_ = 0;
  bool last_matched_ = false;
};

}  // namespace deltaserve::tokenizer_json
