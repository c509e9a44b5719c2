// POST /v1/messages and /v1/messages/count_tokens: Anthropic's API. A request is translated to a
// chat (messages_request.cc), and the answer is written as the API's blocks and events.
#pragma once
#include <span>
#include <string>
#include <variant>

#include "server/openai/chat_translation.h"
#include "server/openai/turn_job.h"

namespace deltaserve {

std::optional<ApiError> read_messages_request(std::string_view body, const ServedModel& model,
                                              const ServerLimits& limits, TurnRequest* request);

// Returns the members of a chat that have a name of their own here. Only one of the two may be
// there.
std::span<const RenamedMember> messages_names();

std::unique_ptr<TurnFormat> make_messages_format(const ServedModel& model);

// Returns {"input_tokens": N} of the same body.
std::variant<std::string, ApiError> count_message_tokens(std::string_view body,
                                                         const ServedModel& model,
                                                         const ServerLimits& limits);

}  // namespace deltaserve
