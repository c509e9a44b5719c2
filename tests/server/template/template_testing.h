// Rendering templates in tests.
#pragma once
#include <boost/json.hpp>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "models/base/json_numbers.h"
#include "server/template/chat_template.h"

namespace deltaserve {

// Returns the variables that cases/make_cases.py gives, too; the clock stands at 26 July 2024.
inline TrustedVariables trusted_variables() {
  TrustedVariables trusted;
  trusted.texts = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
  trusted.local_time = [] {
    std::tm time{};
    time.tm_year = 124;
    time.tm_mon = 6;
    time.tm_mday = 26;
    time.tm_wday = 5;
    return time;
  };
  return trusted;
}

inline absl::StatusOr<std::vector<RenderedPart>> render_parts(std::string_view source,
                                                              const boost::json::object& variables,
                                                              const TemplateLimits& limits = {}) {
  const auto parsed = ChatTemplate::parse(source, limits);
  if (!parsed.ok()) return parsed.status();
  return (*parsed)->render(variables, trusted_variables());
}

// Returns the whole text of a render.
inline absl::StatusOr<std::string> render_text(std::string_view source,
                                               const boost::json::object& variables = {},
                                               const TemplateLimits& limits = {}) {
  const auto parts = render_parts(source, variables, limits);
  if (!parts.ok()) return parts.status();
  std::string text;
  for (const RenderedPart& part : *parts) text += part.text;
  return text;
}

inline boost::json::object variables(std::string_view json) {
  return parse_json_exactly(json, 100)->as_object();
}

}  // namespace deltaserve
