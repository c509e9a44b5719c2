// What of a request the engine can serve.
#pragma once
#include <cstdint>

#include "absl/status/status.h"
#include "engine/request.h"

namespace deltaserve {

struct RequestBounds {
  int64_t max_prompt_tokens = 0;
  int32_t vocab_size = 0;
  bool has_text = false;  // false: stop strings cannot be served
};

// INVALID_ARGUMENT names the field and what is wrong with its value.
absl::Status check_request(const GenerateRequest& request, const RequestBounds& bounds);

// Likewise, for as many answers to one request, each in a slot of its own.
absl::Status check_num_choices(int num_choices, int64_t num_slots);

}  // namespace deltaserve
