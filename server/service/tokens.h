// Text to token ids and back, for clients. Pure functions, safe on any input and from any thread.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "server/base/api_error.h"
#include "server/base/limits.h"
#include "server/base/served_model.h"
#include "server/service/chat_prompt.h"

namespace deltaserve {

struct TokenizeRequest {
  std::optional<std::string> model;
  // Exactly one of the two is given.
  std::optional<std::string> prompt;
  std::optional<ChatPrompt> chat;
  // Puts BOS in front, as completions do. Default: true for a prompt, false for messages, whose
  // template writes it.
  std::optional<bool> add_special_tokens;
  // Special tokens in the prompt are text. Default: as the server is set.
  std::optional<bool> split_special_tokens;
};

struct DetokenizeRequest {
  std::optional<std::string> model;
  std::vector<int32_t> tokens;
  bool skip_special_tokens = false;  // leaves the text of special tokens out
};

// Turns text into ids.
std::variant<std::vector<int32_t>, ApiError> tokenize(TokenizeRequest request,
                                                      const ServedModel& model,
                                                      const ServerLimits& limits);

// Turns ids into text. Bytes that are no UTF-8 become U+FFFD.
std::variant<std::string, ApiError> detokenize(const DetokenizeRequest& request,
                                               const ServedModel& model,
                                               const ServerLimits& limits);

}  // namespace deltaserve
