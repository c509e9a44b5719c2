// A tokenizer as tokenizer.json of Hugging Face describes it. Ids and texts are those of the
// library `tokenizers`, version 0.23.
//
// A text is encoded in these steps: added tokens that are not normalized are cut out; each piece
// between them is normalised; normalized added tokens are cut out; the pre-tokenizer cuts the rest;
// the model encodes the pieces.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "models/tokenizer/base/tokenizer.h"
#include "models/tokenizer/base/tokenizer_settings.h"

namespace deltaserve {

// Takes the contents of a file, whose name begins messages. The special tokens of the settings are
// control tokens in addition to those that the file calls special and those that look like a
// marker; those that it does not list are added. There are no added tokens with ids of its
// most_ids or more. INVALID_ARGUMENT with one sentence that names the part of the file that is
// wrong or not supported.
absl::StatusOr<std::unique_ptr<Tokenizer>> load_json_tokenizer(std::string_view json,
                                                               const std::string& path,
                                                               const TokenizerSettings& settings);

}  // namespace deltaserve
