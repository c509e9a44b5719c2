// A pattern of tokenizer.json: a text or a regular expression, which PCRE2's JIT compiler runs.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deltaserve::tokenizer_json {

// Thread safety: const methods may be called from any thread at once.
class Pattern {
 public:
  // Compiles an expression of Ruby's syntax. Returns INVALID_ARGUMENT with one clause that says
  // what is wrong with it.
  static absl::StatusOr<Pattern> regular_expression(std::string_view ruby);
  // Makes a pattern that matches just this text.
  static Pattern text(std::string_view text);

  using Take = absl::FunctionRef<absl::Status(size_t begin, size_t end)>;
  // Calls `take` with the matches in valid UTF-8 text, in order. They do not overlap; an empty
  // match does not come directly after another. Ends at the first error of `take`. Returns
  // RESOURCE_EXHAUSTED if the expression took too many steps.
  absl::Status find_all(std::string_view subject, Take take) const;
  // Does the same for an incomplete text: calls `take` with the matches that later text cannot
  // change, and sets *settled to the place before which no further match can begin.
  absl::Status find_settled(std::string_view subject, size_t* settled, Take take) const;

 private:
  struct Program;
  enum class Found : uint8_t {
    kNothing,
    kMatch,
    kEndOfText,  // the result depends on text after the subject
  };
  // Finds the first match at or after `from`. If the text is incomplete and the result depends on
  // its rest, *begin is where the match may begin.
  absl::StatusOr<Found> find(std::string_view subject, size_t from, bool goes_on, size_t* begin,
                             size_t* end) const;
  Found find_text(std::string_view subject, size_t from, bool goes_on, size_t* begin,
                  size_t* end) const;
  absl::Status find_each(std::string_view subject, bool goes_on, size_t* settled, Take take) const;

  std::string text_;
  std::shared_ptr<const Program> program_;  // null: text_ is searched for
};

}  // namespace deltaserve::tokenizer_json
