// Templates against what Jinja2 makes of them; see cases/make_cases.py.
#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <fstream>
#include <sstream>
#include <string>

#include "tests/server/template/template_testing.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

json::object read_cases(const std::string& name) {
  std::ifstream file(std::string(DELTASERVE_SOURCE_DIR) + "/tests/server/template/cases/" + name);
  std::ostringstream text;
  text << file.rdbuf();
  return parse_json_exactly(text.str(), 100)->as_object();
}

std::string text_of(const json::value& value) {
  return std::string(value.as_string().data(), value.as_string().size());
}

TEST(TemplateLanguage, RendersAsJinja) {
  const json::object cases = read_cases("language.json");
  const json::object& given = cases.at("variables").as_object();
  size_t count = 0;
  for (const auto& group : cases.at("groups").as_object()) {
    for (const json::value& one : group.value().as_array()) {
      const std::string source = text_of(one.at("source"));
      const auto text = render_text(source, given);
      EXPECT_TRUE(text.ok()) << group.key() << ": " << source << "\n" << text.status();
      if (!text.ok()) continue;
      EXPECT_EQ(*text, text_of(one.at("text"))) << group.key() << ": " << source;
      ++count;
    }
  }
  EXPECT_GT(count, 200u);
}

// Case N02: a message that only calls tools has the content none. Templates that do not ask for it
// print it or fail.
TEST(TemplateLanguage, NoContentBesideToolCallsIsTheEmptyText) {
  const json::object given = variables(
      R"({"messages":[{"role":"assistant","content":null,"tool_calls":[{}]},
                      {"role":"user","content":null}]})");
  EXPECT_EQ(*render_text("{% for m in messages %}[{{ m.content }}]{% endfor %}", given),
            "[][None]");
  EXPECT_EQ(*render_text("{{ messages[0].content + 'x' }}", given), "x");
  for (const char* question :
       {"messages[0].content is none", "messages[0]['content'] == none", "content is not none"}) {
    const std::string source = std::string("{% set content = messages[0].content %}{{ ") +
                               question + " }}{{ messages[0].content }}";
    EXPECT_EQ(*render_text(source, given),
              std::string(question).find("not") == std::string::npos ? "TrueNone" : "FalseNone");
  }
}

TEST(TemplateLanguage, ModelsTemplatesRenderAsJinja) {
  const json::object cases = read_cases("models.json");
  const json::object& conversations = cases.at("conversations").as_object();
  size_t texts = 0;
  size_t messages = 0;
  for (const json::value& model : cases.at("models").as_array()) {
    for (const auto& one : model.at("cases").as_object()) {
      const std::string name = text_of(model.at("model")) + " " + std::string(one.key());
      const auto text =
          render_text(text_of(model.at("source")), conversations.at(one.key()).as_object());
      const json::object& expected = one.value().as_object();
      if (expected.contains("text")) {
        ASSERT_TRUE(text.ok()) << name << ": " << text.status();
        EXPECT_EQ(*text, text_of(expected.at("text"))) << name;
        ++texts;
        continue;
      }
      EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument) << name;
      if (!expected.contains("message")) continue;
      EXPECT_EQ(text.status().message(), text_of(expected.at("message"))) << name;
      ++messages;
    }
  }
  EXPECT_GT(texts, 30u);
  EXPECT_GT(messages, 5u);
}

TEST(TemplateLanguage, OneTemplateServesMany) {
  const auto parsed = ChatTemplate::parse(
      "{% set ns = namespace(n=0) %}{% for m in messages %}"
      "{% set ns.n = ns.n + m %}{% endfor %}{{ ns.n }}");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  for (int round = 0; round < 3; ++round) {
    const auto parts = (*parsed)->render(variables(R"({"messages": [1, 2, 3]})"), {});
    ASSERT_TRUE(parts.ok()) << parts.status();
    ASSERT_EQ(parts->size(), 1u);
    EXPECT_EQ(parts->front().text, "6");
  }
}

TEST(TemplateLanguage, NothingGivesNoParts) {
  for (const char* source : {"", "\n", "{% if messages %}x{% endif %}", "{# only a comment #}"}) {
    const auto parts = render_parts(source, {});
    ASSERT_TRUE(parts.ok()) << parts.status();
    EXPECT_TRUE(parts->empty()) << source;
  }
}

// Without a clock of the caller, the machine's is read.
TEST(TemplateLanguage, KnowsTheTime) {
  const auto parsed = ChatTemplate::parse("{{ strftime_now('%Y')|int > 2020 }}");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto parts = (*parsed)->render({}, {});
  ASSERT_TRUE(parts.ok()) << parts.status();
  EXPECT_EQ(parts->at(0).text, "True");
}

}  // namespace
}  // namespace deltaserve
