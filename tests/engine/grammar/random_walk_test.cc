// Tests random answers: whichever allowed tokens are drawn, the text is in the language, as judged
// by a validator that shares no code with the product.
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <cmath>
#include <regex>
#include <set>

#include "tests/engine/grammar/grammar_test_util.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

// Returns true if some object in `text`, which is JSON, has a key twice.
bool has_key_twice(const std::string& text) {
  std::vector<std::set<std::string>> open{{}};
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '{') open.emplace_back();
    if (text[i] == '}') open.pop_back();
    if (text[i] != '"') continue;
    const size_t begin = i;
    for (++i; text[i] != '"'; ++i) i += text[i] == '\\';
    if (i + 1 < text.size() && text[i + 1] == ':') {
      const json::value key = json::parse(text.substr(begin, i + 1 - begin));
      if (!open.back().insert(key.as_string().c_str()).second) return true;
    }
  }
  return false;
}

size_t characters(const json::string& text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<uint8_t>(c) & 0xC0) != 0x80;
  return count;
}

bool has_type(const json::value& value, const std::string& type) {
  if (type == "null") return value.is_null();
  if (type == "boolean") return value.is_bool();
  // A number of many digits is a double here.
  if (type == "integer") {
    return value.is_int64() || value.is_uint64() ||
           (value.is_double() && std::trunc(value.get_double()) == value.get_double());
  }
  if (type == "number") return value.is_number();
  if (type == "string") return value.is_string();
  if (type == "array") return value.is_array();
  return value.is_object();
}

// The members and first items of a value that keywords have spoken of.
struct Evaluated {
  std::set<std::string> names;
  size_t items = 0;
};

bool validates(const json::value& value, const json::value& schema, const json::value& root,
               Evaluated* evaluated);

bool validates(const json::value& value, const json::value& schema, const json::value& root) {
  Evaluated own;
  return validates(value, schema, root, &own);
}

bool validates_object(const json::object& value, const json::object& schema,
                      const json::value& root, Evaluated* evaluated) {
  const json::object* properties = nullptr;
  if (schema.contains("properties")) properties = &schema.at("properties").as_object();
  for (const auto& [name, member] : value) {
    const json::value* named = properties == nullptr ? nullptr : properties->if_contains(name);
    if (named == nullptr) named = schema.if_contains("additionalProperties");
    if (named == nullptr) continue;
    if (!validates(member, *named, root)) return false;
    evaluated->names.emplace(name);
  }
  if (schema.contains("required")) {
    for (const json::value& name : schema.at("required").as_array()) {
      if (!value.contains(name.as_string())) return false;
    }
  }
  const json::value* others = schema.if_contains("unevaluatedProperties");
  for (const auto& [name, member] : value) {
    if (others == nullptr || !evaluated->names.emplace(name).second) continue;
    if (!validates(member, *others, root)) return false;
  }
  return true;
}

bool validates_array(const json::array& value, const json::object& schema, const json::value& root,
                     Evaluated* evaluated) {
  const json::value* most = schema.if_contains("maxItems");
  const json::value* fewest = schema.if_contains("minItems");
  if (most != nullptr && value.size() > static_cast<size_t>(most->as_int64())) return false;
  if (fewest != nullptr && value.size() < static_cast<size_t>(fewest->as_int64())) return false;
  const json::array prefix =
      schema.contains("prefixItems") ? schema.at("prefixItems").as_array() : json::array();
  for (size_t i = 0; i < value.size(); ++i) {
    const json::value* item = i < prefix.size() ? &prefix[i] : schema.if_contains("items");
    if (item == nullptr) break;
    if (!validates(value[i], *item, root)) return false;
    evaluated->items = std::max(evaluated->items, i + 1);
  }
  const json::value* others = schema.if_contains("unevaluatedItems");
  for (; others != nullptr && evaluated->items < value.size(); ++evaluated->items) {
    if (!validates(value[evaluated->items], *others, root)) return false;
  }
  return true;
}

