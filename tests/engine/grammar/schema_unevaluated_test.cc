// Tests what schemas say of members and items that nothing else speaks of, references by name, and
// how many items a list may contain.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/engine/grammar/grammar_test_util.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;

struct Case {
  std::string schema;
  std::vector<const char*> good;
  std::vector<const char*> bad;
};

void expect_all(const std::vector<Case>& cases) {
  for (const Case& one : cases) {
    const CompiledOr grammar =
        compile_json_schema(parsed(one.schema), nullptr, {.any_order = true});
    ASSERT_TRUE(grammar.ok()) << one.schema << " " << grammar.status();
    for (const char* text : one.good) EXPECT_TRUE(matches(grammar, text)) << one.schema << text;
    for (const char* text : one.bad) EXPECT_FALSE(matches(grammar, text)) << one.schema << text;
  }
}

std::string refusal(const char* schema) {
  return std::string(compile_json_schema(parsed(schema)).status().message());
}

TEST(SchemaUnevaluated, MembersOfAllThatAppliesAreKnown) {
  expect_all({
      {R"({"type":"object","properties":{"a":{"type":"null"}},"unevaluatedProperties":false})",
       {"{}", R"({"a":null})"},
       {R"({"b":1})", R"({"a":1})"}},
      {R"({"properties":{"a":{"type":"null"}},"unevaluatedProperties":{"type":"integer"}})",
       {R"({"a":null,"b":1})"},
       {R"({"b":"x"})"}},
      {R"({"type":"object","allOf":[{"$ref":"#/$defs/base"},{"properties":{"b":{"type":"null"}}}],)"
       R"("properties":{"c":{"type":"null"}},"unevaluatedProperties":false,)"
       R"("$defs":{"base":{"properties":{"a":{"type":"null"}},"required":["a"]}}})",
       {R"({"a":null})", R"({"a":null,"b":null,"c":null})"},
       {"{}", R"({"a":null,"d":null})"}},
      {R"({"type":"object","anyOf":[{"properties":{"a":{"const":1}},"required":["a"]},)"
       R"({"properties":{"b":{"const":2}},"required":["b"]}],"unevaluatedProperties":false})",
       {R"({"a":1})", R"({"b":2})"},
       {"{}", R"({"a":1,"c":1})", R"({"a":1,"b":3})"}},
      {R"({"type":"object","dependentSchemas":{"a":{"properties":{"b":{"type":"null"}}}},)"
       R"("properties":{"a":{"type":"null"}},"unevaluatedProperties":false})",
       {R"({"a":null,"b":null})", R"({"a":null})", "{}"},
       {R"({"b":null})", R"({"a":null,"c":1})"}},
      {R"({"type":"object","patternProperties":{"^x":{"type":"null"}},"unevaluatedProperties":false})",
       {R"({"xa":null})"},
       {R"({"y":null})"}},
      // All others are known where something speaks of them.
      {R"({"type":"object","allOf":[{"additionalProperties":{"type":"integer"}}],)"
       R"("unevaluatedProperties":false})",
       {R"({"a":1})"},
       {R"({"a":"x"})"}},
  });
}

TEST(SchemaUnevaluated, APartSpeaksOfWhatItMentionsItself) {
  expect_all({
      {R"({"type":"object","properties":{"b":{"type":"null"}},)"
       R"("allOf":[{"properties":{"a":{"type":"null"}},"unevaluatedProperties":false}]})",
       {"{}", R"({"a":null})"},
       {R"({"b":null})"}},
      {R"({"type":"array","allOf":[{"prefixItems":[{"const":1}],"unevaluatedItems":false}],)"
       R"("prefixItems":[true,{"const":2}]})",
       {"[]", "[1]"},
       {"[1,2]", "[2]"}},
  });
  EXPECT_THAT(
      refusal(
          R"({"allOf":[{"unevaluatedProperties":false,"anyOf":[{"required":["a"]}]}],"properties":{}})"),
      HasSubstr("#: keyword 'unevaluatedProperties' beside 'anyOf' is supported only where"));
}

TEST(SchemaUnevaluated, ItemsOfAllThatAppliesAreKnown) {
  expect_all({
      {R"({"type":"array","prefixItems":[{"const":1}],"unevaluatedItems":false})",
       {"[]", "[1]"},
       {"[1,1]", "[2]"}},
      {R"({"type":"array","allOf":[{"prefixItems":[{"const":1},{"const":2}]}],)"
       R"("unevaluatedItems":{"type":"null"}})",
       {"[1,2]", "[1,2,null]"},
       {"[1,2,3]"}},
      {R"({"type":"array","items":{"type":"integer"},"unevaluatedItems":false})",
       {"[1,2]"},
       {"[null]"}},
      {R"({"type":"array","anyOf":[{"prefixItems":[{"const":1}]},)"
       R"({"prefixItems":[{"const":2},{"const":3}]}],"unevaluatedItems":false})",
       {"[1]", "[2,3]", "[2]"},
       {"[1,3]", "[2,3,4]"}},
  });
}

