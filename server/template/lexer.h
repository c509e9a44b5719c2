// Splits a template's source into tokens and removes white space as Hugging Face configures Jinja:
// trim_blocks and lstrip_blocks are on, one line end at the end of the source is dropped.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/template/value.h"

namespace deltaserve {

enum class TokenType : uint8_t {
  kData,         // text outside of tags
  kOutputBegin,  // {{
  kOutputEnd,
  kBlockBegin,  // {%
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct TemplateToken {
  TokenType type = TokenType::kEnd;
  int line = 0;
  std::string text;  // for data, names, operators; strings without quotes and escapes
  Value::Data integer;
  double real = 0;
};

// Returns INVALID_ARGUMENT with the line of an invalid token.
absl::StatusOr<std::vector<TemplateToken>> tokenize(std::string_view source);

}  // namespace deltaserve
