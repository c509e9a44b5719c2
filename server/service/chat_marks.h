// The places of a chat's prompt whose states are worth keeping.
#pragma once
#include <vector>

#include "engine/reuse/reuse.h"
#include "server/base/limits.h"
#include "server/service/chat_renderer.h"
#include "server/service/shared_prefix.h"

namespace deltaserve {

// Returns the places after the system prompt and the tools, before the generation prompt, and those
// that the client marked, in tokens. A place is found as the point where the prompt differs from a
// rendering without what comes after the place; if the template refuses such a rendering, the place
// is left out. `shared` belongs to the prompt as `chat` renders it.
std::vector<PrefixMark> find_marks(const std::vector<ChatMark>& marks, ChatRenderer* chat,
                                   SharedPrefix* shared);

}  // namespace deltaserve
