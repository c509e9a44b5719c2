// The messages of a chat, from what clients send to what templates expect.
#pragma once
#include <boost/json/array.hpp>
#include <vector>

#include "server/openai/field_reader.h"
#include "server/service/chat_prompt.h"

namespace deltaserve {

// Checks `messages` and brings every one into one form, in place:
//   role a string; the template decides which ones are allowed content a string, or absent beside
//   tool_calls; a list of text parts is joined by newlines tool_calls function calls; their
//   arguments are absent, an object or the text of one name, tool_call_id, reasoning_content,
//   reasoning strings
// The cache_control of messages and parts is taken out and added to `marks`. All other members are
// removed; parts other than text are refused by name. server/tools/history.h later adapts the
// messages to the template.
void normalize_messages(FieldReader& fields, boost::json::array* messages,
                        std::vector<ChatMark>* marks);

}  // namespace deltaserve
