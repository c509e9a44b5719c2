// Finds weights that are infinite or not a number.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>

#include "absl/status/status.h"
#include "models/checkpoint/safetensors.h"

namespace deltaserve {

// Returns the index of the first element that is infinite or not a number.
std::optional<int64_t> first_not_finite(const Tensor& tensor);

// Checks all weights. INVALID_ARGUMENT names the first tensor with such an element, the element's
// place and its value. `progress` is called with the number of bytes that were read.
using ReadProgress = std::function<void(uint64_t done, uint64_t all)>;
absl::Status check_finite(const Checkpoint& checkpoint, const ReadProgress& progress = {});

}  // namespace deltaserve
