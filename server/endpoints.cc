#include "server/endpoints.h"

#include "server/tokenize_api.h"

namespace deltaserve {

std::span<const PostEndpoint> post_endpoints() {
  static constexpr PostEndpoint kEndpoints[] = {
      {.path = "/v1/completions", .format = completions_format},
      {.path = "/v1/chat/completions", .format = chat_format},
      {.path = "/tokenize", .reply = tokenize},
      {.path = "/detokenize", .reply = detokenize},
  };
  return kEndpoints;
}

}  // namespace deltaserve
