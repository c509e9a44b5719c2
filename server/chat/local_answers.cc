// Answers of an engine in this process, through the same requests as over HTTP.
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <utility>
#include <variant>

#include "models/base/text.h"
#include "server/chat/answer_source.h"
#include "server/openai/answer_format.h"
#include "server/openai/completion_job.h"
#include "server/service/services.h"

namespace deltaserve {
namespace {

absl::Status status_of(const ApiError& error) {
  return invalid_argument(error.message);
}

// Remembers that the engine has new updates.
class Bell {
 public:
  void ring() {
    {
      const std::lock_guard lock(mutex_);
      rung_ = true;
    }
    changed_.notify_one();
  }

  // Returns if the bell was rung since the last call, or after a short time.
  void wait() {
    constexpr std::chrono::milliseconds kPatience{50};
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kPatience, [this] { return rung_; });
    rung_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool rung_ = false;  // guarded by mutex_
};

class LocalAnswers final : public AnswerSource {
 public:
  explicit LocalAnswers(Services* services) : services_(*services) {}

  absl::Status ask(const std::string& body, const std::atomic<bool>& stop,
                   const Take& take) override {
    Arrival arrival;
    arrival.time = std::chrono::steady_clock::now();
    auto read = CompletionJob::read(services_, chat_format(), body, std::move(arrival));
    if (const auto* error = std::get_if<ApiError>(&read)) return status_of(*error);
    const auto& job = std::get<std::unique_ptr<AnswerJob>>(read);
    // The engine may ring after the job has ended.
    const auto bell = std::make_shared<Bell>();
    if (const auto error = job->submit([bell] { bell->ring(); })) return status_of(*error);
    for (;;) {
      std::string events;
      const AnswerJob::State state = job->poll(&events);
      if (state == AnswerJob::State::kFailed) return status_of(job->error());
      if (!events.empty() && !take(events)) return absl::CancelledError();
      if (state == AnswerJob::State::kDone) return absl::OkStatus();
      if (stop) return absl::CancelledError();
      if (events.empty()) bell->wait();
    }
  }

  std::string model() const override { return services_.model.name; }

 private:
  Services& services_;
};

}  // namespace

std::unique_ptr<AnswerSource> local_answers(Services* services) {
  return std::make_unique<LocalAnswers>(services);
}

}  // namespace deltaserve
