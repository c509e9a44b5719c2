// Tests JSON Schema: which documents can be generated, and which schemas are refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/grammar/grammar_test_util.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;

struct Case {
  const char* schema;
  std::vector<std::string> generated;
  std::vector<std::string> other;
};

void expect_cases(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    const CompiledOr grammar = schema(c.schema);
    ASSERT_TRUE(grammar.ok()) << c.schema << ": " << grammar.status();
    for (const std::string& text : c.generated) {
      EXPECT_TRUE(matches(grammar, text)) << c.schema << " " << text;
    }
    for (const std::string& text : c.other) {
      EXPECT_FALSE(matches(grammar, text)) << c.schema << " " << text;
    }
  }
}

TEST(JsonSchema, Types) {
  expect_cases({
      {R"({"type":"null"})", {"null"}, {"0", "\"\"", "nul"}},
      {R"({"type":"boolean"})", {"true", "false"}, {"null", "True"}},
      {R"({"type":"integer"})",
       {"0", "-1", "123456789012345678", "12345678901234567890123"},
       {"1.0", "-0", "01", "1e3"}},
      {R"({"type":"number"})",
       {"0", "-1.5", "2e10", "0.25E-3", "-0"},
       {".5", "1.", "1e999", "+1", "NaN"}},
      {R"({"type":"string"})",
       {R"("")", R"("aé日😀")", R"("\n\"\\\/")", R"("\u00e9\ud7ff\uE000")",
        R"("\ud83e\udd9c\uDBFF\uDFFF")"},
       {R"("\ud800")", R"("\uDFFF")", R"("\ud83ex")", R"("\udd9c\ud83e")", "\"\n\"", R"("\x")",
        "\"\xff\"", R"(")"}},
      {R"({"type":["string","null"]})", {"null", R"("a")"}, {"1"}},
      {R"({"type":"string","nullable":true})", {"null", R"("a")"}, {"1"}},
      {R"({"type":"array"})", {"[]", "[1, \"a\",[],{}]"}, {"[1 ,2]", "[,]", "[1,]", "[ ]"}},
      {R"({"type":"object"})",
       {"{}", R"({"a": 1,"b":{"a":[]}})"},
       {R"({"a":1,"a":2})", R"({a:1})", R"({"a":1,})"}},
      {"true", {"null", "[{}]", "1"}, {"", "nothing"}},
      {"{}", {"null", "[{}]", "1"}, {""}},
  });
}

TEST(JsonSchema, Strings) {
  expect_cases({
      {R"({"type":"string","minLength":2,"maxLength":3})",
       {R"("ab")", R"("日本語")", R"("\n\u0041x")"},
       {R"("a")", R"("abcd")"}},
      {R"({"minLength":1})", {R"("a")"}, {R"("")", "1"}},
      {R"({"type":"string","pattern":"b+"})", {R"("b")", R"("abc")"}, {R"("ac")"}},
      {R"({"type":"string","pattern":"^a.c$"})",
       {R"("abc")", R"("a\\c")", R"("a\"c")"},
       {R"("abcd")", R"("a\nc")"}},
      {R"({"type":"string","pattern":"^\\n$"})", {R"("\n")"}, {R"("\u000a")", R"("n")"}},
      {R"({"type":"string","pattern":"^[a-z]+$","maxLength":3,"minLength":2})",
       {R"("ab")", R"("abc")"},
       {R"("a")", R"("abcd")", R"("A1")"}},
      {R"({"type":"string","format":"date"})", {R"("2024-02-29")"}, {R"("2023-02-29")", R"("x")"}},
      {R"({"type":"string","format":"date","pattern":"^20"})",
       {R"("2024-02-28")"},
       {R"("1999-01-01")"}},
  });
}

