// Gets the answers of a conversation on the terminal, from an engine in this process or a server.
// Both speak the streaming chat completions of the OpenAI API.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace deltaserve {

class Services;

// Thread safety: one thread at a time.
class AnswerSource {
 public:
  // Gets the bytes of the event stream as they arrive; false: read no further.
  using Take = std::function<bool(std::string_view)>;

  virtual ~AnswerSource() = default;

  // Sends the body of a POST /v1/chat/completions and passes on its events. Returns CANCELLED if
  // `stop` became true or `take` returned false. Other errors say in a sentence why there is no
  // answer, or no more of it.
  virtual absl::Status ask(const std::string& body, const std::atomic<bool>& stop,
                           const Take& take) = 0;

  // Returns the name of the model.
  virtual std::string model() const = 0;
};

// `services` outlives the source.
std::unique_ptr<AnswerSource> local_answers(Services* services);

struct RemoteServer {
  std::string url;  // http(s)://HOST[:PORT][/PATH], with /v1 at the end or without
  std::string api_key;
  std::string model;  // empty: the first of /v1/models
};

// Asks the server for its models. Returns UNAVAILABLE or INVALID_ARGUMENT if it does not say what
// they are.
absl::StatusOr<std::unique_ptr<AnswerSource>> remote_answers(RemoteServer server);

}  // namespace deltaserve
