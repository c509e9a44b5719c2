// POST /v1/responses: the newer API of OpenAI, without the state that its server keeps. A request
// is translated to a chat (responses_request.cc), and the answer is told in the API's items and
// events.
#pragma once
#include "server/openai/turn_job.h"

namespace deltaserve {

std::optional<ApiError> read_responses_request(std::string_view body, const ServedModel& model,
                                               const ServerLimits& limits, TurnRequest* request);

// `echoed`: what the answer repeats of the request, as members of a JSON object.
std::unique_ptr<TurnFormat> make_responses_format(const ServedModel& model,
                                                  boost::json::object echoed);

}  // namespace deltaserve
