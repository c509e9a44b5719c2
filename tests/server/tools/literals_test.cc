#include "server/tools/literals.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>

namespace deltaserve {
namespace {

TEST(Literals, PythonBecomesJson) {
  const std::pair<const char*, const char*> kTable[] = {
      {"'it''s'", nullptr},
      {"'it\\'s \"q\"'", R"("it's \"q\"")"},
      {"\"a\\u00e9\\ud83e\\udd9c\\/\"", "\"a\\u00e9\\ud83e\\udd9c\\/\""},
      {"'\\u00e9\\x41\\ud83e\\udd9c\\/\\q'", "\"éA🦜/\\\\q\""},
      {"True", "true"},
      {" None ", "null"},
      {"[1, -2.5e3, 'x', ]", R"([1, -2.5e3, "x"])"},
      {"(1, 2)", "[1, 2]"},
      {"{'a': {'b': [False, None]}, \"c\": 1,}", R"({"a": {"b": [false, null]}, "c": 1})"},
      {"{'a' 1}", nullptr},
      {"{1: 2}", nullptr},
      {"[1", nullptr},
      {"'open", nullptr},
      {"'\\", nullptr},
      {"true false", nullptr},
      {"hello", nullptr},
      {"007", nullptr},
      {"", nullptr},
  };
  for (const auto& [text, json] : kTable) {
    const std::optional<std::string> made = literal_to_json(text);
    EXPECT_EQ(made.value_or("none"), json == nullptr ? "none" : json) << text;
  }
  EXPECT_EQ(literal_to_json(std::string(1000, '[')), std::nullopt);
}

ToolArguments tools_with(const std::string& properties, const std::string& definitions = "{}") {
  return ToolArguments(boost::json::parse(R"([{"function":{"name":"f","parameters":{"$defs":)" +
                                          definitions + R"(,"properties":)" + properties + "}}}]")
                           .get_array());
}

// The argument as the schema makes it of the text.
std::string argument(const std::string& schema, const std::string& text,
                     const std::string& definitions = "{}") {
  const ToolArguments tools = tools_with("{\"x\":" + schema + "}", definitions);
  return argument_to_json(tools.type_of("f", "x"), text);
}

TEST(Arguments, FollowTheirSchemaAndAreStringsOtherwise) {
  const std::tuple<const char*, const char*, const char*> kTable[] = {
      {R"({"type":"string"})", "007", "\"007\""},
      {R"({"type":"string"})", "null", "\"null\""},
      {R"({"type":"integer"})", "12345678901234567890123", "12345678901234567890123"},
      {R"({"type":"integer"})", "1.5", "\"1.5\""},
      {R"({"type":"integer"})", "2.0", "2.0"},
      {R"({"type":"integer"})", "many", "\"many\""},
      {R"({"type":"number"})", " 1e-07\n", "1e-07"},
      {R"({"type":"boolean"})", "True", "true"},
      {R"({"type":"boolean"})", "yes", "\"yes\""},
      {R"({"type":"boolean"})", "1", "\"1\""},
      {R"({"type":["string","null"]})", "None", "null"},
      {R"({"type":["string","null"]})", "5", "\"5\""},
      {R"({"anyOf":[{"type":"integer"},{"type":"null"}]})", "null", "null"},
      {R"({"enum":["1","2"]})", "1", "\"1\""},
      {R"({"const":true})", "true", "true"},
      {R"({"$ref":"#/$defs/point"})", "{'x': 1}", R"({"x": 1})"},
      {R"({"type":"array"})", "[True]", "[true]"},
      {R"({"type":"array"})", "{}", "\"{}\""},
      {"{}", "5", "5"},
      {"{}", "five", "\"five\""},
      {"true", "[1]", "[1]"},
  };
  for (const auto& [schema, text, json] : kTable) {
    EXPECT_EQ(argument(schema, text, R"({"point":{"type":"object"}})"), json)
        << schema << " " << text;
  }
  EXPECT_EQ(argument_to_json(ToolArguments().type_of("f", "x"), "true"), "true");
  // A schema that refers to itself ends.
  EXPECT_EQ(argument(R"({"$ref":"#/$defs/a"})", "1", R"({"a":{"$ref":"#/$defs/a"}})"), "1");
}

}  // namespace
}  // namespace deltaserve
