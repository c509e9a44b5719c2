#include "models/tokenizer/sentencepiece/encoder.h"

#include <optional>
#include <utility>

#include "models/tokenizer/sentencepiece/bpe.h"
#include "models/tokenizer/sentencepiece/normalizer.h"
#include "models/tokenizer/sentencepiece/pieces.h"
#include "models/tokenizer/sentencepiece/unigram.h"
#include "models/tokenizer/sentencepiece/words.h"

namespace deltaserve {

std::unique_ptr<const SentencePieceEncoder> SentencePieceEncoder::make(
    std::string_view model_bytes, const SentencePieceModel& model) {
  const std::optional<SentencePieces> pieces = SentencePieces::read(model_bytes);
  if (!pieces || pieces->pieces.size() != static_cast<size_t>(model.size())) return nullptr;
  std::optional<SentencePieceNormalizer> normalizer = SentencePieceNormalizer::make(*pieces);
  if (!normalizer) return nullptr;
  if (pieces->flags.bpe) return make_sentencepiece_bpe(*pieces, *std::move(normalizer));
  if (pieces->flags.unigram) return make_sentencepiece_unigram(*pieces, *std::move(normalizer));
  if (pieces->flags.words) return make_sentencepiece_words(*pieces, *std::move(normalizer));
  if (pieces->flags.characters) {
    return make_sentencepiece_characters(*pieces, *std::move(normalizer));
  }
  return nullptr;
}

}  // namespace deltaserve
