// The body of POST /v1/completions as JSON, read in one pass with bounded memory.
#pragma once
#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/api_error.h"
#include "server/limits.h"

namespace deltaserve {

// A body that is well-formed, has known keys only and each once. Values are not judged yet.
struct CompletionBody {
  // Exactly one of the two is filled; inner lists may still be empty.
  std::vector<std::string> texts;
  std::vector<std::vector<int32_t>> token_lists;
  boost::json::object fields;  // all but `prompt`
};

// Fills `body`, or says what is wrong. Refuses invalid UTF-8, duplicate keys at any depth, unknown
// keys, and everything beyond `limits`. Token ids stream into their vector; no other part of the
// memory used grows with the input. Thread-safe.
[[nodiscard]] std::optional<ApiError> read_completion_body(std::string_view json,
                                                           const ServerLimits& limits,
                                                           CompletionBody* body);

}  // namespace deltaserve
