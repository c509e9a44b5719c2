// Converts the conversation of a ChatRequest to the form that all fronts share. A pure function,
// safe on any input and from any thread.
#pragma once
#include <optional>

#include "deltaserve.pb.h"
#include "server/base/api_error.h"
#include "server/base/limits.h"
#include "server/service/chat_prompt.h"

namespace deltaserve {

// Moves messages, tools and everything else that a template sees out of `message`. Errors name the
// field and its place.
[[nodiscard]] std::optional<ApiError> convert_chat(v1::ChatRequest* message,
                                                   const ServerLimits& limits, ChatPrompt* prompt);

}  // namespace deltaserve
