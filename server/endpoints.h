// The endpoints that take a body, in one table. They know no connection.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "server/answer_format.h"
#include "server/api_error.h"
#include "server/limits.h"
#include "server/served_model.h"

namespace deltaserve {

struct PostEndpoint {
  std::string_view path;
  // One of the two is set: how answers of the engine are written, or a function that returns the
  // reply at once.
  const AnswerFormat& (*format)() = nullptr;
  std::variant<std::string, ApiError> (*reply)(std::string_view body, const ServedModel& model,
                                               const ServerLimits& limits) = nullptr;

  bool generates() const { return format != nullptr; }
};

std::span<const PostEndpoint> post_endpoints();

}  // namespace deltaserve