TEST(JsonSchema, Numbers) {
  expect_cases({
      {R"({"type":"integer","minimum":-2,"exclusiveMaximum":3})", {"-2", "0", "2"}, {"-3", "3"}},
      {R"({"type":"integer","multipleOf":1,"minimum":5})", {"5", "100"}, {"4"}},
      {R"({"type":"number","minimum":0.5,"maximum":1.25})",
       {"0.5", "1", "1.25"},
       {"0.49", "1.26", "5e-1"}},
      {R"({"minimum":10})", {"10", "10.5"}, {"9.99", "\"a\"", "null"}},
      {R"({"type":"number","multipleOf":1})", {"3"}, {"3.5"}},
  });
}

TEST(JsonSchema, EnumAndConst) {
  expect_cases({
      {R"({"enum":["a",1,1.5,null,{"b":[1,2]}]})",
       {R"("a")", "1", "1.5", "null", R"({"b":[1,2]})"},
       {"2", R"("b")"}},
      {R"({"type":"string","enum":["a",1]})", {R"("a")"}, {"1"}},
      {R"({"const":"x\"y\n"})", {R"("x\"y\n")"}, {R"("x")"}},
      {R"({"enum":[1,2,3],"const":2})", {"2"}, {"1", "3"}},
  });
}

TEST(JsonSchema, Arrays) {
  expect_cases({
      {R"({"type":"array","items":{"type":"integer"},"minItems":1,"maxItems":3})",
       {"[1]", "[1, 2,3]"},
       {"[]", "[1,2,3,4]", "[\"a\"]"}},
      {R"({"type":"array","items":{"type":"integer"},"maxItems":0})", {"[]"}, {"[1]"}},
      {R"({"prefixItems":[{"type":"integer"},{"type":"boolean"}],"items":false})",
       {"[]", "[1]", "[1,true]"},
       {"[true]", "[1,true,1]"}},
      {R"({"prefixItems":[{"type":"integer"},{"type":"boolean"}],"items":{"type":"null"},)"
       R"("minItems":3,"maxItems":4})",
       {"[1,true,null]", "[1,true,null,null]"},
       {"[1,true]", "[1,true,null,null,null]"}},
      {R"({"prefixItems":[{"type":"integer"},{"type":"boolean"}],"maxItems":1})",
       {"[]", "[1]"},
       {"[1,true]"}},
      {R"({"type":"array","items":{"type":"array","items":{"const":0}}})", {"[[],[0,0]]"}, {"[0]"}},
  });
}

TEST(JsonSchema, Objects) {
  expect_cases({
      {R"({"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"null"},)"
       R"("c":{"const":1}},"required":["b"]})",
       {R"({"b":null})", R"({"a":1,"b":null})", R"({"a": 1, "b": null, "c": 1})",
        R"({"b":null,"c":1})"},
       {"{}", R"({"a":1})", R"({"b":null,"a":1})", R"({"b":null,"d":1})", R"({"a":1"b":null})"}},
      {R"({"properties":{"a":{"const":1},"b":{"const":2}}})",
       {"{}", R"({"a":1})", R"({"b":2})", R"({"a":1,"b":2})"},
       {"[]", R"({"a":2})"}},
      {R"({"properties":{"a":{"const":1}},"additionalProperties":{"type":"null"}})",
       {"{}", R"({"a":1})", R"({"a":1,"b":null})", R"({"b":null,"":null,"aa":null})"},
       {R"({"a":null})", R"({"b":1})", R"({"b":null,"b":null})", R"({"b":null,"a":1})",
        R"({"\u0061":null})"}},
      {R"({"additionalProperties":{"type":"integer"}})",
       {"{}", R"({"x":1,"y":2})"},
       {R"({"x":true})", R"({"x":1,"x":1})"}},
      {R"({"type":"object","additionalProperties":false})", {"{}"}, {R"({"a":1})"}},
      {R"({"type":"object","properties":{"a":{"const":1}},"required":["z","a"]})",
       {R"({"a":1,"z":[]})"},
       {R"({"a":1})", R"({"z":1})"}},
      {R"({"type":"object","required":["z"]})",
       {R"({"z":1})", R"({"z":1,"y":2})"},
       {"{}", R"({"z":1,"z":2})"}},
      {R"({"type":"object","properties":{"a":false,"b":true}})",
       {"{}", R"({"b":[0]})"},
       {R"({"a":1})"}},
      {R"({"type":"object","properties":{"a\"b\\\n":{"const":1}}})",
       {R"({"a\"b\\\u000a":1})"},
       {R"({"a":1})"}},
  });
}

