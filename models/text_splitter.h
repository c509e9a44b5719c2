// Cuts a long text where sentencepiece can encode the parts one by one with the same result. The
// library's time and memory grow faster than the text (8 MB at once: 17 s and 750 MB).
//
// A cut is made before a single space between two other characters, under these conditions:
//  - BPE, where a piece comes from merges of neighbours, and no piece of the vocabulary continues
//    with a space after something else: then no merge and no user-defined piece crosses the cut,
//    and merges on one side do not see the other;
//  - a normalizer that works character by character: no character map, and spaces are kept.
// Where the model begins every text with a space of its own, the cut's space is left out.
#pragma once
#include <string_view>
#include <vector>

#include "models/sentencepiece_wrapper.h"

namespace deltaserve {

class TextSplitter {
 public:
  // `model_bytes` is the file that `model` was parsed from. Never cuts where the conditions do not
  // hold.
  TextSplitter(std::string_view model_bytes, const SentencePieceModel& model);

  bool can_split() const { return can_split_; }

  // The parts of `text` in order, cut at the first fitting place after every `part_bytes`.
  std::vector<std::string_view> split(std::string_view text, size_t part_bytes) const;

 private:
  bool can_split_ = false;
  bool drop_space_ = false;
};

}  // namespace deltaserve
