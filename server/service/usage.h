// The tokens and times of a request, as they are reported to clients.
#pragma once
#include <cstdint>
#include <optional>

namespace deltaserve {

struct Usage {
  int64_t prompt_tokens = 0;      // of all prompts; choices of one prompt share it
  int64_t completion_tokens = 0;  // of all choices
  // The tokens of the reasoning, encoded as a text by itself, in answers that have ended. They are
  // counted in this way because one token may contain both the end of the reasoning and the text
  // after it.
  int64_t reasoning_tokens = 0;
  // Prompt tokens that came from kept states: of each prompt, its tokens minus the rows that were
  // computed for its first choice.
  int64_t cached_prompt_tokens = 0;
};

struct Timings {
  // Seconds from the request's arrival to the first token of any choice; nullopt: there was none.
  std::optional<double> time_to_first_token;
  // Seconds from the first token to the last, of the choice that took longest; nullopt: no choice
  // has ended with two tokens or more.
  std::optional<double> decode;
};

}  // namespace deltaserve
