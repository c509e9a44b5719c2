// Reads the classes and escapes of Ruby's regular expressions as sets of code points.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "models/tokenizer/json/code_point_set.h"

namespace deltaserve::tokenizer_json {

// A position in an expression. Characters are code points.
struct ExpressionText {
  std::u32string text;
  size_t at = 0;

  bool done() const { return at >= text.size(); }
  char32_t peek(size_t ahead = 0) const { return at + ahead < text.size() ? text[at + ahead] : 0; }
  bool take(std::u32string_view expected) {
    if (std::u32string_view(text).substr(at).substr(0, expected.size()) != expected) return false;
    at += expected.size();
    return true;
  }
};

// An escape is a set of characters or a single one.
struct Escape {
  std::optional<CodePointSet> set;
  char32_t code = 0;
};

// Reads the escape after a backslash, which was taken. Returns INVALID_ARGUMENT if it is neither a
// set nor a character.
absl::StatusOr<Escape> read_escape(ExpressionText* in, bool in_class);

// Reads a class after its '[', up to and with its ']'. Without case, it has all variants of its
// members.
absl::StatusOr<CodePointSet> read_class(ExpressionText* in, bool without_case, int depth);

// Returns the set with all single characters that equal one of its members under (?i).
CodePointSet with_all_cases(const CodePointSet& set);

// Formats a set as a class of PCRE2.
std::string class_text(const CodePointSet& set);

}  // namespace deltaserve::tokenizer_json
