// The models of sentencepiece that merge nothing: each character is a token, or each word.
#pragma once
#include <memory>

#include "models/tokenizer/sentencepiece_encoder.h"
#include "models/tokenizer/sentencepiece_normalizer.h"
#include "models/tokenizer/sentencepiece_pieces.h"

namespace deltaserve {

std::unique_ptr<const SentencePieceEncoder> make_sentencepiece_characters(
    const SentencePieces& pieces, SentencePieceNormalizer normalizer);
std::unique_ptr<const SentencePieceEncoder> make_sentencepiece_words(
    const SentencePieces& pieces, SentencePieceNormalizer normalizer);

}  // namespace deltaserve
