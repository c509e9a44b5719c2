#include "models/tokenizer/tokenizer.h"

#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/checkpoint/file.h"
#include "models/tokenizer/json/json_tokenizer.h"
#include "models/tokenizer/sentencepiece_tokenizer.h"

namespace deltaserve {
namespace {

// Returns true if a file is JSON: a sentencepiece model begins with a byte of a field's tag.
bool is_json(std::string_view bytes) {
  if (bytes.starts_with("\xEF\xBB\xBF")) bytes.remove_prefix(3);
  const size_t first = bytes.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && bytes[first] == '{';
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::load(const std::string& path,
                                                           const TokenizerSettings& settings) {
  const absl::StatusOr<std::string> bytes = read_file(path, limits::kTokenizerBytes);
  if (!bytes.ok()) return bytes.status();
  return is_json(*bytes) ? load_json_tokenizer(*bytes, path, settings)
                         : load_sentencepiece_tokenizer(*bytes, path, settings);
}

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
