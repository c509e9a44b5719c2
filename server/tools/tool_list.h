// Checks the tools of a request and the choice among them, for every front.
#pragma once
#include <boost/json/value.hpp>
#include <string>

#include "server/tools/tool_choice.h"

namespace deltaserve {

// Returns what is wrong with the tools, beginning with the place: "tools[0].function is required".
// Empty: nothing. `tools` is null or a list of {"type": "function", "function": {"name": ...,
// "description": ..., "parameters": ..., "strict": ...}}; other members are the template's matter.
std::string complaint_about_tools(const boost::json::value& tools);

// Returns what is wrong with the choice, given tools without a complaint.
std::string complaint_about_choice(const ToolChoice& choice, const boost::json::value& tools);

}  // namespace deltaserve
