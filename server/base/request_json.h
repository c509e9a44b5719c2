// JSON of clients, read in one pass with bounded memory: the body of a POST, or a single value.
#pragma once
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/base/api_error.h"
#include "server/base/limits.h"

namespace deltaserve {

// Says how much a parameter may hold; see the table of limits.
enum class ParameterSize : uint8_t {
  kSmall,     // json_values and string_bytes
  kNested,    // nested_values and nested_string_bytes
  kMessages,  // message_values, and strings as long as the body
};

struct ParameterRule {
  std::string_view name;
  ParameterSize size = ParameterSize::kSmall;
};

struct BodyRules {
  // The parameters that are known.
  std::span<const ParameterRule> shared;
  std::span<const ParameterRule> own;
  // The name of one more parameter, whose value goes to `texts` or `token_lists`: a string, a list
  // of strings, a list of token ids or a list of lists of token ids. Empty: there is none.
  std::string_view prompt;
};

// A well-formed body that has only known keys, each once. Its values are not checked yet.
struct RequestBody {
  // At most one of the two is filled; inner lists may still be empty.
  std::vector<std::string> texts;
  std::vector<std::vector<int32_t>> token_lists;
  bool prompt_given = false;   // though it may be an empty list
  bool prompt_nested = false;  // a list of strings, or of lists
  boost::json::object fields;  // all but the prompt

  bool has_prompt() const { return !texts.empty() || !token_lists.empty(); }
};

// Fills `body`, or says what is wrong. Refuses invalid UTF-8, duplicate keys at any depth, unknown
// keys whose values are not null, and everything beyond `limits`. Token ids stream into their
// vector. Thread-safe.
[[nodiscard]] std::optional<ApiError> read_request_body(std::string_view json,
                                                        const BodyRules& rules,
                                                        const ServerLimits& limits,
                                                        RequestBody* body);

// Reads text that is one value, as strictly, within the bounds of ParameterSize::kNested. `name` is
// the parameter that has the text.
[[nodiscard]] std::optional<ApiError> read_json_value(std::string_view json, std::string_view name,
                                                      const ServerLimits& limits,
                                                      boost::json::value* value);

}  // namespace deltaserve
