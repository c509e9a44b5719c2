// The member cache_control, with which clients mark places of a prompt that later prompts are
// likely to share: {"type": "ephemeral"}, as Anthropic's API has it.
#pragma once
#include <boost/json/object.hpp>
#include <string_view>
#include <vector>

#include "server/openai/field_reader.h"
#include "server/service/chat_prompt.h"

namespace deltaserve {

inline constexpr std::string_view kCacheControl = "cache_control";

// Returns whether the value of cache_control is one that marks a place.
bool is_mark(const boost::json::value& control);

// Takes cache_control out of `object`, if it has it, and adds `mark` to `marks`; null counts as
// absent. `place` is the place of the object in `param`, such as "[3].content[0]". Refuses other
// values, and more marks than the limits allow.
void take_cache_control(FieldReader& fields, std::string_view param, std::string_view place,
                        const ChatMark& mark, boost::json::object* object,
                        std::vector<ChatMark>* marks);

}  // namespace deltaserve
