#include "engine/sequence/request.h"

namespace deltaserve {

GenerateRequest GenerateRequest::clone() const {
  // One name is bound for every member, so that a new member does not compile until it is copied
  // here.
  const auto& [id_, prompt_, sampling_, choice_, max_tokens_, stop_, stop_token_ids_, ignore_eos_,
               include_stop_, show_control_tokens_, min_tokens_, constraint_, priority_, reuse_,
               deadline_, list_, logprobs_, prompt_logprobs_, pooling_] = *this;
  return {id_,
          prompt_,
          sampling_,
          choice_,
          max_tokens_,
          stop_,
          stop_token_ids_,
          ignore_eos_,
          include_stop_,
          show_control_tokens_,
          min_tokens_,
          constraint_ == nullptr ? nullptr : constraint_->clone(),
          priority_,
          reuse_,
          deadline_,
          list_,
          logprobs_,
          prompt_logprobs_,
          pooling_};
}

size_t held_bytes(const TokenUpdate& update) {
  size_t bytes = sizeof update + update.text.capacity() +
                 update.tokens.capacity() * sizeof(int32_t) +
                 update.controls.capacity() * sizeof(ControlToken);
  for (const std::vector<TokenLogprob>* list : {&update.logprobs, &update.prompt_logprobs}) {
    bytes += list->capacity() * sizeof(TokenLogprob);
    for (const TokenLogprob& token : *list) {
      bytes += token.top.capacity() * sizeof(token.top.front());
    }
  }
  return bytes;
}

}  // namespace deltaserve
