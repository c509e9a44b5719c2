#include "engine/request_check.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/limits.h"
#include "engine/text_emitter.h"
#include "kernels/ops.h"

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
    return invalid("prompt has ", num_tokens, " tokens, at most ", bounds.max_prompt_tokens,
                   " are served");
  }
  for (const int32_t token : request.prompt) {
    if (token < 0 || token >= bounds.vocab_size) {
      return invalid("prompt has token ", token, ", outside the vocabulary of ", bounds.vocab_size);
    }
  }
  return absl::OkStatus();
}

absl::Status check_sampling(const SamplingParams& sampling) {
  // Written so that NaN fails.
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
  if (request.logprobs < -1 || request.logprobs > kMaxTopLogprobs) {
    return invalid("logprobs is ", request.logprobs, ", not in [-1, ", kMaxTopLogprobs, "]");
  }
  if (request.prompt_logprobs < -1 || request.prompt_logprobs > kMaxTopLogprobs) {
    return invalid("prompt_logprobs is ", request.prompt_logprobs, ", not in [-1, ",
                   kMaxTopLogprobs, "]");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status check_request(const GenerateRequest& request, const RequestBounds& bounds) {
  absl::Status status = check_prompt(request, bounds);
  status.Update(check_counts(request));
  status.Update(check_sampling(request.sampling));
  status.Update(check_stop(request, bounds));
  return status;
}

}  // namespace deltaserve
