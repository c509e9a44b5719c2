#include "engine/loop/submission.h"

#include <utility>

namespace deltaserve {

absl::Status check_submission(const std::vector<GenerateRequest>& requests, int num_choices,
                              const RequestBounds& bounds, SteadyTime time) {
  absl::Status status = check_num_choices(num_choices);
  for (const GenerateRequest& request : requests) {
    status.Update(check_request(request, bounds));
    if (!status.ok()) return status;
    if (request.deadline <= time) {
      return absl::DeadlineExceededError("the request's deadline has already passed");
    }
  }
  return status;
}

Submission make_submission(std::vector<GenerateRequest> requests, int num_choices,
                           const SequenceContext* context, const StreamSettings& settings,
                           SteadyTime time, uint64_t arrival) {
  Submission submission;
  const bool listed = requests.size() > 1;
  for (GenerateRequest& request : requests) {
    TokenStreams streams;
    for (int i = 0; i < num_choices; ++i) {
      streams.push_back(
          std::make_shared<TokenStream>(settings.capacity, settings.notify, settings.engine));
    }
    submission.streams.insert(submission.streams.end(), streams.begin(), streams.end());
    request.list = listed ? arrival : 0;
    submission.groups.push_back(std::make_unique<SequenceGroup>(std::move(request), context,
                                                                std::move(streams), time, arrival));
  }
  return submission;
}

TokenStreams cancelled_when_dropped(TokenStreams streams) {
  for (std::shared_ptr<TokenStream>& stream : streams) {
    TokenStream* const raw = stream.get();
    stream = std::shared_ptr<TokenStream>(
        raw, [owner = std::move(stream)](TokenStream* s) { s->cancel(); });
  }
  return streams;
}

}  // namespace deltaserve
