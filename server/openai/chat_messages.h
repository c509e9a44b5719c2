// The messages of a chat, from what clients send to what templates expect.
#pragma once
#include <boost/json/array.hpp>
#include <vector>

#include "server/openai/field_reader.h"
#include "server/service/chat_prompt.h"

namespace deltaserve {

// Checks `messages` and brings every one into one form, in place:
//   role          a string; which ones there are is the template's matter
//   content       a string, or null beside tool_calls; a list of text parts is joined by newlines
//   tool_calls    function calls, their arguments as an object instead of JSON text
//   name, tool_call_id, reasoning_content   strings
// The cache_control of messages and parts is taken out and added to `marks`.
// Members that are null, and all others, are removed: clients send back what a server put into its
// answer, and add members of their own. Parts other than text, audio and function_call are refused
// by name.
void normalize_messages(FieldReader& fields, boost::json::array* messages,
                        std::vector<ChatMark>* marks);

}  // namespace deltaserve
