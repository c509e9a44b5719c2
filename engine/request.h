// What a client asks of the engine and what it gets back, free of any transport.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace deltaserve {

struct SamplingParams {
  float temperature = 1;  // 0 = greedy
  int32_t top_k = 0;      // 0 = all
  float top_p = 1;
  float min_p = 0;
  uint64_t seed = 0;  // with (choice, position) it fixes every draw, whatever else runs
};

struct GenerateRequest {
  std::string id;               // for logs
  std::vector<int32_t> prompt;  // at least one token, each inside the vocabulary
  SamplingParams sampling;
  uint32_t choice = 0;                  // of n
  int64_t max_tokens = 16;              // 0 = read the prompt only
  std::vector<std::string> stop;        // not part of the text that is returned
  std::vector<int32_t> stop_token_ids;  // likewise
  bool ignore_eos = false;
  int32_t logprobs = -1;         // most likely tokens to report per token, -1 = no logprobs
  int32_t prompt_logprobs = -1;  // the same for the prompt's tokens
};

enum class FinishReason : uint8_t {
  kNone,       // goes on
  kStop,       // EOS, a stop string or a stop token
  kLength,     // max_tokens
  kCancelled,  // by the reader, or the engine stopped at once
  kError,      // the step failed; the stream's status says why
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
  // With kStop: the string or the token that matched; both empty for EOS.
  std::string stop_string;
  int32_t stop_token = -1;
};

}  // namespace deltaserve
