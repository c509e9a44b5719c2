// What a client asks of the engine and what it gets back, free of any transport.
#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/token_constraint.h"

namespace deltaserve {

// Of the clock that deadlines and durations are taken from.
using SteadyTime = std::chrono::steady_clock::time_point;

struct SamplingParams {
  float temperature = 1;  // 0 = greedy
  int32_t top_k = 0;      // 0 = all
  float top_p = 1;
  float min_p = 0;
  uint64_t seed = 0;  // with (choice, position) it fixes every draw, whatever else runs
  // Changes of the logits before anything else, in this order. The first counts tokens of prompt
  // and answer: a positive logit of a token that is there is divided, a negative one multiplied.
  // The next two count the answer's tokens only.
  float repetition_penalty = 1;
  float presence_penalty = 0;                         // subtracted once
  float frequency_penalty = 0;                        // subtracted for each time
  std::vector<std::pair<int32_t, float>> logit_bias;  // token, what is added; ids are distinct
};

// Move-only because of the constraint; clone() copies that too.
struct GenerateRequest {
  std::string id;               // for logs
  std::vector<int32_t> prompt;  // at least one token, each inside the vocabulary
  SamplingParams sampling;
  uint32_t choice = 0;                  // of n; the first of them where several are asked
  int64_t max_tokens = 16;              // 0 = read the prompt only
  std::vector<std::string> stop;        // not part of the text that is returned
  std::vector<int32_t> stop_token_ids;  // likewise
  bool ignore_eos = false;
  bool include_stop =
      false;  // a stop string that matched, or the text of a stop token, is returned
  // So many tokens are neither EOS nor a stop token, and no stop string begins in their text. An
  // answer that can only end, because of the constraint, ends earlier.
  int64_t min_tokens = 0;
  // Null: any token may come. Not shared with another request. With ignore_eos the answer ends
  // where the constraint leaves nothing but the end.
  std::unique_ptr<TokenConstraint> constraint;
  int32_t priority = 0;  // smaller goes first among those that wait for a slot
  SteadyTime deadline = SteadyTime::max();
  int32_t logprobs = -1;         // most likely tokens to report per token, -1 = no logprobs
  int32_t prompt_logprobs = -1;  // the same for the prompt's tokens

  GenerateRequest clone() const;
};

enum class FinishReason : uint8_t {
  kNone,       // goes on
  kStop,       // EOS, a stop string, a stop token or a constraint that is fulfilled
  kLength,     // max_tokens
  kCancelled,  // by the reader, or the engine stopped at once
  kDeadline,   // the request's deadline passed, in the queue or in a slot
  kError,      // a fault of the server's: the constraint had no way on and was not fulfilled
};

struct TokenLogprob {
  int32_t token = -1;
  float logprob = 0;
  std::vector<std::pair<int32_t, float>> top;  // most likely first
};

// What one step adds to a request.
struct TokenUpdate {
  std::string text;                           // whole UTF-8 characters; may lag behind `tokens`
  std::vector<int32_t> tokens;                // generated
  std::vector<TokenLogprob> logprobs;         // one per token, if asked
  std::vector<TokenLogprob> prompt_logprobs;  // for the next prompt tokens, from the second on
  int64_t prompt_tokens_read = 0;             // so far
  int64_t tokens_generated = 0;               // so far
  FinishReason finish = FinishReason::kNone;
  // With kStop: the string or the token that matched; both empty for EOS and for a constraint.
  std::string stop_string;
  int32_t stop_token = -1;
  // With any finish reason: where the time went, in seconds. What was not reached is 0, what was
  // not finished counts up to the end.
  double queue_seconds = 0;    // from submit to a slot
  double prefill_seconds = 0;  // from the slot to the first token
  double decode_seconds = 0;   // from the first token to the last
};

}  // namespace deltaserve
