// Tests the keywords of JSON Schema that need more than an automaton: members in any order, counts,
// unique items, names, contraries; and look-aheads in patterns.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/grammar/grammar_test_util.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;

constexpr SchemaOptions kTools{.space = JsonSpace::kLines, .any_order = true};

CompiledOr tool_schema(std::string_view source) {
  return compile_json_schema(parsed(source), nullptr, kTools);
}

void expect_texts(const CompiledOr& grammar, const std::string& source,
                  const std::vector<std::string>& generated,
                  const std::vector<std::string>& other) {
  ASSERT_TRUE(grammar.ok()) << source << ": " << grammar.status();
  for (const std::string& text : generated) EXPECT_TRUE(matches(grammar, text)) << source << text;
  for (const std::string& text : other) EXPECT_FALSE(matches(grammar, text)) << source << text;
}

struct Case {
  const char* schema;
  std::vector<std::string> generated;
  std::vector<std::string> other;
};

void expect_cases(const std::vector<Case>& cases) {
  for (const Case& c : cases) expect_texts(schema(c.schema), c.schema, c.generated, c.other);
}

TEST(SchemaKeywords, MembersInAnyOrder) {
  const char* source = R"({"type":"object","properties":{"a":{"type":"integer"},
      "ab":{"type":"string"},"c":{"type":"array","items":{"type":"integer"}}},
      "required":["ab"],"additionalProperties":false})";
  expect_texts(tool_schema(source), source,
               {R"({"ab":"x","a":1})", R"({"a":1,"ab":"x"})", R"({"c":[1, 2],"ab":"","a":-3})",
                "{\n  \"ab\": \"x\",\n  \"c\": [\n    1,\n    2\n  ]\n}", R"({ "ab": "x" })",
                "{\r\n\t\"ab\": \"x\"\r\n}"},
               {"{}", R"({"a":1})", R"({"ab":"x","ab":"y"})", R"({"a":1,"ab":"x","a":2})",
                R"({"ab":"x","d":1})", "{\n\n\"ab\":\"x\"}"});
  const CompiledOr grammar = tool_schema(source);
  EXPECT_FALSE(matches_prefix(grammar, R"({"ab":"x","ab)"));
  EXPECT_TRUE(matches_prefix(grammar, R"({"a":1,"ab)"));
  EXPECT_FALSE(matches_prefix(grammar, R"({"a":1,"ab":"x","c":[],)"));
}

TEST(SchemaKeywords, IntegersBeyond64Bits) {
  expect_cases({
      {R"({"const":123456789012345678901234567890})",
       {"123456789012345678901234567890"},
       {"123456789012345678901234567891", "1.2345678901234568e29", "{}"}},
      {R"({"enum":[18446744073709551616,[1.0,-99999999999999999999]]})",
       {"18446744073709551616", "[1.0,-99999999999999999999]"},
       {"18446744073709551615"}},
      {R"({"type":"integer","minimum":99999999999999999999,"maximum":100000000000000000001})",
       {"99999999999999999999", "100000000000000000000", "100000000000000000001"},
       {"99999999999999999998", "100000000000000000002", "1"}},
      {R"({"type":"integer","exclusiveMaximum":-99999999999999999999})",
       {"-100000000000000000000"},
       {"-99999999999999999999", "0"}},
      {R"({"type":"integer","enum":[1,123456789012345678901]})",
       {"1", "123456789012345678901"},
       {"2"}},
      {R"({"type":"object","enum":[1,123456789012345678901,{}]})",
       {"{}"},
       {"123456789012345678901"}},
  });
  EXPECT_FALSE(schema(R"({"minLength":123456789012345678901})").ok());
  EXPECT_FALSE(schema(R"({"multipleOf":123456789012345678901})").ok());
}

TEST(SchemaKeywords, MembersBesideOthers) {
  const char* source = R"({"properties":{"a":{"const":1},"b":{"const":2}},"required":["b"],
      "additionalProperties":{"type":"null"}})";
  expect_texts(tool_schema(source), source, {R"({"b":2})", R"({"x":null,"b":2,"a":1,"y":null})"},
               {R"({"x":null})", R"({"b":2,"x":null,"x":null})", R"({"b":null})"});
}

