// One request that generates, over HTTP, as the bytes of its reply. It knows no connection.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "server/base/api_error.h"
#include "server/observe/log.h"
#include "server/service/generation.h"

namespace deltaserve {

// After a job was read, call submit() once, and then poll() until it is done.
//
// Thread safety: one thread at a time.
class AnswerJob {
 public:
  enum class State { kRunning, kDone, kFailed };

  virtual ~AnswerJob() = default;

  bool streaming() const { return generation_.parameters().stream; }
  SteadyTime deadline() const { return generation_.deadline(); }
  // Returns whether submit() would compile a grammar. Then run it with Workers::post_compiling().
  bool must_compile() const { return generation_.must_compile(); }
  // Submits the request to the engine. `notify` may be called on the engine thread, when poll() has
  // something to do.
  [[nodiscard]] std::optional<ApiError> submit(const std::function<void()>& notify) {
    return generation_.submit(notify);
  }

  // Takes what the engine has produced so far. A streaming job appends its events to `out`, the
  // last ones with kDone or kFailed; otherwise the reply is appended as one object, with kDone.
  // After kFailed, error() says why.
  virtual State poll(std::string* out) = 0;
  const ApiError& error() const { return *generation_.error(); }

  // Adds the fields for the access log.
  void describe(LogFields* fields) const {
    fields->text("completion_id", id_);
    generation_.describe(fields);
  }
  void describe(RequestSpan* span) const { generation_.describe(span); }

 protected:
  AnswerJob(Services& services, GenerationRequest request, Arrival arrival)
      : id_(arrival.id), generation_(services, std::move(request), std::move(arrival)) {}

  const std::string id_;
  Generation generation_;
};

}  // namespace deltaserve
