// Encodes as the sentencepiece library does, for long texts: the library takes some 200 bytes for
// each byte of a text that cannot be cut (text_splitter.h) and never stops before the end; this
// takes at most 24, and stops when nobody wants the result.
#pragma once
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "models/tokenizer/sentencepiece_wrapper.h"

namespace deltaserve {

// Thread safety: const methods may be called from any thread at once.
class SentencePieceEncoder {
 public:
  virtual ~SentencePieceEncoder() = default;

  // `model_bytes` is the file from which `model` was parsed. Returns null where only the library
  // knows the ids: the model's pieces are words or single characters, or a BPE model has pieces
  // that are not used.
  static std::unique_ptr<const SentencePieceEncoder> make(std::string_view model_bytes,
                                                          const SentencePieceModel& model);

  // Appends the ids of SentencePieceModel::encode(text), for any bytes. Not OK: the work is not
  // wanted any more (check_wanted), or RESOURCE_EXHAUSTED where the text becomes far longer when it
  // is normalized and cannot be cut then.
  virtual absl::Status encode(std::string_view text, std::vector<int32_t>* ids) const = 0;
};

}  // namespace deltaserve