TEST(JsonSchema, Combinations) {
  expect_cases({
      {R"({"anyOf":[{"type":"integer"},{"type":"string","maxLength":1}]})",
       {"1", R"("a")"},
       {R"("ab")", "null"}},
      {R"({"type":"integer","anyOf":[{"minimum":10},{"maximum":-10}]})", {"10", "-10"}, {"0"}},
      {R"({"oneOf":[{"type":"integer"},{"type":"string"}]})", {"1", R"("a")"}, {"null"}},
      {R"({"oneOf":[{"type":"object","properties":{"k":{"const":"a"},)"
       R"("x":{"type":"integer"}},"required":["k"]},{"type":"object",)"
       R"("properties":{"k":{"enum":["b","c"]}},"required":["k"]}],)"
       R"("discriminator":{"propertyName":"k"}})",
       {R"({"k":"a","x":1})", R"({"k":"c"})"},
       {R"({"k":"d"})", R"({"x":1})"}},
      {R"({"allOf":[{"type":"object","properties":{"a":{"type":"integer"}},)"
       R"("required":["a"]},{"properties":{"b":{"type":"null"}},"required":["b"]}]})",
       {R"({"a":1,"b":null})"},
       {R"({"a":1})", R"({"b":null})"}},
      {R"({"allOf":[{"minimum":3},{"type":"integer","maximum":5},true]})",
       {"3", "5"},
       {"2", "6", "3.5"}},
      {R"({"allOf":[{"properties":{"a":true,"b":true},"additionalProperties":false},)"
       R"({"properties":{"a":{"const":1},"c":{"const":2}}}]})",
       {"{}", R"({"a":1,"b":[]})"},
       {R"({"a":2})", R"({"c":2})"}},
      {R"({"allOf":[{"enum":[1,2,3.0]},{"enum":[3,2,4]}]})", {"2", "3"}, {"1", "4"}},
      {R"({"allOf":[{"type":["integer","string"]},{"type":["number","null"]}]})",
       {"5"},
       {"5.5", "null", R"("a")"}},
  });
}

