// The normal forms of Unicode 9, the version that `tokenizers` uses for them.
#pragma once
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace deltaserve::tokenizer_json {

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

// Returns valid UTF-8 text in a normal form. An error means that the work is no longer wanted
// (check_wanted).
absl::StatusOr<std::string> normalized(std::string_view text, NormalForm form);

}  // namespace deltaserve::tokenizer_json
