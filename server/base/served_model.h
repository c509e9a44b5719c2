// ServedModel tells the fronts about the model that is served.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/sequence/pooling.h"
#include "models/tokenizer/base/tokenizer.h"

namespace deltaserve {

class ChatTemplate;
class GrammarCache;
struct ChatConventions;

// Constant; outlives every request.
struct ServedModel {
  std::string name;
  int64_t created = 0;  // Unix seconds
  // The system_fingerprint of answers: "fp_" and hexadecimal digits that change whenever the bits
  // of answers may change.
  std::string fingerprint;
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;  // numbers of an embedding
  Pooling embedding_pooling = Pooling::kLast;
  const Tokenizer* tokenizer = nullptr;  // null: token-id prompts only
  int32_t bos_to_prepend = -1;           // to text prompts; -1 = none
  bool split_special_tokens = false;     // special tokens in text prompts are text
  int64_t slots = 1;                     // sequences that run at once
  int64_t snapshots = 0;                 // states of prompts that can be kept; 0: none are reused
  uint64_t state_bytes = 0;              // of one sequence
  // The bytes that a transformer with as many layers of the same width keeps for each token: keys
  // and values in bf16, without grouped heads.
  uint64_t transformer_bytes_per_token = 0;
  std::vector<int32_t> eos_token_ids;
  std::string tokenizer_info;  // what GET /tokenizer_info says; empty without a tokenizer
  // The compiled grammars of structured outputs, for the tokenizer's vocabulary; null without a
  // tokenizer.
  std::shared_ptr<GrammarCache> grammars;
  // The template of chats. It is null if the model has none, or none that can be used; then
  // chat_refusal says why. There may be one only for chats with tools.
  const ChatTemplate* chat_template = nullptr;
  const ChatTemplate* tool_chat_template = nullptr;  // for chats with tools; null: the same
  std::string chat_refusal;
  // The conventions of the two templates. Null stands for the defaults for a template that shows
  // none.
  const ChatConventions* chat_conventions = nullptr;
  const ChatConventions* tool_chat_conventions = nullptr;
  std::string tool_format = "auto";  // how answers are searched for tool calls: --tool-format
  // Templates see the named special tokens as variables ("bos_token"), the others as a list.
  std::map<std::string, std::string> special_tokens;
  std::vector<std::string> additional_special_tokens;
  bool allow_request_template = false;  // requests may bring a template of their own
};

}  // namespace deltaserve
