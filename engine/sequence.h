// One request on its way through the engine: its counters, its slot and what it has to tell its
// reader.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/request.h"
#include "engine/state_pool.h"
#include "engine/step_plan.h"
#include "engine/text_emitter.h"
#include "engine/token_stream.h"
#include "models/vocabulary.h"

namespace deltaserve {

enum class SequenceStatus : uint8_t {
  kWaiting,  // for a slot
  kPrefill,  // reads its prompt
  kDecode,   // one token a step
  kEnded,    // an update with a finish reason is ready
};

// The only writer of its counters. In a step: append_rows(), then commit() with the results, then
// publish().
//
// Thread safety: one thread at a time; handed from the submitting thread to the engine's.
class Sequence {
 public:
  // `vocabulary` and `eos_token_ids` must outlive the sequence; the request has been checked.
  Sequence(GenerateRequest request, const Vocabulary* vocabulary,
           const std::vector<int32_t>* eos_token_ids, std::shared_ptr<TokenStream> stream);

  SequenceStatus status() const { return status_; }
  int64_t num_prompt_tokens() const { return static_cast<int64_t>(request_.prompt.size()); }
  // Rows that went through the model.
  int64_t num_computed_tokens() const { return num_computed_tokens_; }
  int64_t num_generated_tokens() const { return num_generated_tokens_; }
  // Prompt tokens not yet read; 0 once it decodes.
  int64_t prompt_left() const;
  FinishReason finish() const { return finish_; }
  const TokenStream& stream() const { return *stream_; }

  void admit(StateSlot slot);
  // Ends it now; text that was held back is dropped.
  void end(FinishReason finish);
  // Idempotent.
  void release_slot() { slot_.release(); }

  // Appends a segment of `num_tokens` rows, and what is wanted of their logits.
  void append_rows(int num_tokens, StepPlan* plan, std::vector<HeadRow>* head_rows) const;
  // Takes the results of the rows that append_rows() asked for, from the front of `results`, and
  // returns the first that is not its own.
  const HeadResult* commit(int num_tokens, const HeadResult* results);
  // Pushes what commit() or end() prepared.
  void publish();

 private:
  bool wants_target(int64_t position) const;
  bool wants_sample(int64_t position) const;
  void accept_token(const HeadResult& result);

  const GenerateRequest request_;
  const Vocabulary* const vocabulary_;
  const std::vector<int32_t>* const eos_token_ids_;
  const std::shared_ptr<TokenStream> stream_;
  TextEmitter emitter_;
  SequenceStatus status_ = SequenceStatus::kWaiting;
  StateSlot slot_;
  int64_t num_computed_tokens_ = 0;
  int64_t num_generated_tokens_ = 0;
  int32_t last_token_ = -1;  // generated, to be fed next
  FinishReason finish_ = FinishReason::kNone;
  TokenUpdate update_;  // since the last publish()
};

}  // namespace deltaserve
