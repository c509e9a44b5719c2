// One request from its prompts to its last token, for every front. Generation encodes and submits
// the prompts, and counts the engine's updates and hands them out one at a time. At the end it has
// the usage, the error and the fields for the log. A front only puts the updates into its own
// frames.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/loop/engine.h"
#include "server/base/api_error.h"
#include "server/base/memory_budget.h"
#include "server/observe/log.h"
#include "server/observe/metrics.h"
#include "server/observe/request_span.h"
#include "server/service/generation_request.h"
#include "server/service/services.h"
#include "server/service/usage.h"
#include "server/tools/answer_delta.h"
#include "server/tools/answer_parser.h"

namespace deltaserve {

// An Arrival says how a request reached the server.
struct Arrival {
  std::string id;                           // for the engine and its log
  PrefixOwner owner{};                      // whose snapshots its prompts may begin with
  SteadyTime time;                          // of its first byte
  SteadyTime deadline = SteadyTime::max();  // of the transport; a parameter may set an earlier one
  MemoryBudget::Lease lease = MemoryBudget::Lease();  // covers its bytes; kept until its end
};

// The choices of all prompts are numbered in a row, n for each prompt.
//
// Thread safety: one thread at a time.
class Generation {
 public:
  // New tokens and text of one choice.
  struct Part {
    size_t choice = 0;
    TokenUpdate update;  // its finish is kNone, kStop or kLength
    // The pieces of the answer for the client: the text as it is or, in a chat, parsed.
    std::vector<AnswerDelta> deltas = {};
    bool stopped_for_calls = false;  // with kStop: the answer ends with tool calls
  };

  // `services` must outlive it.
  Generation(Services& services, GenerationRequest request, Arrival arrival);
  // Cancels what still runs.
  ~Generation();
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;

  // Call encode(), then submit(): both are heavy for large requests, never for an I/O thread.
  // Errors end the request, and so does its deadline while it is encoded.
  [[nodiscard]] std::optional<ApiError> encode();
  // Returns the earlier one of the transport's deadline and the request's own.
  SteadyTime deadline() const;
  // Returns whether submit() would compile a grammar. Then run it with Workers::post_compiling().
  bool must_compile() const;
  // These are valid between encode() and submit(): the token ids of each prompt, and the texts that
  // were sent, if any.
  const std::vector<std::vector<int32_t>>& prompts() const { return encoded_.ids; }
  const std::vector<std::string>& texts() const { return request_.text_prompts; }
  // `notify` may be called on the engine thread, when next() may have something.
  [[nodiscard]] std::optional<ApiError> submit(const std::function<void()>& notify);

  const GenerationParameters& parameters() const { return request_.parameters; }
  size_t num_choices() const { return choices_.size(); }

  // Returns the next part of some choice; choices take turns. Returns nullopt if none has a new
  // part, all are done, or there is an error. A choice whose parts are not taken for long pauses.
  std::optional<Part> next();
  bool done() const { return running_ == 0; }
  // Sets how many bytes of the answer wait to be sent: those that next() returned and the client
  // has not taken. Returns false if replies hold too much memory; then error() says so, and all
  // choices end.
  [[nodiscard]] bool hold_reply(uint64_t bytes);
  // Returns why the request ended before it was done.
  const std::optional<ApiError>& error() const { return error_; }

  Usage usage() const;
  Timings timings() const;
  // Adds tokens, times, how the choices ended, `user` and `metadata`, for the log.
  void describe(LogFields* fields) const;
  // Names the span and adds the attributes of OpenTelemetry's conventions for generative models.
  void describe(RequestSpan* span) const;

 private:
  struct Choice {
    std::shared_ptr<TokenStream> stream;
    RequestMetrics metrics;
    int64_t prompt_tokens = 0;  // the prompt's tokens in its first choice, else 0
    int64_t reused_tokens = 0;
    int64_t generated_tokens = 0;
    std::unique_ptr<AnswerParser> parser = nullptr;  // null: all is content
    std::string held_reasoning = {};                 // reasoning that is sent when it is complete
    std::string reasoning = {};                      // all of it, until the end
    int64_t reasoning_tokens = 0;                    // once it has ended
    double queue_seconds = 0;
    bool ended = false;
  };

  std::optional<ApiError> make_constraint();
  void begin_conversation();
  void follow(const TokenUpdate& update, Choice* choice);
  void parse(Choice* choice, Part* part);
  void count_reasoning(const Part& part, Choice* choice) const;
  void offer_read_ahead();
  void cancel_choices();

  Services& services_;
  GenerationRequest request_;
  const Arrival arrival_;
  EncodedPrompts encoded_;                    // until submit()
  std::optional<Conversation> conversation_;  // for a read-ahead, if there will be one
  std::vector<Choice> choices_;
  std::atomic<bool> ended_for_memory_{false};
  size_t running_ = 0;  // choices that have not ended
  size_t turn_ = 0;     // the choice that is asked next
  bool holds_reasoning_ = false;
  int64_t prompt_tokens_ = 0;
  std::optional<ApiError> error_;
  MemoryBudget::Lease reply_lease_;
  uint64_t request_bytes_ = 0;
  LargeRequests::Entry entry_;  // last: it ends what is above
};

}  // namespace deltaserve
