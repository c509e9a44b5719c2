// Reads cases.json: published formats of tool calls, texts that their models write, and the calls
// that clients must receive.
#pragma once
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <fstream>
#include <sstream>
#include <string>

namespace deltaserve {

inline const boost::json::object& recorded_cases() {
  static const boost::json::value kData = [] {
    std::ifstream file(DELTASERVE_SOURCE_DIR "/tests/server/tools/cases.json");
    std::stringstream text;
    text << file.rdbuf();
    return boost::json::parse(text.str());
  }();
  return kData.get_object();
}

// Returns the text of a member; empty if there is none.
inline std::string text_of(const boost::json::object& object, const char* key) {
  const boost::json::value* value = object.if_contains(key);
  return value == nullptr ? "" : std::string(value->get_string().c_str());
}

// Returns the tools of these names, as a request has them.
inline boost::json::array tools_named(const boost::json::array& names) {
  boost::json::array tools;
  for (const boost::json::value& name : names) {
    const boost::json::value& tool =
        recorded_cases().at("tools").get_object().at(name.get_string());
    tools.push_back({{"type", "function"}, {"function", tool}});
  }
  return tools;
}

}  // namespace deltaserve
