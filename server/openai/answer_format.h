// The differences between the endpoints that generate: how their bodies are read, and how an answer
// is written.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/base/api_error.h"
#include "server/base/limits.h"
#include "server/base/served_model.h"
#include "server/openai/response.h"
#include "server/service/generation_request.h"

namespace deltaserve {

// A StreamPart is the next part of a stream about one choice.
struct StreamPart {
  ChoicePart content;
  bool first = false;  // this is the first part of the choice
  bool empty = false;  // `content` has only the end of the choice
  bool ended = false;  // this is the last part of the choice
};

// Stateless and thread-safe.
class AnswerFormat {
 public:
  virtual ~AnswerFormat() = default;

  // Fills `request`, or returns the error to report.
  virtual std::optional<ApiError> parse(std::string_view json, const ServedModel& model,
                                        const ServerLimits& limits,
                                        GenerationRequest* request) const = 0;
  // Begins the ids of replies, such as "cmpl".
  virtual std::string_view id_prefix() const = 0;
  // Returns the member `object` of a reply, or of the chunks of a stream.
  virtual std::string_view object(bool stream) const = 0;
  // Returns true for a chat: it has one prompt, which is described at the top of its reply, and its
  // streams begin with a chunk that has the role and no text.
  virtual bool is_chat() const = 0;
  virtual std::unique_ptr<LogprobsBuilder> logprobs() const = 0;
  // Appends the JSON of a whole choice.
  virtual void append_choice(std::string* out, const ChoicePart& choice) const = 0;
  // Returns the choice in each of the chunks that carry `part`.
  virtual std::vector<std::string> chunks(StreamPart part) const = 0;
};

const AnswerFormat& completions_format();
const AnswerFormat& chat_format();

}  // namespace deltaserve
