// Rewrites a regular expression from Ruby's syntax, in which tokenizer.json has them, for PCRE2.
//
// Classes, and the characters that (?i) matches, are written out as ranges of code points, because
// the library's own tables are of another version of Unicode. Syntax with different meanings in
// Ruby and Perl is rewritten: {n,m}+ repeats a group and is not possessive, (?m) lets the dot match
// line feeds, ^ and $ are at every line (PCRE2_MULTILINE does that), \h is a hexadecimal digit.
#pragma once
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace deltaserve::tokenizer_json {

// Returns the expression for PCRE2 with UTF and MULTILINE. INVALID_ARGUMENT with one clause that
// names what is unknown or wrong.
absl::StatusOr<std::string> translate_expression(std::string_view ruby);

}  // namespace deltaserve::tokenizer_json
