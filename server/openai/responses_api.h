// POST /v1/responses: the newer API of OpenAI, without the state that OpenAI's server keeps. A
// request is translated to a chat (responses_request.cc), and the answer is written as the API's
// items and events.
#pragma once
#include "server/openai/chat_translation.h"
#include "server/openai/turn_job.h"

namespace deltaserve {

std::optional<ApiError> read_responses_request(std::string_view body, const ServedModel& model,
                                               const ServerLimits& limits, TurnRequest* request);

// Returns the members of a chat that have a name of their own here. Only one of the two may be
// there.
std::span<const RenamedMember> responses_names();

// `echoed` has the members of the request that the answer repeats.
std::unique_ptr<TurnFormat> make_responses_format(const ServedModel& model,
                                                  boost::json::object echoed);

}  // namespace deltaserve
