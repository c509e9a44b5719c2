// One request that generates, over HTTP, as the bytes of its reply. It knows no connection.
#pragma once
#include <string>

#include "server/base/api_error.h"
#include "server/observe/log.h"
#include "server/openai/response.h"

namespace deltaserve {

// Thread safety: one thread at a time.
class AnswerJob {
 public:
  enum class State { kRunning, kDone, kFailed };

  virtual ~AnswerJob() = default;

  virtual bool streaming() const = 0;
  // Takes what the engine has produced so far. A streaming job appends its events to `out`, the
  // last ones with kDone or kFailed; otherwise the reply is appended as one object, with kDone.
  // After kFailed, error() says why.
  virtual State poll(std::string* out) = 0;
  virtual const ApiError& error() const = 0;
  // Adds the fields for the access log.
  virtual void describe(LogFields* fields) const = 0;
};

}  // namespace deltaserve
