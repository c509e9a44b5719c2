// Finds the tokenizer of a model folder.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "models/tokenizer/base/tokenizer.h"
#include "models/tokenizer/base/tokenizer_settings.h"

namespace deltaserve {

// Opens `file`, or if that is empty the tokenizer.model or tokenizer.json of the folder, with
// `settings` as load_tokenizer() takes them. Returns null if the folder has no tokenizer. Remarks
// for the user who loads the model go to *warnings.
//
// If both files are there and give the same ids to every piece and to 10,000 texts, the
// sentencepiece model is taken, else tokenizer.json. INVALID_ARGUMENT names a file that cannot be
// read, or one of another kind (tekken.json, vocab.json, ...) if there is no other.
absl::StatusOr<std::unique_ptr<Tokenizer>> open_folder_tokenizer(
    const std::string& folder, const std::string& file, const TokenizerSettings& settings,
    std::vector<std::string>* warnings);

// Returns a text to which the two give different ids, cut and quoted for a message; empty if all
// tried texts get the same ids.
std::string text_that_differs(const Tokenizer& a, const Tokenizer& b);

}  // namespace deltaserve
