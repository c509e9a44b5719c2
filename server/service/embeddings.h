// Functions for requests for embeddings of every front: the checks in addition to the rules of all
// requests, and the taking of vectors from the engine.
#pragma once
#include <optional>
#include <vector>

#include "server/base/api_error.h"
#include "server/base/limits.h"
#include "server/base/served_model.h"
#include "server/service/generation.h"
#include "server/service/generation_request.h"
#include "server/service/parameters.h"

namespace deltaserve {

// Works like complete_request(), which it calls, and asks for the inputs' embeddings.
[[nodiscard]] std::optional<ApiError> complete_embedding_request(Parameters given,
                                                                 const ServedModel& model,
                                                                 const ServerLimits& limits,
                                                                 GenerationRequest* request);

// Moves the embeddings that a generation has so far to the places of their inputs in `all`,
// [inputs][hidden size]. Returns true if the generation is done, or has an error.
bool take_embeddings(Generation* generation, std::vector<std::vector<float>>* all);

}  // namespace deltaserve
