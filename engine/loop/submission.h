// The part of a submission that needs no lock: requests are checked, and get their streams and
// groups.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/doorbell.h"
#include "engine/sequence/request.h"
#include "engine/sequence/request_check.h"
#include "engine/sequence/sequence.h"
#include "engine/sequence/sequence_group.h"
#include "engine/sequence/token_stream.h"

namespace deltaserve {

using TokenStreams = std::vector<std::shared_ptr<TokenStream>>;

struct StreamSettings {
  size_t capacity = 0;           // in updates
  std::function<void()> notify;  // see TokenStream
  std::shared_ptr<Doorbell> engine;
};

// All prompts of one request. Several prompts are a list, whose id is its arrival number.
struct Submission {
  TokenStreams streams;                                // of the first prompt's choices first
  std::vector<std::unique_ptr<SequenceGroup>> groups;  // one a prompt
};

// Returns INVALID_ARGUMENT, which names the field, if the engine cannot serve one of the requests,
// and DEADLINE_EXCEEDED if a deadline is not after `time`.
absl::Status check_submission(const std::vector<GenerateRequest>& requests, int num_choices,
                              const RequestBounds& bounds, SteadyTime time);

// The requests must have been checked. `context` must outlive the groups.
Submission make_submission(std::vector<GenerateRequest> requests, int num_choices,
                           const SequenceContext* context, const StreamSettings& settings,
                           SteadyTime time, uint64_t arrival);

// Returns pointers to the streams that cancel a choice when its reader drops the last of them. The
// engine holds references of its own.
TokenStreams cancelled_when_dropped(TokenStreams streams);

}  // namespace deltaserve
