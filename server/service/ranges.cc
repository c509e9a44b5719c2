#include "server/service/ranges.h"

#include <limits>

namespace deltaserve {

std::optional<IntegerRange> integer_range(std::string_view name, const ServedModel& model,
                                          const ServerLimits& limits) {
  struct Row {
    std::string_view name;
    IntegerRange range;
  };
  using Int32 = std::numeric_limits<int32_t>;
  using Int64 = std::numeric_limits<int64_t>;
  const Row kRows[] = {
      {"max_tokens", {0, limits.max_tokens}},
      {"max_completion_tokens", {0, limits.max_tokens}},
      {"min_tokens", {0, limits.max_tokens}},
      {"truncate_prompt_tokens", {-1, limits.prompt_tokens}},
      {"dimensions", {model.hidden_size, model.hidden_size}},
      {"n", {1, limits.choices_per_prompt}},
      {"top_k", {-1, model.vocab_size}},
      {"seed", {Int64::min(), Int64::max()}},
      {"logprobs", {0, limits.logprobs}},
      {"top_logprobs", {0, limits.logprobs}},
      {"prompt_logprobs", {0, limits.logprobs}},
      {"priority", {Int32::min(), Int32::max()}},
      {"deadline_ms", {1, limits.request_timeout_ms}},
  };
  for (const Row& row : kRows) {
    if (row.name == name) return row.range;
  }
  return std::nullopt;
}

std::optional<RealRange> real_range(std::string_view name) {
  struct Row {
    std::string_view name;
    RealRange range;
  };
  static constexpr Row kRows[] = {
      {"temperature", {0, 2}},
      {"top_p", {0, 1, /*low_is_outside=*/true}},
      {"min_p", {0, 1}},
      {"presence_penalty", {-2, 2}},
      {"frequency_penalty", {-2, 2}},
      {"repetition_penalty", {0, 10, /*low_is_outside=*/true}},
  };
  for (const Row& row : kRows) {
    if (row.name == name) return row.range;
  }
  return std::nullopt;
}

}  // namespace deltaserve
