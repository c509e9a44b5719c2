// The endpoints of POST, in one table. They know no connection.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "server/base/api_error.h"
#include "server/base/limits.h"
#include "server/base/served_model.h"
#include "server/openai/answer_format.h"
#include "server/openai/turn_job.h"
#include "server/service/services.h"

namespace deltaserve {

struct PostEndpoint {
  std::string_view path;
  // Exactly one of the five is set: the format of the engine's answers as completions, or as a
  // turn; a function that makes a job of its own kind; one that returns the reply at once; or one
  // that acts for the owner of the key and is answered with 204.
  const AnswerFormat& (*format)() = nullptr;
  ReadTurn turn = nullptr;
  std::variant<std::unique_ptr<AnswerJob>, ApiError> (*job)(Services& services, std::string body,
                                                            Arrival arrival) = nullptr;
  std::variant<std::string, ApiError> (*reply)(std::string_view body, const ServedModel& model,
                                               const ServerLimits& limits) = nullptr;
  std::optional<ApiError> (*action)(std::string_view body, Services& services,
                                    const PrefixOwner& owner) = nullptr;
  // Members that the API's errors have beside `error`, in JSON with a comma after each.
  std::string_view error_members = {};

  bool generates() const { return format != nullptr || turn != nullptr || job != nullptr; }
};

std::span<const PostEndpoint> post_endpoints();

}  // namespace deltaserve
