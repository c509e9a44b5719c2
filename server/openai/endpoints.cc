#include "server/openai/endpoints.h"

#include "server/base/request_json.h"
#include "server/openai/embeddings_api.h"
#include "server/openai/messages_api.h"
#include "server/openai/responses_api.h"
#include "server/openai/tokenize_api.h"

namespace deltaserve {

namespace {

// Drops the snapshots of the owner's prompts, and what would be read ahead for more of them. The
// body is empty, or {}.
std::optional<ApiError> clear_cache(std::string_view body, Services& services,
                                    const PrefixOwner& owner) {
  RequestBody none;
  if (!body.empty()) {
    if (auto error = read_request_body(body, {}, services.limits, &none)) return error;
  }
  services.read_aheads.drop(owner);
  services.engine.clear_prefixes(owner);
  return std::nullopt;
}

}  // namespace

std::span<const PostEndpoint> post_endpoints() {
  constexpr std::string_view kMessagesError = "\"type\":\"error\",";
  static constexpr PostEndpoint kEndpoints[] = {
      {.path = "/v1/completions", .format = completions_format},
      {.path = "/v1/chat/completions", .format = chat_format},
      {.path = "/v1/embeddings", .job = read_embeddings},
      {.path = "/v1/responses", .turn = read_responses_request},
      {.path = "/v1/messages", .turn = read_messages_request, .error_members = kMessagesError},
      {.path = "/v1/messages/count_tokens",
       .reply = count_message_tokens,
       .error_members = kMessagesError},
      {.path = "/tokenize", .reply = tokenize},
      {.path = "/detokenize", .reply = detokenize},
      {.path = "/cache/clear", .action = clear_cache},
  };
  return kEndpoints;
}

}  // namespace deltaserve
