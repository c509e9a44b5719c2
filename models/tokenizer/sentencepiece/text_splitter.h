// Cuts a long text at places that allow sentencepiece to encode the parts one by one with the same
// result. The library's time and memory grow faster than the text (8 MB at once: 17 s and 750 MB).
//
// A cut is made before a single space between two other characters, if these conditions hold:
//  - The model is BPE, so that pieces come from merges of neighbours, and no piece of its
//    vocabulary continues with a space after something else. Then no merge and no user-defined
//    piece crosses the cut, and merges on one side do not depend on the other.
//  - The model has no unused pieces, which stand for parts that depend on the whole text, and no
//    text is a control piece, with which the library encodes nothing of the whole text.
//  - The normalizer works character by character: it has no character map and keeps spaces.
// If the model begins every text with a space of its own, the cut's space is removed.
#pragma once
#include <string_view>
#include <vector>

#include "models/tokenizer/sentencepiece/wrapper.h"

namespace deltaserve {

class TextSplitter {
 public:
  // `model_bytes` is the file from which `model` was parsed. If the conditions do not hold, texts
  // are never cut.
  TextSplitter(std::string_view model_bytes, const SentencePieceModel& model);

  bool can_split() const { return can_split_; }

  // Returns the parts of `text` in order, cut at the first fitting place after every `part_bytes`.
  std::vector<std::string_view> split(std::string_view text, size_t part_bytes) const;
  // Returns the last place where `text` may be cut, independent of the text that follows; 0: there
  // is none.
  size_t last_cut(std::string_view text) const;

 private:
  bool can_split_ = false;
  bool drop_space_ = false;
};

}  // namespace deltaserve
