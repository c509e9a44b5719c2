#include "server/tools/history.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include "models/base/json_numbers.h"
#include "server/tools/call_ids.h"
#include "server/tools/conventions.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

HistoryRules rules_for(const std::string& source) {
  const auto parsed = ChatTemplate::parse(source);
  if (!parsed.ok()) ADD_FAILURE() << parsed.status();
  ServedModel model;
  model.special_tokens = {{"eos_token", "</s>"}};
  return find_conventions(source, **parsed, model).history;
}

std::string shaped(const HistoryRules& rules, const std::string& messages) {
  json::array list = json::parse(messages).get_array();
  HistoryShaper shaper(rules);
  for (json::value& message : list) shaper.shape(&message.get_object());
  return json::serialize(list);
}

std::string each_call(const std::string& body) {
  return "{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}" + body +
         "{% endfor %}{% endif %}{% if m.role == 'tool' %}{{ m.content }}{% endif %}{% endfor %}";
}

TEST(History, TemplatesTellWhatTheyWant) {
  const HistoryRules object = rules_for(each_call("{{ c.function.arguments | tojson }}"));
  EXPECT_FALSE(object.arguments_as_text);
  EXPECT_FALSE(object.none_for_no_content);
  EXPECT_FALSE(object.results_of_environment);
  EXPECT_TRUE(rules_for(each_call("{{ 'x' + c.function.arguments }}")).arguments_as_text);
  EXPECT_TRUE(rules_for(each_call("{{ c.function.arguments }}")).arguments_as_text);
  EXPECT_FALSE(rules_for(each_call("{% for k, v in c.function.arguments.items() %}{{ k }}={{ v }}"
                                   "{% endfor %}"))
                   .arguments_as_text);
}

TEST(History, TheEmptyTextStandsForNoContentUnlessTheTemplateWantsNone) {
  const std::string call = "{{ c.function.arguments | tojson }}";
  EXPECT_FALSE(rules_for(each_call("{{ 'x' + m.content }}" + call)).none_for_no_content);
  EXPECT_FALSE(rules_for(each_call("{{ m.content }}" + call)).none_for_no_content);
  EXPECT_TRUE(rules_for(each_call("{% if m.content is none %}" + call + "{% endif %}"))
                  .none_for_no_content);
  EXPECT_TRUE(rules_for(each_call("{% if m.content is not none %}{{ m.content + eos_token }}"
                                  "{% endif %}" +
                                  call))
                  .none_for_no_content);
}

// They are written like those of Python.
TEST(History, NumbersStayAsTheyCame) {
  const std::string call = R"([{"role":"assistant","content":"a","tool_calls":[{"id":"1",)"
                           R"("type":"function","function":{"name":"f","arguments":)";
  const std::string numbers = R"({"a":123456789012345678901234567890,"b":[1.0,1e+22,1e-07,-0.0]})";
  HistoryRules rules;
  const auto shown = [&](const std::string& arguments) {
    json::array list = parse_json_exactly(call + arguments + "}}]}]", 64)->get_array();
    HistoryShaper(rules).shape(&list[0].get_object());
    return list;
  };
  const auto arguments_of = [](const json::array& list) {
    return list[0].at("tool_calls").at(0).at("function").at("arguments");
  };
  const std::string text = json::serialize(json::string(numbers));
  EXPECT_EQ(exact_json(arguments_of(shown(text))), numbers);
  rules.arguments_as_text = true;
  EXPECT_EQ(arguments_of(shown(numbers)), json::value(numbers));
  EXPECT_EQ(arguments_of(shown(text)), json::value(numbers));
  rules.calls_as_text = true;
  EXPECT_EQ(shown(text)[0].at("function_calls"),
            json::value("f(a=123456789012345678901234567890, b=[1.0,1e+22,1e-07,-0.0])"));
}

TEST(History, CallsAreWrittenOutForTemplatesThatReadThemSo) {
  const HistoryRules rules = rules_for(
      "<function_calls>{% for m in messages %}{{ m.function_calls }}"
      "{% if m.role == 'environment' %}{{ m.content }}{% endif %}{% endfor %}");
  EXPECT_TRUE(rules.calls_as_text);
  EXPECT_TRUE(rules.results_of_environment);
  EXPECT_EQ(shaped(rules, R"([{"role":"assistant","content":"a","tool_calls":[{"id":"1",)"
                          R"("type":"function","function":{"name":"f","arguments":)"
                          R"("{\"a\":\"b\",\"c\":null}"}}]}])"),
            R"([{"role":"assistant","content":"a","tool_calls":[{"id":"1","type":"function",)"
            R"("function":{"name":"f","arguments":{"a":"b","c":null}}}],)"
            R"x("function_calls":"f(a=\"b\", c=null)"}])x");
}

TEST(History, IdsOfOtherServersAreMappedForCallAndResult) {
  const std::string messages =
      R"([{"role":"assistant","content":"","tool_calls":[)"
      R"({"id":"call_123456789","type":"function","function":{"name":"f","arguments":{}}},)"
      R"({"id":"abcdefghi","type":"function","function":{"name":"g","arguments":{}}}]},)"
      R"({"role":"tool","tool_call_id":"call_123456789","content":"x"},)"
      R"({"role":"tool","tool_call_id":"abcdefghi","content":"x"}])";
  for (const CallIdShape shape : {CallIdShape::kNine, CallIdShape::kFunctions, CallIdShape::kAny}) {
    const json::value list = json::parse(shaped({.ids = shape}, messages));
    const json::value& calls = list.at(0).at("tool_calls");
    for (size_t i = 0; i < 2; ++i) {
      const std::string id(calls.at(i).at("id").as_string().c_str());
      EXPECT_TRUE(has_shape(shape, id)) << id;
      EXPECT_EQ(list.at(i + 1).at("tool_call_id").as_string(), id.c_str());
    }
    const bool kept = calls.at(1).at("id").as_string() == "abcdefghi";
    EXPECT_EQ(kept, shape != CallIdShape::kFunctions);
  }
}

TEST(History, ReasoningHasBothNames) {
  EXPECT_EQ(shaped({}, R"([{"role":"assistant","content":"a","reasoning":"r"}])"),
            R"([{"role":"assistant","content":"a","reasoning":"r","reasoning_content":"r"}])");
}

TEST(History, ArgumentsThatAreAbsentAreNone) {
  for (const bool text : {false, true}) {
    EXPECT_EQ(shaped({.arguments_as_text = text},
                     R"([{"role":"assistant","tool_calls":[{"id":"1","type":"function",)"
                     R"("function":{"name":"f"}}]}])"),
              std::string(R"([{"role":"assistant","tool_calls":[{"id":"1","type":"function",)") +
                  R"("function":{"name":"f","arguments":)" + (text ? "\"{}\"" : "{}") +
                  R"(}}],"content":""}])");
  }
}

}  // namespace
}  // namespace deltaserve
