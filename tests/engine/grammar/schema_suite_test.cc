// Tests schemas of the JSON-Schema-Test-Suite (tests/data/schema_suite.json): no invalid document
// can be generated from a schema that is accepted, and most of the valid ones can.
#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>

#include "tests/engine/grammar/grammar_test_util.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

const json::array& suite() {
  static const json::value kSuite = [] {
    std::ifstream file(DELTASERVE_SOURCE_DIR "/tests/data/schema_suite.json");
    std::stringstream text;
    text << file.rdbuf();
    return parsed(text.str());
  }();
  return kSuite.get_array();
}

std::string text_of(const json::value& document) {
  const double* real = document.if_double();
  if (real == nullptr) return json::serialize(document);
  std::stringstream text;
  text << *real;
  return text.str();
}

struct Count {
  int schemas = 0;
  int accepted = 0;
  int valid = 0;
  int generated = 0;
};

TEST(SchemaSuite, NoInvalidDocumentIsGenerated) {
  Count count;
  std::map<std::string, int> refused;
  for (const json::value& value : suite()) {
    const json::object& group = value.get_object();
    const json::value& source = group.at("schema");
    ++count.schemas;
    const CompiledOr in_order = compile_json_schema(source);
    const CompiledOr any_order = compile_json_schema(source, nullptr, {.any_order = true});
    EXPECT_EQ(in_order.ok(), any_order.ok()) << json::serialize(source);
    if (!in_order.ok()) {
      EXPECT_TRUE(absl::IsInvalidArgument(in_order.status())) << in_order.status();
      // Nothing is valid under some schemas, and then there is nothing to generate.
      const bool is_empty = group.at("valid").get_array().empty();
      count.accepted += is_empty ? 1 : 0;
      if (!is_empty) ++refused[group.at("keyword").get_string().c_str()];
      continue;
    }
    ++count.accepted;
    for (const json::value& document : group.at("invalid").get_array()) {
      const std::string text = text_of(document);
      EXPECT_FALSE(matches(in_order, text)) << json::serialize(source) << " " << text;
      EXPECT_FALSE(matches(any_order, text)) << json::serialize(source) << " " << text;
    }
    for (const json::value& document : group.at("valid").get_array()) {
      ++count.valid;
      if (matches(any_order, text_of(document))) ++count.generated;
    }
  }
  // The other valid documents have types of which the schema does not speak, other spellings of
  // numbers and strings, or members that only a schema without `additionalProperties` permits.
  std::cout << count.accepted << " of " << count.schemas << " schemas are accepted, and "
            << count.generated << " of " << count.valid << " of their valid documents generated\n";
  for (const auto& [keyword, schemas] : refused) {
    std::cout << keyword << ": " << schemas << " refused\n";
  }
  EXPECT_GE(count.accepted, 300);
  EXPECT_GE(count.generated, 497);
}

}  // namespace
}  // namespace deltaserve
