// Checks whether the engine can serve a request.
#pragma once
#include <cstdint>

#include "absl/status/status.h"
#include "engine/sequence/request.h"

namespace deltaserve {

struct RequestBounds {
  int64_t max_prompt_tokens = 0;
  int32_t vocab_size = 0;
  bool has_text = false;  // false: stop strings cannot be served
  bool can_pool = false;  // false: embeddings cannot be made
};

// Returns INVALID_ARGUMENT that names the first invalid field and the problem with its value.
absl::Status check_request(const GenerateRequest& request, const RequestBounds& bounds);

// Checks the number of answers to one request in the same way.
absl::Status check_num_choices(int num_choices);

}  // namespace deltaserve
