// Renders templates for cases/published.py: reads {"conversations": [{...}], "sources":
// [...]} from the standard input and writes, for each source, a list with a text or {"error": why}
// for each conversation, or the reason why the source is refused.
#include <boost/json.hpp>
#include <iostream>
#include <iterator>

#include "models/base/json_numbers.h"
#include "template_testing.h"

namespace json = boost::json;

int main() {
  const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
  const json::object job = deltaserve::parse_json_exactly(text, 100)->as_object();
  json::array results;
  for (const json::value& source : job.at("sources").as_array()) {
    const auto parsed = deltaserve::ChatTemplate::parse(source.as_string().c_str());
    if (!parsed.ok()) {
      results.emplace_back(std::string(parsed.status().message()));
      continue;
    }
    json::array texts;
    for (const json::value& conversation : job.at("conversations").as_array()) {
      const auto rendered =
          deltaserve::render_text(source.as_string().c_str(), conversation.as_object());
      if (rendered.ok()) {
        texts.emplace_back(*rendered);
      } else {
        texts.push_back(json::object{{"error", std::string(rendered.status().message())}});
      }
    }
    results.push_back(std::move(texts));
  }
  std::cout << json::serialize(results) << "\n";
  return 0;
}