TEST(SchemaKeywords, NumbersOfMembers) {
  expect_cases({
      {R"({"properties":{"a":{"const":1},"b":{"const":2},"c":{"const":3}},"required":["c"],)"
       R"("minProperties":2,"maxProperties":2})",
       {R"({"a":1,"c":3})", R"({"c":3,"b":2})"},
       {R"({"c":3})", R"({"a":1,"b":2})", R"({"a":1,"b":2,"c":3})"}},
      {R"({"additionalProperties":{"type":"integer"},"minProperties":1,"maxProperties":2})",
       {R"({"x":1})", R"({"x":1,"y":2})"},
       {"{}", R"({"x":1,"y":2,"z":3})", R"({"x":1,"x":1})"}},
      {R"({"type":"object","maxProperties":0})", {"{}"}, {R"({"a":1})"}},
      {R"({"properties":{"a":{"const":1}},"minProperties":1})", {R"({"a":1})"}, {"{}"}},
  });
  const CompiledOr grammar =
      schema(R"({"properties":{"a":{"const":1},"b":{"const":2},"c":{"const":3}},"required":["c"],)"
             R"("maxProperties":2})");
  EXPECT_FALSE(matches_prefix(grammar, R"({"a":1,"b)"));
  EXPECT_THAT(error_of(schema(R"({"properties":{"a":{}},"minProperties":2})")),
              HasSubstr("no text matches"));
  EXPECT_THAT(error_of(schema(R"({"required":["a","b"],"maxProperties":1})")),
              HasSubstr("no text matches"));
}

TEST(SchemaKeywords, NamesOfMembers) {
  expect_cases({
      {R"({"additionalProperties":{"const":1},"propertyNames":{"type":"string"}})",
       {"{}", R"({"x":1})"},
       {R"({"x":2})"}},
      {R"({"additionalProperties":{"const":1},"propertyNames":{"pattern":"^[a-z]+$"}})",
       {"{}", R"({"ab":1,"b":1})"},
       {R"({"A":1})", R"({"a":1,"a":1})", R"({"":1})"}},
      {R"({"additionalProperties":{"const":1},"propertyNames":{"enum":["a","b"]}})",
       {"{}", R"({"b":1,"a":1})"},
       {R"({"c":1})", R"({"a":1,"a":1})"}},
      {R"({"properties":{"ab":{"const":1},"A":{"const":2}},"propertyNames":{"minLength":2}})",
       {"{}", R"({"ab":1})"},
       {R"({"A":2})"}},
      {R"({"additionalProperties":{"const":1},"propertyNames":{"maxLength":2,"pattern":"^[xy]"}})",
       {R"({"x":1,"xx":1,"xy":1,"y":1})"},
       {R"({"xyx":1})"}},
  });
  // Once all names are used nothing but the end may come.
  const CompiledOr few =
      schema(R"({"additionalProperties":{"const":1},"propertyNames":{"pattern":"^x[12]?$"}})");
  EXPECT_TRUE(matches_prefix(few, R"({"x":1,"x1":1,"x)"));
  EXPECT_FALSE(matches_prefix(few, R"({"x":1,"x1":1,"x1)"));
  EXPECT_FALSE(matches_prefix(few, R"({"x":1,"x1":1,"x2":1,)"));
}

TEST(SchemaKeywords, UniqueItems) {
  expect_cases({
      {R"({"items":{"enum":["a","b",1,12,null]},"uniqueItems":true})",
       {"[]", R"(["b","a"])", "[1,12]", "[12, 1,null]"},
       {R"(["a","a"])", "[1,1]", "[12,12]", "[null,null]", "[2]"}},
      {R"({"items":{"enum":["a","b","c"]},"uniqueItems":true,"minItems":2,"maxItems":2})",
       {R"(["c","a"])"},
       {"[]", R"(["a"])", R"(["a","b","c"])"}},
      {R"({"items":{"type":"boolean"},"uniqueItems":true})", {"[true,false]"}, {"[true,true]"}},
      {R"({"items":{"type":"string"},"uniqueItems":true,"maxItems":3})",
       {R"(["a","b","ab"])", R"([""])"},
       {R"(["a","a"])", R"(["","a",""])", R"(["a","b","c","d"])"}},
      {R"({"items":{"type":"string","pattern":"^[ab]$"},"uniqueItems":true})",
       {R"(["b","a"])"},
       {R"(["a","a"])"}},
      {R"({"items":{"type":"integer"},"uniqueItems":true,"maxItems":1})", {"[7]"}, {"[7,8]"}},
      {R"({"items":{"type":"integer"},"uniqueItems":false})", {"[7,7]"}, {}},
  });
  const CompiledOr grammar =
      schema(R"({"items":{"type":"string","pattern":"^[ab]$"},"uniqueItems":true})");
  EXPECT_FALSE(matches_prefix(grammar, R"(["b","a",)"));
  EXPECT_FALSE(matches_prefix(grammar, R"(["b","b)"));
  EXPECT_THAT(error_of(schema(R"({"items":{"enum":["a"]},"uniqueItems":true,"minItems":2})")),
              HasSubstr("no text matches"));
}

TEST(SchemaKeywords, ListsOfItems) {
  expect_cases({
      {R"({"items":[{"type":"integer"},{"type":"boolean"}],"additionalItems":false})",
       {"[]", "[1]", "[1,true]"},
       {"[true]", "[1,true,1]"}},
      {R"({"items":[{"type":"integer"}],"additionalItems":{"const":0},"minItems":2})",
       {"[5,0]", "[5,0,0]"},
       {"[5]", "[5,1]"}},
      {R"({"items":[{"type":"integer"}]})", {R"([1,"x"])", "[]"}, {R"(["x"])"}},
      {R"({"allOf":[{"prefixItems":[{}],"items":false},{"items":{"type":"null"}}]})",
       {"[]", "[null]"},
       {"[1]", "[null,null]"}},
      {R"({"allOf":[{"prefixItems":[{"minimum":3}]}],"items":{"minimum":5}})",
       {"[5]", "[5,6]"},
       {"[3]", "[5,4]"}},
  });
}

std::string array_of(size_t items) {
  std::string text = "[1";
  for (size_t i = 1; i < items; ++i) text += ",1";
  return text + "]";
}

TEST(SchemaKeywords, LargeCounts) {
  const CompiledOr text = schema(R"({"type":"string","minLength":500,"maxLength":65536})");
  ASSERT_TRUE(text.ok()) << text.status();
  const auto quoted_text = [](size_t a, size_t wide) {
    std::string result = "\"" + std::string(a, 'a');
    for (size_t i = 0; i < wide; ++i) result += i % 2 == 0 ? "日" : "\\n";
    return result + "\"";
  };
  EXPECT_FALSE(matches(text, quoted_text(499, 0)));
  EXPECT_TRUE(matches(text, quoted_text(490, 10)));
  EXPECT_TRUE(matches(text, quoted_text(65530, 6)));
  EXPECT_FALSE(matches(text, quoted_text(65530, 7)));
  const CompiledOr items =
      schema(R"({"type":"array","items":{"type":"integer"},"minItems":150,"maxItems":70000})");
  ASSERT_TRUE(items.ok()) << items.status();
  EXPECT_FALSE(matches(items, array_of(149)));
  EXPECT_TRUE(matches(items, array_of(150)));
  EXPECT_TRUE(matches(items, array_of(70000)));
  EXPECT_FALSE(matches_prefix(items, array_of(70001)));
  const CompiledOr tuple = schema(
      R"({"prefixItems":[{"type":"null"}],"items":{"const":1},"minItems":300,"maxItems":301})");
  ASSERT_TRUE(tuple.ok()) << tuple.status();
  const auto with_null = [](size_t ones) { return "[null," + array_of(ones).substr(1); };
  EXPECT_FALSE(matches(tuple, with_null(298)));
  EXPECT_TRUE(matches(tuple, with_null(299)));
  EXPECT_TRUE(matches(tuple, with_null(300)));
  EXPECT_FALSE(matches(tuple, with_null(301)));
}

TEST(SchemaKeywords, LargeCountsOfForms) {
  const CompiledOr grammar =
      schema(R"({"type":"string","format":"uri","minLength":1,"maxLength":2083})");
  ASSERT_TRUE(grammar.ok()) << grammar.status();
  const auto uri = [](size_t length) {
    return "\"http://a/" + std::string(length - 9, 'x') + "\"";
  };
  EXPECT_TRUE(matches(grammar, uri(2083)));
  EXPECT_FALSE(matches(grammar, uri(2084)));
  // The count includes the members that a form still needs.
  const CompiledOr ends = schema(R"({"type":"string","pattern":"^(ab)*cdé$","maxLength":1001})");
  ASSERT_TRUE(ends.ok()) << ends.status();
  std::string pairs = "\"";
  for (int i = 0; i < 499; ++i) pairs += "ab";
  EXPECT_TRUE(matches(ends, pairs + "cdé\""));
  EXPECT_FALSE(matches_prefix(ends, pairs + "a"));
  EXPECT_FALSE(
      matches(schema(R"({"type":"string","pattern":"^a{5}$","maxLength":4000})"), "\"aaaaaa\""));
}

TEST(SchemaKeywords, Contraries) {
  expect_cases({
      {R"({"type":["string","null","integer"],"not":{"type":"string"}})", {"null"}, {"\"a\""}},
      {R"({"type":"integer","not":{"const":0}})", {"1", "-1", "10"}, {"0"}},
      {R"({"type":"integer","minimum":1,"maximum":3,"not":{"enum":[2,"a"]}})", {"1", "3"}, {"2"}},
      {R"({"type":"string","not":{"const":"a"}})", {R"("b")", R"("")", R"("aa")"}, {R"("a")"}},
      {R"({"type":"string","not":{"pattern":"^x"}})", {R"("ax")", R"("")"}, {R"("x")"}},
      {R"({"type":"string","not":{"maxLength":2}})", {R"("abc")"}, {R"("ab")"}},
      {R"({"enum":["a","b",1],"not":{"enum":["b"]}})", {R"("a")", "1"}, {R"("b")"}},
      {R"({"type":"boolean","not":{"const":true}})", {"false"}, {"true"}},
      {R"({"properties":{"a":{"const":1},"b":{"const":2}},"not":{"required":["a"]}})",
       {"{}", R"({"b":2})"},
       {R"({"a":1})"}},
      {R"({"type":"string","allOf":[{"not":{"const":"a"}},{"not":{"pattern":"^b"}}]})",
       {R"("c")"},
       {R"("a")", R"("bb")"}},
      {R"({"properties":{"k":{"enum":["a","b"]},"x":{"type":"integer"}},"required":["k"],)"
       R"("if":{"properties":{"k":{"const":"a"}}},"then":{"required":["x"]}})",
       {R"({"k":"a","x":1})", R"({"k":"b"})", R"({"k":"b","x":1})"},
       {R"({"k":"a"})", "{}"}},
      {R"({"type":"integer","if":{"minimum":10},"then":{"multipleOf":10},"else":{"maximum":3}})",
       {"20", "3", "-5"},
       {"15", "5"}},
      {R"({"type":"integer","if":false,"then":false})", {"1"}, {"true"}},
      {R"({"not":{"not":{"type":"null"}}})", {"null"}, {"1"}},
  });
  EXPECT_THAT(error_of(schema(R"({"not":{}})")), HasSubstr("no text matches"));
}

TEST(SchemaKeywords, DiscriminatorsAreRequired) {
  expect_cases({
      {R"({"oneOf":[{"properties":{"kind":{"const":"a"}}},{"properties":{"kind":{"const":"b"}}}],)"
       R"("discriminator":{"propertyName":"kind"}})",
       {R"({"kind":"a"})", R"({"kind":"b"})"},
       {"{}"}},
  });
}

TEST(SchemaKeywords, AnnotationsChangeNothing) {
  expect_cases({
      {R"({"type":"integer","x-order":1,"example":3,"externalDocs":{},"made-up":[1]})",
       {"5"},
       {"\"a\""}},
      {R"({"type":"integer","format":"int64","then":false})", {"5"}, {"\"a\""}},
      {R"({"type":"string","format":"colour"})", {R"("red")"}, {"1"}},
  });
}

TEST(SchemaKeywords, LookAheads) {
  expect_cases({
      {R"s({"type":"string","pattern":"^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$"})s",
       {R"("1")", R"("-0.5")", R"("+12.")", R"(".5")"},
       {R"("")", R"("-")", R"("+.")", R"("1a")"}},
      {R"s({"type":"string","pattern":"^(?!\\.)(?!.*\\.\\.)([a-z.]*)[a-z]@([a-z]+\\.)+[a-z]{2,}$"})s",
       {R"("a.b@c.de")"},
       {R"(".a@c.de")", R"("a..b@c.de")", R"("a@c")"}},
      {R"s({"type":"string","pattern":"^(?=.*[0-9])(?=.*[A-Z]).{4,}$","maxLength":6})s",
       {R"("aA1b")", R"("1A1111")"},
       {R"("aaaa")", R"("A1a")", R"("aA1bcde")"}},
      {R"s({"type":"string","pattern":"a(?!b)|^c(?=d)"})s",
       {R"("xac")", R"("cd")", R"("a")"},
       {R"("ab")", R"("c")", R"("xcd")"}},
  });
  const CompiledOr whole = compile_regex("(?!ab)[a-c]{2}");
  EXPECT_TRUE(matches(whole, "ac"));
  EXPECT_FALSE(matches(whole, "ab"));
  EXPECT_FALSE(matches(whole, "abc"));
}

TEST(SchemaKeywords, LenientPlacesPermitTheirTypes) {
  const boost::json::value source = parsed(
      R"({"properties":{"a":{"type":"object","$ref":"other.json"},"b":{"type":"integer"}}})");
  const CompiledOr grammar = compile_json_schema(source, nullptr, {.lenient = true});
  expect_texts(grammar, "lenient", {R"({"a":{"x":[1]},"b":2})"}, {R"({"a":1})", R"({"b":"x"})"});
  EXPECT_THAT(error_of(compile_json_schema(source)), HasSubstr("#/properties/a"));
}

TEST(SchemaKeywords, Contains) {
  expect_cases({
      {R"({"type":"array","items":{"type":"integer"},"contains":{"const":5},"maxItems":3})",
       {"[5]", "[5,1]", "[1,5]", "[1,2,5]", "[5,5,5]"},
       {"[]", "[1]", "[1,2,3]", "[1,2,3,5]", R"(["a",5])", R"({"a":5})"}},
      {R"({"type":"array","items":{"enum":["a","b"]},"contains":{"const":"a"},"minContains":2})",
       {R"(["a","a"])", R"(["b","a","a","b"])"},
       {R"(["a"])", R"(["a","b"])", "[]"}},
      {R"({"type":"array","items":{"type":"null"},"contains":{"type":"integer"},"minContains":0})",
       {"[]", "[null]"},
       {"[1]"}},
      {R"({"type":["array","integer"],"contains":{"type":"null"}})", {"7", "[null]"}, {"[7]"}},
      {R"({"allOf":[{"type":"array","contains":{"const":1}},{"minContains":2}]})", {"[1]"}, {"[]"}},
  });
}

TEST(SchemaKeywords, WhatDependsOnMembers) {
  const char* card = R"({"type":"object","properties":{"card":{"type":"integer"},
      "address":{"type":"string"},"name":{"type":"string"}},"required":["name"],
      "additionalProperties":false,)";
  const std::vector<std::string> valid = {R"({"name":"n"})", R"({"address":"a","name":"n"})",
                                          R"({"card":1,"address":"a","name":"n"})"};
  const std::vector<std::string> invalid = {R"({"card":1,"name":"n"})", R"({"card":1})", "{}"};
  for (const char* keyword :
       {R"("dependentRequired":{"card":["address"]}})", R"("dependencies":{"card":["address"]}})",
        R"("dependentSchemas":{"card":{"required":["address"]}}})",
        R"("allOf":[{"dependentRequired":{"card":["name"]}},
            {"dependentRequired":{"card":["address"]}}]})"}) {
    const std::string source = std::string(card) + keyword;
    expect_texts(schema(source), source, valid, invalid);
  }
  expect_cases({{R"({"type":"object","dependentSchemas":{"a":{"properties":{"b":{"const":1}}}},
                     "properties":{"a":{},"b":{"type":"integer"}}})",
                 {R"({"b":2})", R"({"a":0,"b":1})", "{}"},
                 {R"({"a":0,"b":2})"}}});
}

