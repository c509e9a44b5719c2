// The tokens with which the next prompt of a conversation is expected to begin, as the template and
// the tokenizer would write them. These can differ from the tokens that were drawn.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/base/limits.h"
#include "server/base/served_model.h"
#include "server/service/chat_renderer.h"
#include "server/tools/answer_delta.h"

namespace deltaserve {

// A prompt and its answer.
struct Conversation {
  std::vector<int32_t> prompt;  // as it was computed
  // A chat has a renderer, a prompt of text its text, and one of token ids neither.
  std::unique_ptr<ChatRenderer> chat;
  std::optional<std::string> text;
  bool special_tokens = true;  // how the text was encoded, like the next: with BOS before it
  std::optional<bool> split_special_tokens;
  ParsedAnswer answer;  // the answer as the client got it, like the next
  std::vector<int32_t> answer_tokens;

  // Returns about how much memory it holds.
  size_t bytes() const;
};

// Returns the tokens, without those that depend on what the next prompt adds: of a chat, the common
// prefix with two different messages of a user; of a text, those that Tokenizer::final_ids()
// counts; token ids are taken as they are. Empty: the template or the tokenizer refuses the
// conversation, or nothing could be kept beyond what the prompt itself leaves. A pure function.
std::vector<int32_t> next_prompt_tokens(const ServedModel& model, const ServerLimits& limits,
                                        Conversation conversation);

}  // namespace deltaserve
