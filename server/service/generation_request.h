// A request for answers: the prompts and the parameters. Every front fills one, and all code after
// that is the same for all fronts. Pure functions, safe on any input and from any thread.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/base/api_error.h"
#include "server/base/limits.h"
#include "server/base/served_model.h"
#include "server/service/chat_prompt.h"
#include "server/service/chat_renderer.h"
#include "server/service/parameters.h"
#include "server/service/rules.h"

namespace deltaserve {

struct GenerationRequest {
  Interface interface = Interface::kCompletions;
  // Errors name the prompt as the front spells it, as text and as token ids.
  std::string_view text_name = "prompt";
  std::string_view ids_name = "prompt";
  bool prompts_are_listed = false;  // "prompt[2]" is a prompt, though there may be one only
  // Is true if the whole answer is kept until its reply is written. Then the number of its
  // log-probabilities is limited.
  bool answer_is_held = true;
  // Exactly one of the three is given.
  std::vector<std::string> text_prompts = {};
  std::vector<std::vector<int32_t>> token_prompts = {};
  std::optional<ChatPrompt> chat = {};
  // complete_request() fills them.
  GenerationParameters parameters = {};

  size_t num_prompts() const {
    return text_prompts.size() + token_prompts.size() + (chat.has_value() ? 1 : 0);
  }
};

// Checks the prompts, as far as possible without encoding them, and `given`, and fills in the
// parameters.
[[nodiscard]] std::optional<ApiError> complete_request(Parameters given, const ServedModel& model,
                                                       const ServerLimits& limits,
                                                       GenerationRequest* request);

struct EncodedPrompts {
  std::vector<std::vector<int32_t>> ids;  // a list a prompt, none of them empty
  // These are set for a chat, which has one prompt. There are no marks if the server keeps no
  // snapshots.
  std::vector<PrefixMark> marks;
  std::unique_ptr<ChatRenderer> chat;
  bool truncated = false;                           // a prompt was cut
  std::shared_ptr<const AnswerRules> answer_rules;  // null: all of an answer is content
  std::shared_ptr<const AnswerDemand> demand;       // null: nothing
};

// Turns the prompts into token ids: texts are encoded with BOS in front if the model wants it, ids
// and messages are moved out of `request`. The texts stay, for echo, unless one of them is
// truncated. Refuses too many tokens, and more log-probabilities than may be held.
[[nodiscard]] std::optional<ApiError> encode_prompts(const ServedModel& model,
                                                     const ServerLimits& limits,
                                                     GenerationRequest* request,
                                                     EncodedPrompts* prompts);

// Returns the ids of a text. With `bos` the tokens that the model wants around a prompt, such as
// its BOS, are added. With `split` special tokens in the text are read as text; absent: the
// server's setting. Returns INVALID_ARGUMENT or RESOURCE_EXHAUSTED if the tokenizer cannot encode
// the text.
absl::StatusOr<std::vector<int32_t>> encode_text(const ServedModel& model, const std::string& text,
                                                 bool bos, const std::optional<bool>& split = {});

}  // namespace deltaserve
