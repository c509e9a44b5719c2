// The pre-tokenizers of tokenizer.json, which cut a text into the pieces that the model encodes one
// by one.
#pragma once
#include <memory>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "models/tokenizer/json/part_reader.h"

namespace deltaserve::tokenizer_json {

struct Piece {
  std::string_view text;    // valid UTF-8, not empty
  bool begins_text = true;  // it is the beginning of the whole text
};

using TakePiece = absl::FunctionRef<absl::Status(Piece)>;

// One step of cutting. Safe from any thread at once.
class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  // Calls `take` with the parts of `piece`, in order. The texts live as long as the call. Ends at
  // the first error.
  virtual absl::Status split(Piece piece, TakePiece take) const = 0;
  // Does the same for an incomplete piece: calls `take` with the parts that later text cannot
  // change. Then calls `open`, at most once, with the part of the text after them that is certain
  // to be in one part.
  virtual absl::Status split_open(Piece piece, TakePiece take, TakePiece open) const = 0;
};

// All steps of a file.
class PreTokenizers {
 public:
  // Reads a pre-tokenizer; errors go to the reader's status. With `keep_bytes`, and if the last
  // step is ByteLevel, its pieces have the bytes themselves, not their spelling, and bytes_kept()
  // is true.
  static PreTokenizers read(PartReader part, bool keep_bytes);

  // Calls `take` with the pieces of a text, in order. Returns RESOURCE_EXHAUSTED if the steps make
  // the text far longer, or an expression took too many steps.
  absl::Status split(Piece text, TakePiece take) const;
  // Does the same for an incomplete text, like PreTokenizer::split_open.
  absl::Status split_open(Piece text, TakePiece take, TakePiece open) const;
  bool bytes_kept() const { return bytes_kept_; }

 private:
  static size_t room_for(Piece text, size_t steps);
  absl::Status split_open_from(size_t step, Piece piece, size_t* room, TakePiece take,
                               TakePiece open) const;
  // `room` is the number of bytes that all steps may still pass on.
  absl::Status split_from(size_t step, Piece piece, size_t* room, TakePiece take) const;

  std::vector<std::unique_ptr<const PreTokenizer>> steps_;
  bool bytes_kept_ = false;
};

}  // namespace deltaserve::tokenizer_json
