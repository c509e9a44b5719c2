#include "engine/sequence/request.h"

namespace deltaserve {

GenerateRequest GenerateRequest::clone() const {
  // One name is bound for every member, so that a new member does not compile until it is copied
  // here.
  const auto& [id_, prompt_, sampling_, choice_, max_tokens_, stop_, stop_token_ids_, ignore_eos_,
               include_stop_, show_control_tokens_, min_tokens_, constraint_, priority_, reuse_,
               deadline_, logprobs_, prompt_logprobs_, pooling_] = *this;
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
          logprobs_,
          prompt_logprobs_,
          pooling_};
}

}  // namespace deltaserve
