// The ids of tool calls.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "server/tools/tool_format.h"

namespace deltaserve {

// Returns the id of a new call, which is call `number` of the conversation, from 0.
std::string new_call_id(CallIdShape shape, std::string_view name, int64_t number);

// Returns true if the model's template accepts the id.
bool has_shape(CallIdShape shape, std::string_view id);

// Returns nine letters and digits for an id of another shape; the same ones for equal ids.
std::string nine_for(std::string_view id);

}  // namespace deltaserve
