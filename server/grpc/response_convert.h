// Converts updates of the engine to messages of the gRPC interface. Pure functions.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "deltaserve.pb.h"
#include "engine/loop/engine.h"
#include "server/base/limits.h"
#include "server/base/served_model.h"
#include "server/service/generation.h"

namespace deltaserve {

// A part of a generation that is being sent, in one message or, with many prompt log-probabilities,
// in several.
struct PendingPart {
  Generation::Part part;
  bool first = false;  // of its choice
  size_t prompt_logprobs_sent = 0;
};

// Fills `response` with the next piece of `pending`, of about `max_entries` log-probabilities.
// True: nothing is left of it.
bool next_response(const ServedModel& model, int64_t max_entries, PendingPart* pending,
                   v1::GenerateResponse* response);
bool next_response(const ServedModel& model, int64_t max_entries, PendingPart* pending,
                   v1::ChatResponse* response);

// Fills `response` with the embeddings of all inputs, [inputs][hidden size].
void fill_embeddings(const std::vector<std::vector<float>>& embeddings,
                     v1::EmbedResponse* response);

void fill_usage(const Usage& usage, v1::Usage* message);
void fill_timings(const Timings& timings, v1::Timings* message);

void fill_model(const ServedModel& model, const ServerLimits& limits, const EngineStats& stats,
                v1::Model* message);

}  // namespace deltaserve
