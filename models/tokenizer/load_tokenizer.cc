#include "models/tokenizer/load_tokenizer.h"

#include "models/base/limits.h"
#include "models/checkpoint/file.h"
#include "models/tokenizer/json/json_tokenizer.h"
#include "models/tokenizer/sentencepiece/sentencepiece_tokenizer.h"

namespace deltaserve {
namespace {

// Returns true if a file is JSON: a sentencepiece model begins with a byte of a field's tag.
bool is_json(std::string_view bytes) {
  if (bytes.starts_with("\xEF\xBB\xBF")) bytes.remove_prefix(3);
  const size_t first = bytes.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && bytes[first] == '{';
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> load_tokenizer(const std::string& path,
                                                          const TokenizerSettings& settings) {
  const absl::StatusOr<std::string> bytes = read_file(path, limits::kTokenizerBytes);
  if (!bytes.ok()) return bytes.status();
  return is_json(*bytes) ? load_json_tokenizer(*bytes, path, settings)
                         : load_sentencepiece_tokenizer(*bytes, path, settings);
}

}  // namespace deltaserve
