#include "server/tools/answer_parser.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <random>
#include <set>
#include <sstream>

#include "engine/sequence/text_emitter.h"
#include "server/tools/call_ids.h"
#include "tests/server/tools/marker_tokenizer.h"
#include "tests/server/tools/recorded_cases.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

std::vector<std::string> texts_of(const json::object& object, const char* key) {
  std::vector<std::string> texts;
  if (const json::value* list = object.if_contains(key)) {
    for (const json::value& text : list->get_array()) texts.emplace_back(text.get_string());
  }
  return texts;
}

// Cases are what models write and what clients are to be told of it.
struct Case {
  const json::object& fields;
  const json::object& format;

  std::string id() const { return text_of(fields, "id"); }
  bool strict() const { return fields.at("strict").get_bool(); }
  bool cut() const { return fields.contains("cut"); }
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const json::value& value : recorded_cases().at("cases").get_array()) {
    const json::object& fields = value.get_object();
    const std::string id = text_of(fields, "id");
    const json::object& formats = recorded_cases().at("formats").get_object();
    cases.push_back({fields, formats.at(id.substr(0, id.find('/'))).get_object()});
  }
  return cases;
}

json::array tools_of(const Case& one) {
  const json::value* names = one.fields.if_contains("tools");
  return names == nullptr ? json::array() : tools_named(names->get_array());
}

std::shared_ptr<AnswerRules> rules_of(const Case& one, const Tokenizer* tokenizer) {
  const std::string source = text_of(one.format, "template");
  auto rules = std::make_shared<AnswerRules>();
  const ReasoningFormat* reasoning = recognise_reasoning_format(source);
  rules->markup =
      std::make_shared<AnswerMarkup>(recognise_tool_format(source), reasoning, tokenizer);
  rules->reads_calls = text_of(one.fields, "tool_choice") != "none";
  rules->reads_reasoning = reasoning != nullptr;
  rules->tools = ToolArguments(tools_of(one));
  const char* const key = "prompt_end";
  const std::string prompt = text_of(one.fields.contains(key) ? one.fields : one.format, key);
  if (reasoning != nullptr) rules->start = reasoning_start(*reasoning, "Hi\n" + prompt);
  return rules;
}

// The answer in tokens: markers that are tokens, and other bytes cut at random places. Markers that
// a string speaks of are spelled.
std::vector<int32_t> tokens_of(const Case& one, MarkerTokenizer* tokenizer, std::mt19937* random,
                               size_t longest) {
  std::vector<int32_t> tokens;
  const std::string output = text_of(one.fields, "output");
  const bool spelled = one.id().ends_with("/marker-in-string");
  const size_t spelled_from = spelled ? output.find('{') : output.npos;
  size_t at = 0;
  while (at < output.size()) {
    const int32_t marker = at < spelled_from ? tokenizer->marker_at(output.substr(at)) : -1;
    size_t size = 1 + (*random)() % longest;
    if (marker >= 0) {
      size = tokenizer->piece(marker).size();
      tokens.push_back(marker);
    } else {
      const size_t control = tokenizer->next_control(output, at);
      if (at < spelled_from) size = std::min(size, control - at);
      tokens.push_back(tokenizer->add(output.substr(at, size)));
    }
    at += size;
  }
  return tokens;
}

struct Told {
  ParsedAnswer answer;
  bool called = false;
  std::vector<AnswerDelta> deltas;
};

Told parse(const Case& one, const std::shared_ptr<AnswerRules>& rules,
           const MarkerTokenizer& tokenizer, const std::vector<int32_t>& tokens,
           size_t tokens_at_once) {
  AnswerParser parser(rules);
  TextEmitter emitter({});
  Told told;
  std::string text;
  std::vector<ControlToken> controls;
  const auto pass_on = [&] {
    std::vector<AnswerDelta> deltas;
    parser.append(text, controls, &deltas);
    told.answer.add(deltas);
    for (AnswerDelta& delta : deltas) append_delta(std::move(delta), &told.deltas);
    text.clear();
    controls.clear();
  };
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string bytes = tokenizer.bytes_of(tokens[i]);
    if (bytes.empty()) controls.push_back({emitter.text_bytes(), tokens[i]});
    emitter.append(bytes, &text);
    if ((i + 1) % tokens_at_once == 0) pass_on();
  }
  emitter.flush(&text);
  pass_on();
  std::vector<AnswerDelta> deltas;
  parser.finish(one.cut(), &deltas);
  told.answer.add(deltas);
  for (AnswerDelta& delta : deltas) append_delta(std::move(delta), &told.deltas);
  told.called = parser.called();
  return told;
}