bool validates_string(const json::string& value, const json::object& schema) {
  const json::value* most = schema.if_contains("maxLength");
  const json::value* fewest = schema.if_contains("minLength");
  if (most != nullptr && characters(value) > static_cast<size_t>(most->as_int64())) return false;
  if (fewest != nullptr && characters(value) < static_cast<size_t>(fewest->as_int64()))
    return false;
  const json::value* pattern = schema.if_contains("pattern");
  return pattern == nullptr || std::regex_search(std::string(value.c_str(), value.size()),
                                                 std::regex(pattern->as_string().c_str()));
}

bool validates(const json::value& value, const json::value& schema, const json::value& root,
               Evaluated* evaluated) {
  if (schema.is_bool()) return schema.as_bool();
  const json::object& s = schema.as_object();
  if (s.contains("$ref")) {
    const std::string reference = s.at("$ref").as_string().c_str();
    const json::value& target =
        reference == "#" ? root
                         : root.at("$defs").at(reference.substr(std::string("#/$defs/").size()));
    if (!validates(value, target, root, evaluated)) return false;
  }
  if (s.contains("allOf")) {
    for (const json::value& part : s.at("allOf").as_array())
      if (!validates(value, part, root, evaluated)) return false;
  }
  if (s.contains("anyOf")) {
    bool any = false;
    for (const json::value& branch : s.at("anyOf").as_array()) {
      Evaluated of_branch;
      if (!validates(value, branch, root, &of_branch)) continue;
      any = true;
      evaluated->names.merge(of_branch.names);
      evaluated->items = std::max(evaluated->items, of_branch.items);
    }
    if (!any) return false;
  }
  if (s.contains("enum")) {
    bool any = false;
    for (const json::value& choice : s.at("enum").as_array()) any = any || choice == value;
    if (!any) return false;
  }
  if (s.contains("type")) {
    const json::value& type = s.at("type");
    bool any = type.is_string() && has_type(value, type.as_string().c_str());
    if (type.is_array()) {
      for (const json::value& name : type.as_array())
        any = any || has_type(value, name.as_string().c_str());
    }
    if (!any) return false;
  }
  if (value.is_number()) {
    const double x = value.to_number<double>();
    if (s.contains("minimum") && x < s.at("minimum").to_number<double>()) return false;
    if (s.contains("exclusiveMaximum") && x >= s.at("exclusiveMaximum").to_number<double>())
      return false;
  }
  if (value.is_string() && !validates_string(value.as_string(), s)) return false;
  if (value.is_array() && !validates_array(value.as_array(), s, root, evaluated)) return false;
  return !value.is_object() || validates_object(value.as_object(), s, root, evaluated);
}

// Draws allowed tokens, often those that close something, until the answer ends or is cut. Returns
// nullopt if it was cut.
std::optional<std::string> random_answer(const CompiledOr& grammar,
                                         const std::vector<std::string>& tokens,
                                         const std::shared_ptr<const TokenTable>& table,
                                         std::mt19937* random) {
  Walk walk(grammar, table);
  std::string text;
  for (int step = 0; step < 512; ++step) {
    if (walk.finished()) return text;
    std::vector<int32_t> next = walk.allowed_tokens();
    if (next.empty()) return std::nullopt;
    int32_t token = next[(*random)() % next.size()];
    if ((*random)() % 2 == 0) {
      for (const char close : {'"', '}', ']'}) {
        if (walk.allowed(1 + close)) token = 1 + close;
      }
      if (walk.may_end()) token = kTestEnd;
    }
    if (token == kTestEnd) return text;
    text += tokens[token];
    walk.accept(token);
  }
  return std::nullopt;
}

