// The byte pair encoding of sentencepiece.
#pragma once
#include <memory>

#include "models/tokenizer/sentencepiece/encoder.h"
#include "models/tokenizer/sentencepiece/normalizer.h"
#include "models/tokenizer/sentencepiece/pieces.h"

namespace deltaserve {

// Returns null if a piece has more than 1,024 bytes.
std::unique_ptr<const SentencePieceEncoder> make_sentencepiece_bpe(
    const SentencePieces& pieces, SentencePieceNormalizer normalizer);

}  // namespace deltaserve
