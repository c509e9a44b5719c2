#include "engine/sequence/request_check.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/limits.h"
#include "engine/sequence/text_emitter.h"
#include "kernels/program/step.h"

namespace deltaserve {
namespace {

template <typename... Parts>
absl::Status invalid(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat(parts...));
}

absl::Status check_prompt(const GenerateRequest& request, const RequestBounds& bounds) {
  const auto num_tokens = static_cast<int64_t>(request.prompt.size());
  if (num_tokens == 0) return invalid("prompt has no tokens");
  if (num_tokens > bounds.max_prompt_tokens) {
    return invalid("prompt has ", num_tokens, " tokens, but at most ", bounds.max_prompt_tokens,
                   " are allowed");
  }
  for (const int32_t token : request.prompt) {
    if (token < 0 || token >= bounds.vocab_size) {
      return invalid("prompt has token ", token, ", outside the vocabulary of ", bounds.vocab_size);
    }
  }
  return absl::OkStatus();
}

bool is_within(float value, float bound) {
  return value >= -bound && value <= bound;  // false for NaN
}

absl::Status check_penalties(const SamplingParams& sampling) {
  using engine_limits::kPenalty;
  using engine_limits::kRepetitionPenalty;
  if (!(sampling.repetition_penalty > 0 && sampling.repetition_penalty <= kRepetitionPenalty)) {
    return invalid("repetition_penalty is ", sampling.repetition_penalty, ", not in (0, ",
                   kRepetitionPenalty, "]");
  }
  if (!is_within(sampling.presence_penalty, kPenalty)) {
    return invalid("presence_penalty is ", sampling.presence_penalty, ", not in [", -kPenalty, ", ",
                   kPenalty, "]");
  }
  if (!is_within(sampling.frequency_penalty, kPenalty)) {
    return invalid("frequency_penalty is ", sampling.frequency_penalty, ", not in [", -kPenalty,
                   ", ", kPenalty, "]");
  }
  return absl::OkStatus();
}

absl::Status check_logit_bias(const SamplingParams& sampling, const RequestBounds& bounds) {
  using engine_limits::kLogitBias;
  if (sampling.logit_bias.size() > engine_limits::kLogitBiases) {
    return invalid("logit_bias has ", sampling.logit_bias.size(), " entries, more than ",
                   engine_limits::kLogitBiases);
  }
  std::vector<int32_t> tokens;
  for (const auto& [token, bias] : sampling.logit_bias) {
    if (token < 0 || token >= bounds.vocab_size) {
      return invalid("logit_bias has token ", token, ", outside the vocabulary of ",
                     bounds.vocab_size);
    }
    if (!is_within(bias, kLogitBias)) {
      return invalid("logit_bias of token ", token, " is ", bias, ", not in [", -kLogitBias, ", ",
                     kLogitBias, "]");
    }
    tokens.push_back(token);
  }
  std::sort(tokens.begin(), tokens.end());
  const auto twice = std::adjacent_find(tokens.begin(), tokens.end());
  if (twice != tokens.end()) return invalid("logit_bias has token ", *twice, " twice");
  return absl::OkStatus();
}

absl::Status check_sampling(const SamplingParams& sampling) {
  // The condition is written so that NaN fails.
  if (!(sampling.temperature >= 0 && std::isfinite(sampling.temperature))) {
    return invalid("temperature is ", sampling.temperature, ", not finite and at least 0");
  }
  if (!(sampling.top_p > 0 && sampling.top_p <= 1)) {
    return invalid("top_p is ", sampling.top_p, ", not in (0, 1]");
  }
  if (!(sampling.min_p >= 0 && sampling.min_p <= 1)) {
    return invalid("min_p is ", sampling.min_p, ", not in [0, 1]");
  }
  if (sampling.top_k < 0) return invalid("top_k is ", sampling.top_k, ", not at least 0");
  return absl::OkStatus();
}

absl::Status check_stop(const GenerateRequest& request, const RequestBounds& bounds) {
  if (!request.stop.empty() && !bounds.has_text) {
    return invalid("stop has strings, but this model is served without a tokenizer");
  }
  if (request.stop.size() > engine_limits::kStopStrings) {
    return invalid("stop has ", request.stop.size(), " strings, more than ",
                   engine_limits::kStopStrings);
  }
  for (size_t i = 0; i < request.stop.size(); ++i) {
    const std::string& stop = request.stop[i];
    if (stop.empty()) return invalid("stop[", i, "] is empty");
    if (stop.size() > engine_limits::kStopStringBytes) {
      return invalid("stop[", i, "] has ", stop.size(), " bytes, more than ",
                     engine_limits::kStopStringBytes);
    }
    if (!is_valid_utf8(stop)) return invalid("stop[", i, "] is not valid UTF-8");
  }
  if (request.stop_token_ids.size() > engine_limits::kStopTokenIds) {
    return invalid("stop_token_ids has ", request.stop_token_ids.size(), " ids, more than ",
                   engine_limits::kStopTokenIds);
  }
  for (const int32_t token : request.stop_token_ids) {
    if (token < 0 || token >= bounds.vocab_size) {
      return invalid("stop_token_ids has ", token, ", outside the vocabulary of ",
                     bounds.vocab_size);
    }
  }
  return absl::OkStatus();
}

absl::Status check_counts(const GenerateRequest& request) {
  if (request.max_tokens < 0) return invalid("max_tokens is ", request.max_tokens);
  if (request.min_tokens < 0 || request.min_tokens > request.max_tokens) {
    return invalid("min_tokens is ", request.min_tokens,
                   ", not in [0, max_tokens = ", request.max_tokens, "]");
  }
  if (request.logprobs < -1 || request.logprobs > kMaxTopLogprobs) {
    return invalid("logprobs is ", request.logprobs, ", not in [-1, ", kMaxTopLogprobs, "]");
  }
  if (request.prompt_logprobs < -1 || request.prompt_logprobs > kMaxTopLogprobs) {
    return invalid("prompt_logprobs is ", request.prompt_logprobs, ", not in [-1, ",
                   kMaxTopLogprobs, "]");
  }
  return absl::OkStatus();
}

absl::Status check_pooling(const GenerateRequest& request, const RequestBounds& bounds) {
  if (request.pooling == Pooling::kNone) return absl::OkStatus();
  if (!bounds.can_pool) return invalid("pooling: the model tells no hidden states");
  if (request.max_tokens > 0 || request.prompt_logprobs >= 0) {
    return invalid("pooling: an embedding has no tokens and no log-probabilities");
  }
  return absl::OkStatus();
}

absl::Status check_reuse(const GenerateRequest& request) {
  const PrefixReuse& reuse = request.reuse;
  if (reuse.read_ahead && request.max_tokens > 0) {
    return invalid("max_tokens is ", request.max_tokens, ", but a read-ahead draws nothing");
  }
  if (reuse.marks.size() > engine_limits::kPrefixMarks) {
    return invalid("the prompt has ", reuse.marks.size(), " marks, more than ",
                   engine_limits::kPrefixMarks);
  }
  for (const PrefixMark& mark : reuse.marks) {
    if (mark.position < 0 || mark.position > static_cast<int64_t>(request.prompt.size())) {
      return invalid("a mark is at token ", mark.position, " of a prompt of ",
                     request.prompt.size());
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status check_request(const GenerateRequest& request, const RequestBounds& bounds) {
  absl::Status status = check_prompt(request, bounds);
  status.Update(check_counts(request));
  status.Update(check_sampling(request.sampling));
  status.Update(check_penalties(request.sampling));
  status.Update(check_logit_bias(request.sampling, bounds));
  status.Update(check_stop(request, bounds));
  status.Update(check_reuse(request));
  status.Update(check_pooling(request, bounds));
  return status;
}

absl::Status check_num_choices(int num_choices) {
  if (num_choices < 1 || num_choices > engine_limits::kChoices) {
    return invalid("n is ", num_choices, ", not in [1, ", engine_limits::kChoices, "]");
  }
  return absl::OkStatus();
}

}  // namespace deltaserve
