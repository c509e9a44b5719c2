// POST /v1/embeddings: texts or token ids in, a vector for each out.
#pragma once
#include <memory>
#include <string>
#include <variant>

#include "server/base/api_error.h"
#include "server/openai/answer_job.h"
#include "server/service/generation.h"

namespace deltaserve {

// Reads `body` into a job. Heavy for large bodies: never on an I/O thread.
std::variant<std::unique_ptr<AnswerJob>, ApiError> read_embeddings(Services& services,
                                                                   std::string body,
                                                                   Arrival arrival);

}  // namespace deltaserve
