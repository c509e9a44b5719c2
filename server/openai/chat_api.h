// The request of POST /v1/chat/completions: JSON in, a checked request out. Pure functions, safe on
// any input and from any thread.
#pragma once
#include <boost/json/object.hpp>
#include <optional>
#include <span>
#include <string_view>

#include "server/base/api_error.h"
#include "server/base/limits.h"
#include "server/base/request_json.h"
#include "server/base/served_model.h"
#include "server/openai/field_reader.h"
#include "server/service/chat_prompt.h"
#include "server/service/generation_request.h"

namespace deltaserve {

// The parameters that read_chat_prompt() knows.
std::span<const ParameterRule> chat_prompt_rules();

// Reads the parameters above; the large ones are moved out of `body`, the object of `fields`.
void read_chat_prompt(FieldReader& fields, boost::json::object& body, ChatPrompt* out);

// Fills `request` from the members of a chat; the large ones are moved out of `body`. Returns the
// error to report.
[[nodiscard]] std::optional<ApiError> complete_chat(boost::json::object& body,
                                                    const ServedModel& model,
                                                    const ServerLimits& limits,
                                                    GenerationRequest* request);

// Fills `request`, or returns the error to report.
[[nodiscard]] std::optional<ApiError> parse_chat_request(std::string_view json,
                                                         const ServedModel& model,
                                                         const ServerLimits& limits,
                                                         GenerationRequest* request);

}  // namespace deltaserve
