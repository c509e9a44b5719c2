// The places of a chat's prompt whose states are worth keeping.
#pragma once
#include <vector>

#include "engine/reuse/reuse.h"
#include "server/base/limits.h"
#include "server/service/chat_renderer.h"
#include "server/service/shared_prefix.h"

namespace deltaserve {

// Returns the places behind the system prompt and the tools, before the generation prompt, and
// those that the client marked, in tokens. A place is where the prompt parts from a rendering
// without what comes behind it; where the template refuses such a rendering, there is none.
// `shared` is of the prompt as `chat` renders it.
std::vector<PrefixMark> find_marks(const std::vector<ChatMark>& marks, ChatRenderer* chat,
                                   SharedPrefix* shared);

}  // namespace deltaserve
