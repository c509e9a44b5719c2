#include "models/tokenizer/base/tokenizer.h"

#include "models/base/limits.h"
#include "models/base/text.h"

namespace deltaserve {
absl::Status Tokenizer::text_too_long() {
  return absl::ResourceExhaustedError(
      str_cat("the text of the tokens has more than ", limits::kDecodedBytes, " bytes"));
}

absl::StatusOr<std::vector<int32_t>> Tokenizer::encode_as_text(std::string_view text) const {
  const TextPart part{text, false};
  return encode_parts({&part, 1});
}

void surround(const Tokenizer& tokenizer, int32_t bos, std::vector<int32_t>* ids) {
  const std::vector<int32_t>& before = tokenizer.ids_before();
  const std::vector<int32_t>& after = tokenizer.ids_after();
  ids->insert(ids->begin(), before.begin(), before.end());
  if (bos >= 0) ids->insert(ids->begin(), bos);
  ids->insert(ids->end(), after.begin(), after.end());
}

}  // namespace deltaserve
