// The parameters of OpenAI, vLLM and SGLang that this server does not support. A client may send
// one with a value that changes nothing, above all its default: many clients send every member that
// they know.
#pragma once
#include <boost/json/array.hpp>
#include <span>
#include <string_view>

#include "server/base/request_json.h"
#include "server/service/parameters.h"

namespace deltaserve {

struct UnservedParameter {
  std::string_view name;
  // The values that change nothing, as a list in JSON, beside null. kAnyValue: every value is
  // accepted without effect.
  std::string_view neutral = "[]";
  ParameterSize size = ParameterSize::kSmall;
};

inline constexpr std::string_view kAnyValue = "any";

// Returns the values; there are none of kAnyValue.
boost::json::array neutral_values(const UnservedParameter& parameter);

// Returns those of a chat or of completions.
std::span<const UnservedParameter> unserved_parameters(Interface interface);

}  // namespace deltaserve
