// Requests for embeddings have these in common, whatever front they came through: what is judged of
// them beside the rules of all requests, and the vectors as they come from the engine.
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

// Refuses `dimensions` unless it is the model's own number. The inputs are counted by
// complete_embedding_request().
[[nodiscard]] std::optional<ApiError> check_dimensions(const std::optional<Integer>& dimensions,
                                                       const ServedModel& model);

// Works like complete_request(), which it calls, and asks for the inputs' embeddings.
[[nodiscard]] std::optional<ApiError> complete_embedding_request(Parameters given,
                                                                 const ServedModel& model,
                                                                 const ServerLimits& limits,
                                                                 GenerationRequest* request);

// Takes the embeddings that a generation has so far, each to the place of its input in `all`,
// [inputs][hidden size]. True: the generation is done, or has an error.
bool take_embeddings(Generation* generation, std::vector<std::vector<float>>* all);

}  // namespace deltaserve
