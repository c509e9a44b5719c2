// The tokens of a request, as clients are told them.
#pragma once
#include <cstdint>

namespace deltaserve {

struct Usage {
  int64_t prompt_tokens = 0;      // of all prompts; choices of one prompt share it
  int64_t completion_tokens = 0;  // of all choices
};

}  // namespace deltaserve
