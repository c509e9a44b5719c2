// The unigram model of sentencepiece: of all ways to cut a text, the one with the highest sum of
// scores.
#pragma once
#include <memory>

#include "models/tokenizer/sentencepiece/encoder.h"
#include "models/tokenizer/sentencepiece/normalizer.h"
#include "models/tokenizer/sentencepiece/pieces.h"

namespace deltaserve {

std::unique_ptr<const SentencePieceEncoder> make_sentencepiece_unigram(
    const SentencePieces& pieces, SentencePieceNormalizer normalizer);

}  // namespace deltaserve
