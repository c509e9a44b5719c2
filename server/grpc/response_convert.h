// What the engine made, as messages of the gRPC interface. Pure functions.
#pragma once
#include <cstddef>
#include <cstdint>

#include "deltaserve.pb.h"
#include "engine/engine.h"
#include "server/openai_api.h"

namespace deltaserve {

// An update of one choice that is being sent, in one message or, with many prompt
// log-probabilities, in several.
struct PendingUpdate {
  TokenUpdate update;
  size_t prompt_logprobs_sent = 0;
};

// Fills `response` with the next part of `pending`, of about `max_entries` log-probabilities. True:
// nothing is left of it.
bool next_response(const ServedModel& model, int32_t index, int64_t max_entries,
                   PendingUpdate* pending, v1::GenerateResponse* response);

void fill_model(const ServedModel& model, const ServerLimits& limits, const EngineStats& stats,
                v1::Model* message);

}  // namespace deltaserve