std::string trimmed(std::string text) {
  const size_t last = text.find_last_not_of(" \n");
  text.resize(last == text.npos ? 0 : last + 1);
  return text.substr(std::min(text.find_first_not_of(" \n"), text.size()));
}

// Returns what is wrong; empty for a right answer.
std::string complaint(const Case& one, const Told& told) {
  std::stringstream wrong;
  if (trimmed(told.answer.content) != text_of(one.fields, "content")) {
    wrong << "content: " << told.answer.content << "; ";
  }
  if (told.answer.reasoning != text_of(one.fields, "reasoning")) {
    wrong << "reasoning: " << told.answer.reasoning << "; ";
  }
  if (one.cut()) {
    if (told.answer.calls.size() > 1) wrong << "calls: " << told.answer.calls.size();
    return wrong.str();
  }
  const json::array calls =
      one.fields.contains("calls") ? one.fields.at("calls").get_array() : json::array();
  if (told.called != !calls.empty()) wrong << "called: " << told.called << "; ";
  if (told.answer.calls.size() != calls.size()) {
    wrong << "calls: " << told.answer.calls.size() << "; ";
    return wrong.str();
  }
  const std::vector<std::string> ids = texts_of(one.fields, "ids");
  std::set<std::string> seen;
  for (size_t i = 0; i < calls.size(); ++i) {
    const ToolCall& call = told.answer.calls[i];
    boost::system::error_code ec;
    const json::value arguments = json::parse(call.arguments, ec);
    if (ec || call.name != calls[i].at(0).as_string().c_str() || arguments != calls[i].at(1)) {
      wrong << "call: " << call.name << " " << call.arguments << "; ";
    }
    if (!ids.empty() && call.id != ids[i]) wrong << "id: " << call.id << "; ";
    if (!seen.insert(call.id).second) wrong << "id twice: " << call.id << "; ";
  }
  return wrong.str();
}

// Cases that malformed answers leave to a judgement other than the recorded one: what is broken is
// passed on as the model wrote it, and text after calls is kept.
bool judged_otherwise(const std::string& id) {
  return id == "hermes/bad-json" || id == "kimi_k2/text-after";
}

TEST(AnswerParser, AnswersOfPublishedFormatsAreReadHoweverTheyAreCut) {
  std::mt19937 random(7);
  for (const Case& one : all_cases()) {
    if (judged_otherwise(one.id())) continue;
    for (const size_t longest : {1, 2, 5, 16, 1000}) {
      MarkerTokenizer tokenizer(texts_of(one.format, "markers"),
                                one.format.at("control").get_bool());
      const std::shared_ptr<AnswerRules> rules = rules_of(one, &tokenizer);
      ASSERT_NE(rules->markup->tools(), std::nullopt) << one.id();
      EXPECT_EQ(rules->markup->tools()->name, text_of(one.format, "format")) << one.id();
      const std::vector<int32_t> tokens = tokens_of(one, &tokenizer, &random, longest);
      const Told told = parse(one, rules, tokenizer, tokens, 1);
      EXPECT_EQ(complaint(one, told), "") << one.id() << " in tokens of " << longest;
      const Told whole = parse(one, rules, tokenizer, tokens, tokens.size());
      EXPECT_EQ(complaint(one, whole), "") << one.id() << " at once";
      EXPECT_EQ(whole.answer.content, told.answer.content) << one.id();
      if (!one.cut() && !told.answer.calls.empty()) {
        EXPECT_EQ(whole.answer.calls[0].arguments, told.answer.calls[0].arguments);
      }
    }
  }
}