TEST(RandomWalk, EveryFinishedAnswerValidates) {
  const char* const schemas[] = {
      "true",
      R"({"type":"object"})",
      R"({"type":"array","items":{"type":["integer","null"]},"minItems":2,"maxItems":5})",
      R"({"properties":{"id":{"type":"integer","minimum":-7,"exclusiveMaximum":250},
          "a":{"type":"string","minLength":1,"maxLength":4},"b":{"enum":["x",1,null,[1]]}},
          "required":["id","b"],"additionalProperties":false})",
      R"({"type":"object","properties":{"a":{"type":"number","minimum":0.5,"exclusiveMaximum":10}},
          "additionalProperties":{"type":"boolean"}})",
      R"({"$ref":"#/$defs/tree","$defs":{"tree":{"type":"object","properties":{
          "kids":{"type":"array","items":{"$ref":"#/$defs/tree"},"maxItems":2},
          "id":{"type":"string","pattern":"^[a-c]+1?$"}},
          "required":["id"],"additionalProperties":false}}})",
      R"({"anyOf":[{"type":"string","maxLength":3},{"type":"array","items":{"$ref":"#"},)"
      R"("maxItems":2},
          {"type":"object","additionalProperties":{"type":"integer"}}]})",
      R"({"type":"object","allOf":[{"$ref":"#/$defs/base"}],"required":["b"],
          "properties":{"b":{"type":"array","maxItems":2}},"unevaluatedProperties":false,
          "$defs":{"base":{"properties":{"a":{"type":"boolean"}}}}})",
      R"({"type":"object","anyOf":[{"properties":{"a":{"type":"null"}},"required":["a"]},
          {"properties":{"b":{"type":"integer"}},"required":["b"]}],
          "unevaluatedProperties":{"type":"boolean"}})",
      R"({"type":"array","anyOf":[{"prefixItems":[{"type":"null"},{"type":"boolean"}]},
          {"prefixItems":[{"type":"string","maxLength":3}]}],"maxItems":4,
          "unevaluatedItems":{"type":"integer"}})",
      R"({"type":"array","allOf":[{"prefixItems":[{"type":"boolean"}]}],"minItems":1,
          "unevaluatedItems":false})",
  };
  std::mt19937 random(5);
  int ended = 0;
  int begun = 0;
  for (const char* source : schemas) {
    const CompiledOr grammar = schema(source);
    ASSERT_TRUE(grammar.ok()) << source << ": " << grammar.status();
    const json::value root = json::parse(source);
    for (int round = 0; round < 40; ++round, ++begun) {
      const std::vector<std::string> tokens = test_tokens(random_tokens(300, &random));
      const std::optional<std::string> text =
          random_answer(grammar, tokens, table_of(tokens), &random);
      if (!text) continue;
      ++ended;
      json::error_code error;
      const json::value document = json::parse(*text, error);
      ASSERT_FALSE(error) << *text;
      ASSERT_TRUE(validates(document, root, root)) << source << " " << *text;
      ASSERT_FALSE(has_key_twice(*text)) << *text;
    }
  }
  EXPECT_GE(ended, begun * 95 / 100);
}

TEST(RandomWalk, EveryFinishedAnswerMatchesTheRegex) {
  std::mt19937 random(6);
  for (const char* source : {"(a|b)*c{1,3}", "[a-c]+(\\.[0-9]{1,3})?", "\"(\\\\.|[^\"\\\\])*\"",
                             "(true|null|id)( (true|id)){0,4}", "-?(0|[1-9][0-9]*)(e-?[01]+)?"}) {
    const CompiledOr grammar = compile_regex(source);
    ASSERT_TRUE(grammar.ok()) << grammar.status();
    for (int round = 0; round < 40; ++round) {
      const std::vector<std::string> tokens = test_tokens(random_tokens(200, &random));
      const std::optional<std::string> text =
          random_answer(grammar, tokens, table_of(tokens), &random);
      if (text) {
        ASSERT_TRUE(std::regex_match(*text, std::regex(source))) << source << " " << *text;
      }
    }
  }
}

TEST(RandomWalk, TheSameDrawsGiveTheSameAnswer) {
  std::mt19937 vocabulary(8);
  const std::vector<std::string> tokens = test_tokens(random_tokens(300, &vocabulary));
  for (int seed = 0; seed < 5; ++seed) {
    std::mt19937 first(seed);
    std::mt19937 second(seed);
    EXPECT_EQ(random_answer(compile_json_object(), tokens, table_of(tokens), &first),
              random_answer(compile_json_object(), tokens, table_of(tokens), &second));
  }
}

}  // namespace
}  // namespace deltaserve
