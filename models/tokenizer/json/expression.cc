#define PCRE2_CODE_UNIT_WIDTH 8
#include "models/tokenizer/json/expression.h"

#include <pcre2.h>

#include <algorithm>

#include "models/base/cancellation.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/tokenizer/json/expression_translator.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve::tokenizer_json {
namespace {

struct FreeCompileContext {
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
};

// The memory that a thread needs to match any expression.
class MatchRoom {
 public:
  MatchRoom()
      : data_(pcre2_match_data_create(1, nullptr)),
        context_(pcre2_match_context_create(nullptr)),
        stack_(pcre2_jit_stack_create(limits::kJitStackBytes.min, limits::kJitStackBytes.max,
                                      nullptr)) {
    pcre2_set_match_limit(context_, limits::kExpressionSteps);
    pcre2_set_heap_limit(context_, limits::kExpressionHeapKib);
    pcre2_jit_stack_assign(context_, nullptr, stack_);
  }
  MatchRoom(const MatchRoom&) = delete;
  MatchRoom& operator=(const MatchRoom&) = delete;
  ~MatchRoom() {
    pcre2_match_data_free(data_);
    pcre2_match_context_free(context_);
    pcre2_jit_stack_free(stack_);
  }

  pcre2_match_data* data() { return data_; }
  pcre2_match_context* context() { return context_; }

 private:
  pcre2_match_data* data_;
  pcre2_match_context* context_;
  pcre2_jit_stack* stack_;
};

std::string error_text(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

}  // namespace

struct Pattern::Program {
  pcre2_code* code = nullptr;

  explicit Program(pcre2_code* compiled) : code(compiled) {}
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() { pcre2_code_free(code); }
};

absl::StatusOr<Pattern> Pattern::regular_expression(std::string_view ruby) {
  const absl::StatusOr<std::string> perl = translate_expression(ruby);
  if (!perl.ok()) return perl.status();
  const std::unique_ptr<pcre2_compile_context, FreeCompileContext> context(
      pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(perl->data()), perl->size(),
                                   PCRE2_UTF | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &error,
                                   &offset, context.get());
  if (code == nullptr) return invalid_argument(error_text(error));
  Pattern pattern;
  pattern.program_ = std::make_shared<const Program>(code);
  if (const int failed = pcre2_jit_compile(code, PCRE2_JIT_COMPLETE | PCRE2_JIT_PARTIAL_HARD);
      failed != 0) {
    return invalid_argument("it cannot be compiled to machine code: ", error_text(failed));
  }
  return pattern;
}

Pattern Pattern::text(std::string_view text) {
  Pattern pattern;
  pattern.text_ = text;
  return pattern;
}

Pattern::Found Pattern::find_text(std::string_view subject, size_t from, bool goes_on,
                                  size_t* begin, size_t* end) const {
  *begin = subject.find(text_, from);
  if (*begin != std::string_view::npos) {
    *end = *begin + text_.size();
    return Found::kMatch;
  }
  if (!goes_on) return Found::kNothing;
  *begin = std::max(from, subject.size() - std::min(subject.size(), text_.size()));
  return Found::kEndOfText;
}

absl::StatusOr<Pattern::Found> Pattern::find(std::string_view subject, size_t from, bool goes_on,
                                             size_t* begin, size_t* end) const {
  if (program_ == nullptr) return find_text(subject, from, goes_on, begin, end);
  thread_local MatchRoom room;
  const uint32_t options = PCRE2_NO_UTF_CHECK | (goes_on ? PCRE2_PARTIAL_HARD : 0);
  const int found = pcre2_match(program_->code, reinterpret_cast<PCRE2_SPTR>(subject.data()),
                                subject.size(), from, options, room.data(), room.context());
  if (found == PCRE2_ERROR_NOMATCH) return Found::kNothing;
  if (found < 0 && found != PCRE2_ERROR_PARTIAL) {
    return absl::ResourceExhaustedError(
        str_cat("the tokenizer's expression gave up on this text: ", error_text(found)));
  }
  const PCRE2_SIZE* place = pcre2_get_ovector_pointer(room.data());
  *begin = place[0];
  *end = place[1];
  return found == PCRE2_ERROR_PARTIAL ? Found::kEndOfText : Found::kMatch;
}

absl::Status Pattern::find_all(std::string_view subject, Take take) const {
  size_t settled = 0;
  return find_each(subject, /*goes_on=*/false, &settled, take);
}

absl::Status Pattern::find_settled(std::string_view subject, size_t* settled, Take take) const {
  return find_each(subject, /*goes_on=*/true, settled, take);
}

absl::Status Pattern::find_each(std::string_view subject, bool goes_on, size_t* settled,
                                Take take) const {
  size_t from = 0;
  size_t last_end = std::string_view::npos;
  *settled = subject.size();
  while (from <= subject.size()) {
    size_t begin = 0;
    size_t end = 0;
    const absl::StatusOr<Found> found = find(subject, from, goes_on, &begin, &end);
    if (!found.ok()) return found.status();
    if (*found == Found::kNothing) break;
    // A match that ends with the subject may depend on its end, for instance by $.
    if (*found == Found::kEndOfText || (goes_on && end == subject.size())) {
      *settled = begin;
      break;
    }
    if (begin == end && end == last_end) {
      if (from == subject.size()) break;
      from += character_bytes(subject[from]);
      continue;
    }
    constexpr size_t kBytesOfStep = 64;  // bytes that compiled expressions search in the time of a
                                         // step
    absl::Status status = check_wanted(1 + (end - std::min(from, end)) / kBytesOfStep);
    if (status.ok()) status = take(begin, end);
    if (!status.ok()) return status;
    from = last_end = end;
  }
  return absl::OkStatus();
}

}  // namespace deltaserve::tokenizer_json
