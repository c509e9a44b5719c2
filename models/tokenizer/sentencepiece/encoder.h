// Encodes long texts with the ids of the sentencepiece library. The library takes some 200 bytes
// for each byte of a text that cannot be cut (text_splitter.h) and cannot be stopped; this code
// takes at most 24, and stops when the result is no longer wanted.
#pragma once
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "models/tokenizer/sentencepiece/wrapper.h"

namespace deltaserve {

// Thread safety: const methods may be called from any thread at once.
class SentencePieceEncoder {
 public:
  virtual ~SentencePieceEncoder() = default;

  // `model_bytes` is the file from which `model` was parsed. Returns null if only the library can
  // compute the ids, because a piece is not UTF-8 or has a zero byte, its score is not finite, or
  // it has more than 1,024 bytes in a BPE model.
  static std::unique_ptr<const SentencePieceEncoder> make(std::string_view model_bytes,
                                                          const SentencePieceModel& model);

  // Appends the ids of SentencePieceModel::encode(text), for any bytes. Returns RESOURCE_EXHAUSTED
  // if the text becomes far longer when it is normalized, and then cannot be cut. Other errors mean
  // that the work is no longer wanted (check_wanted).
  virtual absl::Status encode(std::string_view text, std::vector<int32_t>* ids) const = 0;
};

}  // namespace deltaserve
