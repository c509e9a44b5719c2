// Fuzzes a template, a zero byte, and a JSON object of variables. A template must always end within
// its limits, and no byte of a client may become trusted.
#include <boost/json.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kernels/base/check.h"
#include "models/base/json_numbers.h"
#include "server/template/chat_template.h"

namespace {

namespace json = boost::json;

// This byte is not in the source, and no operation makes it.
constexpr char kClientByte = '\x02';

json::object variables_of(std::string_view text) {
  const std::optional<json::value> parsed = deltaserve::parse_json_exactly(text, 100);
  return parsed.has_value() && deltaserve::is_json_object(*parsed) ? parsed->get_object()
                                                                   : json::object();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const size_t end = text.find('\0');
  const std::string_view source = text.substr(0, end);
  const std::string_view rest = end == text.npos ? std::string_view() : text.substr(end + 1);

  deltaserve::TemplateLimits limits;
  limits.steps = 50'000;
  limits.total_steps = 200'000;
  limits.memory_bytes = 8u << 20;
  limits.rendered_bytes = 1u << 20;
  const auto parsed = deltaserve::ChatTemplate::parse(source, limits);
  if (!parsed.ok()) {
    DS_CHECK(!parsed.status().message().empty());
    return 0;
  }
  deltaserve::TrustedVariables trusted;
  trusted.texts = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
  const auto parts = (*parsed)->render(variables_of(rest), trusted);
  if (!parts.ok()) {
    DS_CHECK(parts.status().code() == absl::StatusCode::kInvalidArgument ||
             parts.status().code() == absl::StatusCode::kResourceExhausted);
    return 0;
  }
  const bool may_write_it =
      source.find(kClientByte) != source.npos || source.find('\\') != source.npos;
  size_t bytes = 0;
  for (size_t i = 0; i < parts->size(); ++i) {
    const deltaserve::RenderedPart& part = (*parts)[i];
    DS_CHECK(!part.text.empty());
    DS_CHECK(i == 0 || part.trusted != (*parts)[i - 1].trusted);
    DS_CHECK(!part.trusted || may_write_it || part.text.find(kClientByte) == std::string::npos);
    bytes += part.text.size();
  }
  DS_CHECK(bytes <= limits.rendered_bytes);
  return 0;
}
