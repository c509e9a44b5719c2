// ServedModel tells the fronts about the model that is served.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "models/tokenizer/tokenizer.h"

namespace deltaserve {

class ChatTemplate;
class GrammarCache;

// Constant; outlives every request.
struct ServedModel {
  std::string name;
  int64_t created = 0;  // Unix seconds
  int64_t vocab_size = 0;
  const Tokenizer* tokenizer = nullptr;  // null: token-id prompts only
  int32_t bos_to_prepend = -1;           // to text prompts; -1 = none
  int64_t slots = 1;                     // sequences that run at once
  int64_t snapshots = 0;                 // states of prompts that can be kept; 0: none are reused
  uint64_t state_bytes = 0;              // of one sequence
  std::vector<int32_t> eos_token_ids;
  // Structured outputs use it, for the tokenizer's vocabulary; null without a tokenizer.
  std::shared_ptr<GrammarCache> grammars;
  // Chat uses it; null: the model has no template. The texts are what the template's variables
  // bos_token and eos_token hold.
  const ChatTemplate* chat_template = nullptr;
  std::string bos_token;
  std::string eos_token;
  bool allow_request_template = false;  // requests may bring a template of their own
};

}  // namespace deltaserve
