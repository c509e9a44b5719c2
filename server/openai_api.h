// The request of POST /v1/completions: JSON in, a checked request out. A pure function, safe on any
// input and from any thread.
#pragma once
#include <optional>
#include <string_view>

#include "server/api_error.h"
#include "server/limits.h"
#include "server/served_model.h"
#include "server/service/generation_request.h"

namespace deltaserve {

// Fills `request`, or returns the error to report.
[[nodiscard]] std::optional<ApiError> parse_completion_request(std::string_view json,
                                                               const ServedModel& model,
                                                               const ServerLimits& limits,
                                                               GenerationRequest* request);

}  // namespace deltaserve
