#include "server/service/next_prompt.h"

#include <algorithm>

#include "kernels/mixer/delta_rule.h"
#include "server/service/generation_request.h"
#include "server/service/shared_prefix.h"

namespace deltaserve {
namespace {

// The texts begin differently, so that their first tokens differ.
constexpr const char* kNextMessages[] = {"a", "7"};

int64_t common_length(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

std::vector<int32_t> after_chat(const ServedModel& model, const ServerLimits& limits,
                                Conversation* conversation) {
  ChatRenderer& chat = *conversation->chat;
  chat.add_answer(conversation->answer);
  const auto one = chat.render_with_next(kNextMessages[0]);
  const auto other = chat.render_with_next(kNextMessages[1]);
  if (!one.ok() || !other.ok()) return {};
  absl::StatusOr<std::vector<int32_t>> ids = encode_parts(*model.tokenizer, *one);
  if (!ids.ok()) return {};
  SharedPrefix shared(*model.tokenizer, *one, *ids, limits.body_bytes);
  ids->resize(static_cast<size_t>(shared.tokens_shared_with(*other)));
  return *std::move(ids);
}

// The next prompt continues the text, so tokens that the tokenizer puts at the end of a text do not
// occur there.
std::vector<int32_t> after_text(const ServedModel& model, const Conversation& conversation) {
  const Tokenizer& tokenizer = *model.tokenizer;
  const std::string text = *conversation.text + conversation.answer.content;
  const bool split = conversation.split_special_tokens.value_or(model.split_special_tokens);
  const absl::StatusOr<size_t> count =
      split ? tokenizer.final_ids_as_text(text) : tokenizer.final_ids(text);
  absl::StatusOr<std::vector<int32_t>> ids = encode_text(model, text, /*bos=*/false, split);
  if (!count.ok() || !ids.ok()) return {};
  ids->resize(*count);
  if (!conversation.special_tokens) return *std::move(ids);
  ids->insert(ids->begin(), tokenizer.ids_before().begin(), tokenizer.ids_before().end());
  if (model.bos_to_prepend >= 0) ids->insert(ids->begin(), model.bos_to_prepend);
  return *std::move(ids);
}

// Returns the last grid point from which a prompt of `tokens` tokens can go on.
int64_t last_grid_point(int64_t tokens) {
  return std::max<int64_t>(tokens - 1, 0) / kChunkTokens * kChunkTokens;
}

}  // namespace

size_t Conversation::bytes() const {
  const size_t texts = text.value_or("").size() + (chat != nullptr ? chat->text_bytes() : 0);
  return texts + answer.bytes() + (prompt.size() + answer_tokens.size()) * sizeof(int32_t);
}

std::vector<int32_t> next_prompt_tokens(const ServedModel& model, const ServerLimits& limits,
                                        Conversation conversation) {
  std::vector<int32_t> ids;
  if (conversation.chat != nullptr) {
    ids = after_chat(model, limits, &conversation);
  } else if (conversation.text) {
    ids = after_text(model, conversation);
  } else {
    ids = conversation.prompt;
    ids.insert(ids.end(), conversation.answer_tokens.begin(), conversation.answer_tokens.end());
  }
  // The state of the prompt's last grid point is already kept.
  const int64_t kept = last_grid_point(static_cast<int64_t>(conversation.prompt.size()));
  const bool goes_on = common_length(conversation.prompt, ids) >= kept;
  const int64_t reached = last_grid_point(static_cast<int64_t>(ids.size()));
  if (reached == 0 || (goes_on && reached <= kept)) return {};
  return ids;
}

}  // namespace deltaserve