TEST(AnswerParser, MarkersThatAreTextAreFoundInAnyTokens) {
  std::mt19937 random(8);
  for (const Case& one : all_cases()) {
    if (one.format.at("control").get_bool() || judged_otherwise(one.id())) continue;
    for (const size_t longest : {1, 3, 7}) {
      MarkerTokenizer tokenizer({}, false);
      const std::shared_ptr<AnswerRules> rules = rules_of(one, &tokenizer);
      const std::vector<int32_t> tokens = tokens_of(one, &tokenizer, &random, longest);
      EXPECT_EQ(complaint(one, parse(one, rules, tokenizer, tokens, 1)), "") << one.id();
    }
  }
}

// An answer that its length cuts shows no markup, wherever that is.
TEST(AnswerParser, CutAnswersShowNoMarkup) {
  for (const Case& one : all_cases()) {
    if (!one.strict() || !one.fields.contains("calls") || one.cut()) continue;
    const std::string output = text_of(one.fields, "output");
    const std::string content = text_of(one.fields, "content");
    if (one.format.at("control").get_bool()) continue;
    MarkerTokenizer tokenizer({}, false);
    const std::shared_ptr<AnswerRules> rules = rules_of(one, &tokenizer);
    for (size_t size = 0; size < output.size(); ++size) {
      AnswerParser parser(rules);
      TextEmitter emitter({});
      ParsedAnswer answer;
      std::vector<AnswerDelta> deltas;
      std::string text;
      emitter.append(output.substr(0, size), &text);
      parser.append(text, {}, &deltas);
      parser.finish(/*cut=*/true, &deltas);
      answer.add(deltas);
      const std::string said =
          answer.content.substr(0, answer.content.find_last_not_of("\n<f") + 1);
      EXPECT_TRUE(content.starts_with(said)) << one.id() << " at " << size << ": " << said;
    }
  }
}

// Texts of which nonsense in the markup of a format is made.
std::vector<std::string> fragments_of(const json::object& form) {
  std::vector<std::string> fragments = {"{",
                                        "}",
                                        "[",
                                        "]",
                                        "\"name\": \"add\"",
                                        "\"arguments\": ",
                                        "\"a\": 1",
                                        ", ",
                                        "\n",
                                        " ",
                                        "add",
                                        "(a=",
                                        ")",
                                        "\"",
                                        "\\",
                                        "é",
                                        "<function=add>",
                                        "</function>",
                                        "<parameter=a>",
                                        "</parameter>",
                                        "1",
                                        "<",
                                        "functools",
                                        "```json\n",
                                        ":0",
                                        "text"};
  for (const std::string& marker : texts_of(form, "markers")) {
    for (int i = 0; i < 4; ++i) fragments.push_back(marker);
  }
  return fragments;
}

// Nonsense, too, is read alike however it is cut, and nothing of it is lost where no call is found.
TEST(AnswerParser, NonsenseIsReadAlikeHoweverItIsCut) {
  std::mt19937 random(9);
  for (const auto& [name, form] : recorded_cases().at("formats").get_object()) {
    const std::vector<std::string> fragments = fragments_of(form.get_object());
    for (int round = 0; round < 300; ++round) {
      std::string text;
      for (size_t i = 0; i < 1 + random() % 20; ++i) text += fragments[random() % fragments.size()];
      const json::object fields = {{"id", name}, {"output", text}, {"tools", json::array{"add"}}};
      const Case one{fields, form.get_object()};
      MarkerTokenizer tokenizer(texts_of(one.format, "markers"),
                                one.format.at("control").get_bool());
      const std::shared_ptr<AnswerRules> rules = rules_of(one, &tokenizer);
      const std::vector<int32_t> tokens = tokens_of(one, &tokenizer, &random, 4);
      Told told = parse(one, rules, tokenizer, tokens, 1);
      Told whole = parse(one, rules, tokenizer, tokens, tokens.size());
      for (Told* side : {&told, &whole}) {
        for (ToolCall& call : side->answer.calls) call.id.clear();
      }
      EXPECT_EQ(told.answer, whole.answer) << name << ": " << text;
    }
  }
}

std::shared_ptr<AnswerRules> hermes_rules() {
  auto rules = std::make_shared<AnswerRules>();
  rules->markup = std::make_shared<AnswerMarkup>(find_tool_format("hermes"), nullptr, nullptr);
  rules->reads_calls = true;
  return rules;
}

