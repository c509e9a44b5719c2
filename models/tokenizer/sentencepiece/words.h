// The models of sentencepiece that merge nothing: each character is a token, or each word.
#pragma once
#include <memory>

#include "models/tokenizer/sentencepiece/encoder.h"
#include "models/tokenizer/sentencepiece/normalizer.h"
#include "models/tokenizer/sentencepiece/pieces.h"

namespace deltaserve {

std::unique_ptr<const SentencePieceEncoder> make_sentencepiece_characters(
    const SentencePieces& pieces, SentencePieceNormalizer normalizer);
std::unique_ptr<const SentencePieceEncoder> make_sentencepiece_words(
    const SentencePieces& pieces, SentencePieceNormalizer normalizer);

}  // namespace deltaserve
