// Loads a tokenizer of either kind.
#pragma once
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "models/tokenizer/base/tokenizer.h"
#include "models/tokenizer/base/tokenizer_settings.h"

namespace deltaserve {

// Loads a file; its first character says of which kind it is. Special tokens of the settings that
// the file does not have get the next ids, as in transformers. The added tokens of the settings
// are those of a sentencepiece model, where one may have the id of a piece, which it then replaces;
// a tokenizer.json lists its own. NOT_FOUND if there is no file. INVALID_ARGUMENT with one sentence
// if the file is of neither kind, has something that is not supported, or a special token stands
// for a byte.
absl::StatusOr<std::unique_ptr<Tokenizer>> load_tokenizer(const std::string& path,
                                                          const TokenizerSettings& settings = {});

}  // namespace deltaserve