ParsedAnswer parse(const std::shared_ptr<AnswerRules>& rules, const std::string& text,
                   bool cut = false) {
  AnswerParser parser(rules);
  std::vector<AnswerDelta> deltas;
  parser.append(text, {}, &deltas);
  parser.finish(cut, &deltas);
  ParsedAnswer answer;
  answer.add(deltas);
  return answer;
}

constexpr const char* kTwoCalls =
    "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\":  1.50}}\n</tool_call>\n"
    "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>";

TEST(AnswerParser, ArgumentsKeepTheirSpelling) {
  const ParsedAnswer answer = parse(hermes_rules(), kTwoCalls);
  ASSERT_EQ(answer.calls.size(), 2u);
  EXPECT_EQ(answer.calls[0].arguments, "{\"a\":  1.50}");
  EXPECT_TRUE(answer.calls[0].id.starts_with("call_"));
  EXPECT_EQ(answer.calls[0].id.size(), 29u);
}

TEST(AnswerParser, OnlyTheFirstCallCountsIfCallsAreNotParallel) {
  auto rules = hermes_rules();
  rules->only_first_call = true;
  const ParsedAnswer answer = parse(rules, kTwoCalls);
  ASSERT_EQ(answer.calls.size(), 1u);
  EXPECT_EQ(answer.calls[0].name, "f");
  EXPECT_EQ(answer.content, "");
}

TEST(AnswerParser, AnswersWithoutMarkupAreKeptToTheByte) {
  for (const char* text : {"", " \n", "\n a \n\n", "<", "a <tool_cal", "{\"name\": 1}\n"}) {
    EXPECT_EQ(parse(hermes_rules(), text).content, text);
  }
}

TEST(AnswerParser, AMarkerWithoutACallIsText) {
  const std::string text = "Write <tool_call> and <tool_call>\n{\"x\": 1}\n</tool_call> then.";
  EXPECT_EQ(parse(hermes_rules(), text).content, text);
}

TEST(AnswerParser, TextBetweenAndBehindCallsIsKept) {
  const std::string call = "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>";
  const ParsedAnswer answer = parse(hermes_rules(), "One" + call + "\nTwo" + call + "Three\n");
  EXPECT_EQ(answer.content, "One\nTwoThree");
  EXPECT_EQ(answer.calls.size(), 2u);
}

TEST(AnswerParser, ReasoningMayBeDroppedOrLeft) {
  auto rules = std::make_shared<AnswerRules>();
  const ReasoningFormat* format = recognise_reasoning_format("<think>");
  rules->markup = std::make_shared<AnswerMarkup>(nullptr, format, nullptr);
  rules->reads_reasoning = true;
  rules->tells_reasoning = false;
  EXPECT_EQ(parse(rules, "<think>a</think>b"), ParsedAnswer{.content = "b"});
  rules->reads_reasoning = false;
  EXPECT_EQ(parse(rules, "<think>a</think>b").content, "<think>a</think>b");
}

TEST(ToolFormat, EveryNameIsFoundAndNoFormatIsInPlainTemplates) {
  for (const std::string& name : tool_format_names()) {
    ASSERT_NE(find_tool_format(name), nullptr) << name;
    EXPECT_EQ(find_tool_format(name)->name, name);
  }
  EXPECT_EQ(find_tool_format("auto"), nullptr);
  EXPECT_EQ(recognise_tool_format("{% for m in messages %}{{ m.content }}{% endfor %}"), nullptr);
}

TEST(CallIds, HaveTheShapeOfTheFormat) {
  EXPECT_TRUE(has_shape(CallIdShape::kNine, new_call_id(CallIdShape::kNine, "f", 3)));
  EXPECT_EQ(new_call_id(CallIdShape::kFunctions, "a.b", 3), "functions.a.b:3");
  EXPECT_TRUE(has_shape(CallIdShape::kFunctions, "functions.a.b:3"));
  EXPECT_FALSE(has_shape(CallIdShape::kFunctions, "functions.a.b:"));
  EXPECT_FALSE(has_shape(CallIdShape::kNine, "call_1234"));
  EXPECT_TRUE(has_shape(CallIdShape::kNine, nine_for("call_1234")));
  EXPECT_NE(nine_for("call_1234"), nine_for("call_1235"));
}

}  // namespace
}  // namespace deltaserve