// A condition that does not hold has not spoken of any member.
TEST(SchemaUnevaluated, WhatCannotBeToldIsRefusedByName) {
  EXPECT_THAT(refusal(R"({"properties":{"x":{"if":{"required":["a"]},"else":{"type":"null"},)"
                      R"("unevaluatedProperties":false}}})"),
              HasSubstr("#/properties/x: keyword 'unevaluatedProperties' beside 'if'"));
  EXPECT_THAT(refusal(R"({"not":{"required":["a"]},"unevaluatedProperties":false})"),
              HasSubstr("#: keyword 'unevaluatedProperties' beside 'not'"));
  EXPECT_THAT(refusal(R"({"contains":{"const":1},"unevaluatedItems":false})"),
              HasSubstr("#: keyword 'unevaluatedItems' beside 'contains'"));
}

TEST(SchemaUnevaluated, ReferencesByName) {
  expect_all({
      {R"({"type":"object","properties":{"a":{"$ref":"#node"}},)"
       R"("$defs":{"n":{"$anchor":"node","type":"null"}}})",
       {R"({"a":null})"},
       {R"({"a":1})"}},
      {R"({"$dynamicAnchor":"node","type":"object","properties":{"kids":{"type":"array",)"
       R"("items":{"$dynamicRef":"#node"}}},"additionalProperties":false})",
       {R"({"kids":[{"kids":[]}]})"},
       {R"({"kids":[{"a":1}]})", R"({"kids":[1]})"}},
      {R"({"type":"object","properties":{"a":{"$recursiveRef":"#"}},"additionalProperties":false})",
       {R"({"a":{"a":{}}})"},
       {R"({"a":1})"}},
      // A value of const is no schema.
      {R"({"properties":{"a":{"$ref":"#x"},"b":{"const":{"$anchor":"x"}}},)"
       R"("$defs":{"c":{"$anchor":"x","const":7}}})",
       {R"({"a":7})"},
       {R"({"a":8})"}},
  });
  // Members whose names are those of keywords have schemas.
  for (const std::string name : {"const", "enum", "default", "examples", "properties", "$defs"}) {
    expect_all(
        {{R"({"properties":{"a":{"$ref":"#x"},")" + name + R"(":{"$anchor":"x","const":7}}})",
          {R"({"a":7})"},
          {R"({"a":8})"}}});
  }
  // Values of annotations are no schemas, and neither are constants that look like one with an $id.
  for (const std::string value :
       {R"("x-note":{"$anchor":"x"})", R"("default":{"$anchor":"x"})",
        R"("examples":[{"$anchor":"x","$id":"y"}])", R"("const":{"$id":"y","$ref":"z"})",
        R"("enum":[{"properties":{"b":{"$id":"y"}}}])"}) {
    expect_all({{R"({"properties":{"a":{"$ref":"#x"},"b":{)" + value +
                     R"(}},"$defs":{"c":{"$anchor":"x","const":7}}})",
                 {R"({"a":7})"},
                 {R"({"a":8})"}}});
  }
  EXPECT_THAT(refusal(R"({"$dynamicRef":"#none"})"),
              HasSubstr("'$dynamicRef' '#none' leads nowhere"));
  EXPECT_THAT(refusal(R"({"$ref":"#a","$defs":{"x":{"$anchor":"a"},"y":{"$anchor":"a"}}})"),
              HasSubstr("'$ref' '#a' names several places"));
  EXPECT_THAT(refusal(R"({"$dynamicRef":"other.json"})"), HasSubstr("must begin with '#'"));
  EXPECT_THAT(refusal(R"({"$dynamicRef":"#a","$defs":{"x":{"$id":"y","$dynamicAnchor":"a"}}})"),
              HasSubstr("'$id' in a part"));
  // No keyword reaches these schemas, but references do.
  for (const std::string part : {R"({"$id":"x","$ref":"#/$defs/b"})",
                                 R"({"properties":{"c":{"$id":"x","$ref":"#/$defs/b"}}})"}) {
    const std::string schema =
        R"({"$ref":"#/parts/a","$defs":{"b":{}},"parts":{"a":)" + part + "}}";
    EXPECT_THAT(refusal(schema.c_str()),
                HasSubstr("'$ref' '#/parts/a' leads to a schema with an '$id'"));
  }
}

TEST(SchemaUnevaluated, ContainsNoMoreThan) {
  expect_all({
      {R"({"type":"array","items":{"enum":[1,2]},"contains":{"const":1},"maxContains":2})",
       {"[1]", "[1,1]", "[1,2,2]", "[1,1,2]"},
       {"[]", "[2]", "[1,1,1]", "[1,2,1,1]"}},
      {R"({"type":"array","items":{"enum":[1,2]},"contains":{"const":1},"minContains":0,"maxContains":1})",
       {"[]", "[2,2]", "[1]"},
       {"[1,1]"}},
      {R"({"type":"array","contains":{"type":"string"},"minContains":2,"maxContains":2})",
       {R"(["a","b"])", R"(["a","b",null])"},
       {R"(["a"])", R"(["a","b","c"])"}},
      {R"({"type":["array","integer"],"contains":{"const":1},"minContains":3,"maxContains":2})",
       {"5"},
       {"[]", "[1,1,1]"}},
  });
  EXPECT_THAT(refusal(R"({"contains":{"multipleOf":2},"maxContains":1})"),
              HasSubstr("the contrary of 'multipleOf' is not supported"));
}

}  // namespace
}  // namespace deltaserve
