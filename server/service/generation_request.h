// A request for answers: what is continued, and how. Every front fills one, and from then on nobody
// asks which front it was. Pure functions, safe on any input and from any thread.
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
  // Whether the answer is held until its reply is written: that bounds its log-probabilities.
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
  // A chat has one prompt, and these. There are no marks where the server keeps no snapshots.
  std::vector<PrefixMark> marks;
  std::unique_ptr<ChatRenderer> chat;
  bool truncated = false;                           // a prompt is not all that was sent
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

// Returns the ids of a text. `bos`: what the model wants around a prompt, such as its BOS, is
// there. `split`: special tokens in it are text; absent: as the server is set. INVALID_ARGUMENT or
// RESOURCE_EXHAUSTED: the tokenizer cannot encode the text.
absl::StatusOr<std::vector<int32_t>> encode_text(const ServedModel& model, const std::string& text,
                                                 bool bos, const std::optional<bool>& split = {});

}  // namespace deltaserve
