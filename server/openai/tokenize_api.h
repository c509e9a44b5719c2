// POST /tokenize and /detokenize: the server's tokenizer for clients. Pure functions, safe on any
// input and from any thread.
#pragma once
#include <string>
#include <string_view>
#include <variant>

#include "server/base/api_error.h"
#include "server/base/limits.h"
#include "server/base/served_model.h"

namespace deltaserve {

// {"prompt": text} or {"messages": [..]} with the parameters of a chat prompt; add_special_tokens
// (default: true for a prompt, false for messages) puts BOS in front as completions do,
// return_token_strs adds the pieces. Returns
// {"count":..,"max_model_len":null,"tokens":[..],"token_strs":[..] or null}.
std::variant<std::string, ApiError> tokenize(std::string_view json, const ServedModel& model,
                                             const ServerLimits& limits);

// {"tokens": [..]}. Returns {"prompt": text}; bytes that are not UTF-8 become U+FFFD.
std::variant<std::string, ApiError> detokenize(std::string_view json, const ServedModel& model,
                                               const ServerLimits& limits);

}  // namespace deltaserve