TEST(SchemaKeywords, PatternProperties) {
  expect_cases({
      {R"({"type":"object","patternProperties":{"^x-":{"type":"integer"}},
           "additionalProperties":false})",
       {"{}", R"({"x-a":1})", R"({"x-a":1,"x-b":2})"},
       {R"({"y":1})", R"({"x-a":"1"})", R"({"x-a":1,"x-a":2})"}},
      {R"({"type":"object","properties":{"x-a":{"minimum":5},"b":{"const":1}},
           "patternProperties":{"^x-":{"type":"integer"}},"required":["b"]})",
       {R"({"x-a":5,"b":1})", R"({"b":1,"x-z":0})"},
       {R"({"x-a":4,"b":1})", R"({"x-a":"a","b":1})", R"({"x-z":0})", R"({"b":1,"z":0})"}},
      {R"({"type":"object","patternProperties":{"^x":{"type":"integer"}},"required":["xa","b"],
           "additionalProperties":{"type":"null"}})",
       {R"({"xa":1,"b":null})", R"({"b":null,"xa":1,"c":null})"},
       {R"({"xa":null,"b":null})", R"({"xa":1,"b":1})", R"({"xa":1,"b":null,"xc":null})"}},
      {R"({"type":"object","patternProperties":{"secret":false}})",
       {"{}", R"({"a":1})"},
       {R"({"my secret":1})"}},
      {R"({"type":"object","patternProperties":{"^a":{"type":"integer"},"z$":{"minimum":3}},
           "additionalProperties":false,"required":["az"]})",
       {R"({"az":3})", R"({"az":3,"ab":1})"},
       {R"({"az":2})", R"({"az":3,"abz":1})"}},
      {R"({"type":"object","patternProperties":{"^a":{}},"propertyNames":{"maxLength":2},
           "additionalProperties":false})",
       {R"({"ab":1})"},
       {R"({"abc":1})", R"({"b":1})"}},
  });
}

TEST(SchemaKeywords, DepthOf64) {
  std::string source = R"({"type":"integer"})";
  std::string document = "1";
  for (int depth = 0; depth < 32; ++depth) {
    source = R"({"type":"array","minItems":1,"items":{"type":"object","required":["a"],)"
             R"("properties":{"a":)" +
             source + "}}}";
    document = R"([{"a":)" + document + "}]";
  }
  EXPECT_TRUE(matches(schema(source), document));
  EXPECT_TRUE(matches(tool_schema(source), document));
}

}  // namespace
}  // namespace deltaserve