TEST(JsonSchema, References) {
  expect_cases({
      {R"({"$ref":"#/$defs/t","$defs":{"t":{"type":"null"}}})", {"null"}, {"1"}},
      {R"({"$ref":"#/definitions/a~1b%20c","definitions":{"a/b c":{"const":7}}})", {"7"}, {"1"}},
      {R"({"type":"object","properties":{"next":{"$ref":"#"},"v":{"type":"integer"}},)"
       R"("required":["v"],"additionalProperties":false})",
       {R"({"v":1})", R"({"next":{"next":{"v":1},"v":2},"v":3})"},
       {R"({"next":{},"v":1})"}},
      {R"({"$ref":"#/$defs/t","maxLength":2,"$defs":{"t":{"type":"string","minLength":1}}})",
       {R"("a")", R"("ab")"},
       {R"("")", R"("abc")"}},
      {R"({"type":"array","items":{"anyOf":[{"$ref":"#"},{"const":1}]}})",
       {"[[],1,[[1]]]"},
       {"[2]"}},
      {R"({"allOf":[{"$ref":"#/$defs/base"}],"properties":{"kids":{"type":"array",)"
       R"("items":{"$ref":"#"}}},"$defs":{"base":{"type":"object",)"
       R"("properties":{"id":{"const":1}},"required":["id"]}}})",
       {R"({"id":1})", R"({"kids":[{"id":1}],"id":1})"},
       {R"({"kids":[]})"}},
      {R"({"properties":{"a":{"allOf":[{"$ref":"#"},{"required":["a"]}]}}})",
       {"{}"},
       {R"({"a":{}})"}},
  });
}

TEST(JsonSchema, RefusesByName) {
  const std::pair<const char*, const char*> cases[] = {
      {"1", "#: a schema must be an object, true or false"},
      {R"({"$ref":"other.json"})", "#: '$ref' 'other.json' must begin with '#'"},
      {R"({"patternProperties":[]})", "'patternProperties' must be an object"},
      {R"({"patternProperties":{"(":{}}})", "#/patternProperties/(: pattern"},
      {R"({"allOf":[{"patternProperties":{"^a":{}}},{"additionalProperties":false}]})",
       "keyword 'patternProperties' cannot be combined"},
      {R"({"properties":{"a":{"not":{"multipleOf":2}}}})",
       "#/properties/a: not: the contrary of 'multipleOf' is not supported"},
      {R"({"if":{"items":true},"then":false})", "#: if: the contrary of 'items'"},
      {R"({"uniqueItems":true})", "'uniqueItems' is supported only with one schema"},
      {R"({"items":{"type":"number"},"uniqueItems":true})", "only where items are strings"},
      {R"({"propertyNames":{"format":"regex"}})", "#: propertyNames: format: 'regex'"},
      {R"({"minProperties":-1})", "'minProperties' must be a whole number"},
      {R"({"contains":{},"minContains":17})", "'minContains' is above 16"},
      {R"({"allOf":[{"contains":{}},{"contains":{"type":"null"}}]})",
       "keyword 'contains' cannot be combined"},
      {R"({"dependentRequired":[]})", "'dependentRequired' must be an object"},
      {R"({"dependencies":{"a":1}})", "a schema must be an object, true or false"},
      {R"({"type":"number","multipleOf":0})", "'multipleOf' must be a number above 0"},
      {R"({"$ref":"#/$defs/a","$defs":{"a":{"$id":"x"}}})", "'$id' in a part of a schema"},
      {R"({"type":"text"})", "'type' must be null, boolean"},
      {R"({"type":["string",1]})", "'type' must be"},
      {R"({"nullable":true})", "'nullable' needs 'type'"},
      {R"({"minLength":-1})", "'minLength' must be a whole number"},
      {R"({"maxLength":1.5})", "'maxLength' must be a whole number"},
      {R"({"minLength":5000000})", "'minLength' is more than 1000000"},
      {R"({"maxItems":"3"})", "'maxItems' must be a whole number"},
      {R"({"minimum":"3"})", "'minimum' must be a number"},
      {R"({"exclusiveMinimum":true})", "'exclusiveMinimum' must be a number"},
      {R"s({"pattern":"((?=a)b)"})s", "#: pattern: at byte 1: look-ahead in a group"},
      {R"s({"pattern":"(?<=a)"})s", "#: pattern: at byte 0: look-behind"},
      {R"s({"pattern":"a(?!^b)"})s", "#: pattern: '^' in or behind a look-ahead"},
      {R"({"pattern":3})", "'pattern' must be a string"},
      {R"({"format":"uri-template"})", "#: format: 'uri-template' is not supported"},
      {R"({"properties":[]})", "'properties' must be an object"},
      {R"({"required":"a"})", "'required' must be a list of names"},
      {R"({"required":[1]})", "'required' must be a list of names"},
      {R"({"enum":3})", "'enum' must be a list"},
      {R"({"enum":[1],"minimum":0})", "enum and const cannot be combined with 'minimum'"},
      {R"({"anyOf":[]})", "'anyOf' must be a list of schemas"},
      {R"({"allOf":{}})", "'allOf' must be a list of schemas"},
      {R"({"$ref":"#/nowhere"})", "'#/nowhere' leads nowhere"},
      {R"({"$ref":"other.json"})", "must begin with '#'"},
      {R"({"$ref":"#"})", "leads back to itself"},
      {R"({"$ref":1})", "'$ref' must be a string"},
      {R"({"allOf":[{"$ref":"#"},{"type":"null"}]})", "too many parts, or leads to itself"},
      {R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})", "left-recursive"},
      {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})",
       "'oneOf': branches 0 and 1 cannot be told apart"},
      {R"({"oneOf":[{"properties":{"a":{"const":1}}},{"properties":{"a":{"const":2}}}]})",
       "cannot be told apart"},
      {R"({"type":["object","string"],"oneOf":[{"properties":{"a":{"const":1}},)"
       R"("required":["a"]},{"properties":{"a":{"const":2}},"required":["a"]}]})",
       "cannot be told apart"},
      {R"({"oneOf":[{"const":1},{"enum":[1.0,2]}]})", "cannot be told apart"},
      {R"({"allOf":[{"pattern":"a"},{"pattern":"b"}]})", "'pattern' cannot be combined"},
      {"false", "no text matches"},
      // There are fewer different items, or names, than are asked for.
      {R"({"items":{"type":"string","pattern":"^[ab]c?$"},"uniqueItems":true,"minItems":5,"type":"array"})",
       "no text matches"},
      {R"({"items":{"enum":[1,2]},"uniqueItems":true,"minItems":3,"type":"array"})",
       "no text matches"},
      {R"({"propertyNames":{"pattern":"^[ab]$"},"minProperties":3,"type":"object"})",
       "no text matches"},
      {R"({"enum":[]})", "no text matches"},
      {R"({"type":"string","enum":[1]})", "no text matches"},
      {R"({"type":"integer","minimum":5,"maximum":4})", "no text matches"},
      {R"({"type":"string","pattern":"^abc$","maxLength":2})", "no text matches"},
      {R"({"type":"object","required":["a"],"additionalProperties":false})", "no text matches"},
      {R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})", "no text matches"},
      {R"({"type":"array","minItems":1,"items":{"$ref":"#"}})", "no text matches"},
  };
  for (const auto& [source, message] : cases) {
    EXPECT_THAT(error_of(schema(source)), HasSubstr(message)) << source;
  }
}

TEST(JsonObject, HasNoKeyTwice) {
  const CompiledOr grammar = compile_json_object();
  EXPECT_TRUE(matches(grammar, R"({"a":{"a":1,"b":[{"a":2}]},"b":"x"})"));
  EXPECT_FALSE(matches(grammar, "[]"));
  EXPECT_TRUE(matches_prefix(grammar, R"({"ab":1,"a)"));
  EXPECT_FALSE(matches_prefix(grammar, R"({"a":1,"a")"));
  EXPECT_FALSE(matches_prefix(grammar, R"({"a":{"x":1},"b":2,"a")"));
  EXPECT_TRUE(matches_prefix(grammar, R"({"a":1,"a\"":1)"));
  std::string long_object = "{";
  for (int i = 0; i < 100; ++i) long_object += "\"k" + std::to_string(i) + "\":0,";
  EXPECT_TRUE(matches_prefix(grammar, long_object + "\"k100\""));
  EXPECT_FALSE(matches_prefix(grammar, long_object + "\"k7\""));
}

TEST(JsonObject, WhiteSpaceIsBounded) {
  const CompiledOr grammar = compile_json_object();
  EXPECT_TRUE(matches(grammar, R"({"a": 1, "b": [1, 2]})"));
  for (const char* text :
       {R"( {})", R"({ })", R"({"a" :1})", R"({"a":  1})", "{\"a\":\n1}", "{}\n"}) {
    EXPECT_FALSE(matches(grammar, text)) << text;
  }
}

}  // namespace
}  // namespace deltaserve
