// A sentencepiece model and the tokens that the settings of its folder add to it.
#pragma once
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "models/tokenizer/base/tokenizer.h"
#include "models/tokenizer/base/tokenizer_settings.h"

namespace deltaserve {

// Takes the contents of a file, whose name begins messages. INVALID_ARGUMENT with one sentence if
// they are not a sentencepiece model, a piece is not UTF-8, or a special piece stands for a byte.
// The settings are those of load_tokenizer().
absl::StatusOr<std::unique_ptr<Tokenizer>> load_sentencepiece_tokenizer(
    const std::string& bytes, const std::string& path, const TokenizerSettings& settings);

}  // namespace deltaserve
