// Tests sources that try to exhaust something. Each must be answered, most with an error, within
// bounded time and memory and without recursion.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/array.hpp>
#include <boost/json/monotonic_resource.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include "tests/engine/grammar/grammar_test_util.h"

namespace deltaserve {
namespace {

namespace json = boost::json;
using testing::AnyOf;
using testing::HasSubstr;

std::string repeated(std::string_view part, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += part;
  return text;
}

TEST(HostileGrammar, DeepRegexes) {
  EXPECT_THAT(error_of(compile_regex(repeated("(", 30000))), HasSubstr("nested deeper than 256"));
  EXPECT_THAT(error_of(compile_regex(repeated("(", 30000) + repeated(")", 30000))),
              HasSubstr("nested deeper"));
  EXPECT_THAT(error_of(compile_regex(repeated("(a|", 20000) + repeated(")", 5000))),
              HasSubstr("nested deeper"));
  EXPECT_THAT(error_of(compile_regex(repeated("[", 60000))), HasSubstr("not closed"));
  EXPECT_EQ(error_of(compile_regex(repeated("(", 256) + "a" + repeated(")", 256))), "");
  EXPECT_THAT(error_of(compile_regex(std::string(65537, 'a'))),
              HasSubstr("longer than 65536 bytes"));
  EXPECT_THAT(error_of(compile_regex(std::string(65536, 'a'))),
              HasSubstr("more than 65000 states"));
  EXPECT_EQ(error_of(compile_regex(std::string(64000, 'a'))), "");
}

TEST(HostileGrammar, RegexesThatExplode) {
  EXPECT_THAT(error_of(compile_regex("((a{2000}){2000}){2000}")), HasSubstr("too many states"));
  EXPECT_THAT(error_of(compile_regex("((((){2000}){2000}){2000}){2000}")),
              HasSubstr("too many states"));
  EXPECT_THAT(error_of(compile_regex("(a|b)*a(a|b){30}")),
              AnyOf(HasSubstr("states"), HasSubstr("too long")));
  EXPECT_THAT(error_of(compile_regex("(.*.*.*.*.*.*=.*){200}")),
              AnyOf(HasSubstr("states"), HasSubstr("too long"), ""));
  EXPECT_THAT(error_of(compile_regex(repeated("(a?b?)*", 5000))),
              AnyOf(HasSubstr("states"), HasSubstr("too long"), ""));
  EXPECT_THAT(error_of(compile_regex(repeated("a?", 2000) + repeated("a", 2000))),
              AnyOf(HasSubstr("too long"), ""));
  EXPECT_THAT(error_of(compile_regex(repeated("[^a]|", 10000))), AnyOf(HasSubstr("states"), ""));
  EXPECT_EQ(error_of(compile_regex("(a{0,45}){0,45}")), "");
}

TEST(HostileGrammar, DeepGrammars) {
  EXPECT_THAT(error_of(compile_ebnf("root ::= " + repeated("(", 60000))),
              HasSubstr("nested deeper"));
  EXPECT_THAT(error_of(compile_ebnf(repeated("a ", 30000))), HasSubstr("'::=' expected"));
  EXPECT_THAT(error_of(compile_ebnf("root ::= " + repeated("a ", 30000))),
              HasSubstr("'a' is not defined"));
  std::string chain = "root ::= r0\n";
  for (int i = 0; i < 3000; ++i)
    chain += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + "\n";
  EXPECT_EQ(error_of(compile_ebnf(chain + "r3000 ::= \"x\"")), "");
  std::string many;
  for (int i = 0; i < 5000; ++i) many += "r" + std::to_string(i) + "::=\"\"\n";
  EXPECT_THAT(error_of(compile_ebnf(many)), HasSubstr("more than 4096 rules"));
}

TEST(HostileGrammar, GrammarsThatExplode) {
  // Each rule is twice the one before it: expansion in place would give 2^60 copies.
  std::string doubling = "root ::= r0\n";
  for (int i = 0; i < 60; ++i) {
    doubling += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + " r" +
                std::to_string(i + 1) + "\n";
  }
  EXPECT_EQ(error_of(compile_ebnf(doubling + "r60 ::= \"x\"")), "");
  // This is the same grammar without any byte.
  EXPECT_EQ(error_of(compile_ebnf(doubling + "r60 ::= \"\"")), "");
  // This nesting does not fit on the stack.
  std::string deep = "root ::= r0\n";
  for (int i = 0; i < 600; ++i)
    deep += "r" + std::to_string(i) + " ::= r" + std::to_string(i + 1) + " \"x\" q\n";
  EXPECT_EQ(error_of(compile_ebnf(deep + "r600 ::= \"y\"\nq ::= \"z\" | \"(\" root \")\"")),
            "no text matches it");
  EXPECT_THAT(error_of(compile_ebnf("root ::= (\"a\"{2000}){2000}")), HasSubstr("too many states"));
}

TEST(HostileGrammar, ManyStatesStillAllowTokens) {
  const CompiledOr grammar = compile_regex("[^x]{0,2000}");
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  EXPECT_TRUE(matches(grammar, std::string(2000, 'a')));
  EXPECT_FALSE(matches(grammar, std::string(2001, 'a')));
}

TEST(HostileGrammar, DeepSchemas) {
  json::monotonic_resource memory;  // frees without walking the depth
  json::value deep(&memory);
  deep = true;
  for (int i = 0; i < 100000; ++i) {
    json::object outer(&memory);
    outer["items"] = std::move(deep);
    deep = std::move(outer);
  }
  EXPECT_THAT(error_of(compile_json_schema(deep)), HasSubstr("nested deeper than 256"));
}

TEST(HostileGrammar, LargeSchemas) {
  json::object properties;
  for (int i = 0; i < 60000; ++i) properties["p" + std::to_string(i)] = true;
  json::object large;
  large["properties"] = properties;
  EXPECT_THAT(error_of(compile_json_schema(large)), HasSubstr("larger than 262144 bytes"));

  json::array values;
  for (int i = 0; i < 12000; ++i) values.push_back(i);
  json::object many;
  many["enum"] = values;
  EXPECT_EQ(error_of(compile_json_schema(many)), "");

  json::array branches;
  for (int i = 0; i < 60; ++i) {
    json::object branch;
    json::array own;
    for (int j = 0; j < 200; ++j) own.push_back(json::array{i, j});
    branch["enum"] = own;
    branches.push_back(branch);
  }
  json::object disjoint;
  disjoint["oneOf"] = branches;
  EXPECT_EQ(error_of(compile_json_schema(disjoint)), "");
}

TEST(HostileGrammar, SchemasThatExplode) {
  EXPECT_THAT(
      error_of(schema(R"({"type":"array","items":{"anyOf":[{"allOf":[{"$ref":"#"},{"maxItems":3}]},
      {"allOf":[{"$ref":"#"},{"minItems":1}]}]},"minItems":0})")),
      AnyOf("", HasSubstr("too many"), HasSubstr("too large")));
  // Each definition contains the one before it twice.
  std::string source = R"({"$ref":"#/$defs/d40","$defs":{"d0":{"type":"null"})";
  for (int i = 0; i < 40; ++i) {
    const std::string reference = R"({"$ref":"#/$defs/d)" + std::to_string(i) + "\"}";
    source += ",\"d" + std::to_string(i + 1) + R"(":{"prefixItems":[)" + reference + "," +
              reference + "]}";
  }
  EXPECT_EQ(error_of(schema(source + "}}")), "");
  // Each part of an allOf has two more.
  std::string parts = R"({"$ref":"#/$defs/d40","$defs":{"d0":{"type":"null"})";
  for (int i = 0; i < 40; ++i) {
    const std::string reference = R"({"$ref":"#/$defs/d)" + std::to_string(i) + "\"}";
    parts +=
        ",\"d" + std::to_string(i + 1) + R"(":{"allOf":[)" + reference + "," + reference + "]}";
  }
  EXPECT_THAT(error_of(schema(parts + "}}")), HasSubstr("too many parts"));
  EXPECT_THAT(
      error_of(schema(R"({"type":"array","maxItems":2000,"items":{"type":"array","maxItems":2000,)"
                      R"("items":{"type":"array","maxItems":2000}}})")),
      "");
  EXPECT_THAT(error_of(schema(R"({"type":"string","pattern":"(a|b)*a(a|b){30}"})")),
              AnyOf(HasSubstr("states"), HasSubstr("too long")));
  EXPECT_THAT(
      error_of(schema(R"({"type":"string","pattern":"a{500}|b{700}|c{900}","maxLength":2000})")),
      AnyOf("", HasSubstr("states")));
}

TEST(HostileGrammar, BadTextInSchemas) {
  json::object bad;
  bad["const"] = "\xff";
  EXPECT_THAT(error_of(compile_json_schema(bad)), HasSubstr("not UTF-8"));
  json::object key;
  key["properties"] = json::object{{"\xc3", true}};
  EXPECT_THAT(error_of(compile_json_schema(key)), HasSubstr("not UTF-8"));
}

TEST(HostileGrammar, ConditionsOfStringsThatLeadToThemselvesEnd) {
  for (const char* source :
       {R"({"propertyNames":{"$ref":"#/$defs/a"},"additionalProperties":true,
            "$defs":{"a":{"type":"string","not":{"$ref":"#/$defs/a"}}}})",
        R"({"propertyNames":{"$ref":"#/$defs/a"},"additionalProperties":true,
            "$defs":{"a":{"anyOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/a"}]}}})",
        R"({"not":{"$ref":"#"}})", R"({"if":{"$ref":"#"},"then":{"$ref":"#"}})",
        R"({"type":"string","not":{"anyOf":[{"not":{"$ref":"#"}},{"$ref":"#"}]}})"}) {
    EXPECT_NE(error_of(schema(source)), "") << source;
  }
}

}  // namespace
}  // namespace deltaserve
