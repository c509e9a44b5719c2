// A request to the engine and its answer, independent of any transport.
#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/reuse/reuse.h"
#include "engine/sequence/pooling.h"
#include "engine/sequence/token_constraint.h"

namespace deltaserve {

// Deadlines and durations use this clock.
using SteadyTime = std::chrono::steady_clock::time_point;

struct SamplingParams {
  float temperature = 1;  // 0 = greedy
  int32_t top_k = 0;      // 0 = all
  float top_p = 1;
  float min_p = 0;
  uint64_t seed = 0;  // with (choice, position) it determines every draw, whatever else runs
  // Changes of the logits, applied before anything else and in this order. The repetition penalty
  // counts tokens of prompt and answer: for each token that occurred, a positive logit is divided,
  // a negative one multiplied. The next two count the answer's tokens only.
  float repetition_penalty = 1;
  float presence_penalty = 0;                         // subtracted once if the token occurred
  float frequency_penalty = 0;                        // subtracted for each occurrence
  std::vector<std::pair<int32_t, float>> logit_bias;  // (token, added value); ids are distinct
};

// One request. Move-only because of the constraint; clone() copies the constraint too.
struct GenerateRequest {
  std::string id;               // for logs
  std::vector<int32_t> prompt;  // at least one token, each inside the vocabulary
  SamplingParams sampling;
  uint32_t choice = 0;                  // index of the answer, or of the first of several
  int64_t max_tokens = 16;              // 0 = read the prompt only
  std::vector<std::string> stop;        // removed from the returned text
  std::vector<int32_t> stop_token_ids;  // also removed
  bool ignore_eos = false;
  bool include_stop =
      false;  // true: the returned text includes the stop string or the stop token's text
  bool show_control_tokens = false;  // the returned text has their names
  // For this many tokens, EOS and stop tokens are banned and no stop string may begin in the text.
  // An answer whose constraint allows only the end stops earlier.
  int64_t min_tokens = 0;
  // Restricts the tokens that may come next; null allows any. Must not be shared with another
  // request. With ignore_eos the answer ends when the constraint allows only the end.
  std::unique_ptr<TokenConstraint> constraint;
  int32_t priority = 0;  // smaller goes first among requests that wait for a slot
  PrefixReuse reuse;
  SteadyTime deadline = SteadyTime::max();
  uint64_t list = 0;      // the list that it is submitted in, which the engine numbers; 0 = none
  int32_t logprobs = -1;  // most likely tokens to report per token, -1 = no logprobs
  int32_t prompt_logprobs = -1;  // the same for the prompt's tokens
  // Otherwise than kNone, the answer is the prompt's embedding and has no tokens.
  Pooling pooling = Pooling::kNone;

  GenerateRequest clone() const;
};

enum class FinishReason : uint8_t {
  kNone,       // not finished
  kStop,       // EOS, a stop string, a stop token, or a constraint that is fulfilled; the embedding
               // is done
  kLength,     // max_tokens was reached
  kCancelled,  // the reader cancelled, or the engine was stopped
  kDeadline,   // the request's deadline passed, in the queue or in a slot
  kError,      // internal error: the constraint allowed no token and was not fulfilled
  kUnread,     // the reader took nothing for long while others waited for its slot
  kNotFinite,  // the model computed logits that are not finite: its weights overflow, most likely
};

struct TokenLogprob {
  int32_t token = -1;
  float logprob = 0;
  std::vector<std::pair<int32_t, float>> top;  // most likely first
};

// A generated token without text.
struct ControlToken {
  int64_t text_bytes = 0;  // its place: behind so many bytes of the text of the whole answer
  int32_t token = -1;
};

// The results that one or more steps add to a request.
struct TokenUpdate {
  std::string text;                           // whole UTF-8 characters; may lag behind `tokens`
  std::vector<ControlToken> controls;         // may be ahead of `text`; EOS is none of them
  std::vector<int32_t> tokens;                // generated
  std::vector<TokenLogprob> logprobs;         // one per token, if asked
  std::vector<TokenLogprob> prompt_logprobs;  // for the next prompt tokens, from the second on
  std::vector<float> embedding;               // with the end, if asked
  int64_t prompt_tokens_read = 0;             // so far, with those that were reused
  int64_t prompt_tokens_reused = 0;           // from a kept state: none of their rows were computed
  int64_t tokens_generated = 0;               // so far
  FinishReason finish = FinishReason::kNone;
  // With kStop, the string or the token that matched; both are empty for EOS and for a constraint.
  std::string stop_string;
  int32_t stop_token = -1;
  // With any finish reason, the durations of the request's phases in seconds. A phase that was not
  // reached is 0; one that was not finished counts up to the end.
  double queue_seconds = 0;    // from submit to a slot
  double prefill_seconds = 0;  // from the slot to the first token
  double decode_seconds = 0;   // from the first token to the last
};

// Returns about how many bytes an update holds.
size_t held_bytes(const TokenUpdate& update);

}  // namespace deltaserve
