#include "server/service/embeddings.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "models/base/text.h"

namespace deltaserve {

std::optional<ApiError> complete_embedding_request(Parameters given, const ServedModel& model,
                                                   const ServerLimits& limits,
                                                   GenerationRequest* request) {
  if (auto error = complete_request(std::move(given), model, limits, request)) return error;
  const auto inputs = static_cast<int64_t>(request->num_prompts());
  if (inputs > limits.embedding_numbers / model.hidden_size) {
    return invalid_parameter(
        std::string(request->text_name),
        str_cat(request->text_name, " has ", inputs, " texts: with ", model.hidden_size,
                " numbers each that is above ", limits.embedding_numbers));
  }
  request->parameters.generate.pooling = model.embedding_pooling;
  return std::nullopt;
}

bool take_embeddings(Generation* generation, std::vector<std::vector<float>>* all) {
  all->resize(generation->num_choices());
  while (std::optional<Generation::Part> part = generation->next()) {
    if (part->update.finish == FinishReason::kNone) continue;
    (*all)[part->choice] = std::move(part->update.embedding);
  }
  return generation->done() || generation->error().has_value();
}

}  // namespace deltaserve
