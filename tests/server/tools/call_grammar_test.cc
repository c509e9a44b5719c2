// Tests the grammars of answers with tool calls: what models of published formats write is
// permitted, and what a grammar forces is read as calls.
#include "server/tools/call_grammar.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <random>

#include "engine/sequence/text_emitter.h"
#include "server/tools/answer_parser.h"
#include "tests/server/tools/marker_tokenizer.h"
#include "tests/server/tools/recorded_cases.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

std::vector<std::string> markers_of(const json::object& format) {
  std::vector<std::string> markers;
  for (const json::value& marker : format.at("markers").get_array()) {
    markers.emplace_back(marker.get_string());
  }
  return markers;
}

// The markers of a format as tokens, and all bytes.
class Tokens {
 public:
  Tokens(const std::vector<std::string>& markers, bool control) : tokenizer(markers, control) {
    for (int byte = 0; byte < 256; ++byte) {
      const int32_t id = tokenizer.add(std::string(1, static_cast<char>(byte)));
      if (byte == 0) first_byte_ = id;
    }
  }

  int32_t byte(char c) const { return first_byte_ + static_cast<uint8_t>(c); }
  int32_t end() const { return tokenizer.size(); }

  // Cuts a text into markers and other tokens of at most `longest` bytes.
  std::vector<int32_t> cut(const std::string& text, size_t longest, std::mt19937* random) {
    std::vector<int32_t> tokens;
    for (size_t at = 0; at < text.size();) {
      const int32_t marker = tokenizer.marker_at(text.substr(at));
      if (marker >= 0) {
        tokens.push_back(marker);
        at += tokenizer.piece(marker).size();
        continue;
      }
      const size_t size =
          std::min(1 + (*random)() % longest, tokenizer.next_control(text, at) - at);
      tokens.push_back(size == 1 ? byte(text[at]) : tokenizer.add(text.substr(at, size)));
      at += std::min(size, text.size() - at);
    }
    return tokens;
  }

  std::shared_ptr<const TokenTable> table() const {
    std::vector<std::string> bytes;
    for (int32_t id = 0; id < tokenizer.size(); ++id) bytes.push_back(tokenizer.bytes_of(id));
    bytes.emplace_back();  // the end
    return std::make_shared<const TokenTable>(Vocabulary(bytes), end() + 1);
  }

  MarkerTokenizer tokenizer;

 private:
  int32_t first_byte_ = 0;
};

class Answer {
 public:
  Answer(const AnswerDemand& demand, const Tokens& tokens)
      : words_(static_cast<size_t>(tokens.end()) / 32 + 1), end_(tokens.end()) {
    const auto grammar = compile_answer_grammar(demand, nullptr, nullptr);
    EXPECT_TRUE(grammar.ok()) << grammar.status();
    if (!grammar.ok()) return;
    auto made = make_constraint(*grammar, tokens.table(), {end_});
    EXPECT_TRUE(made.ok()) << made.status();
    if (!made.ok()) return;
    constraint_ = *std::move(made);
    constraint_->allowed(words_);
  }

  bool made() const { return constraint_ != nullptr; }
  bool allows(int32_t token) const {
    return (words_[static_cast<size_t>(token) / 32] >> (token % 32) & 1) != 0;
  }
  bool may_end() const { return allows(end_); }
  bool finished() const { return constraint_->finished(); }
  void accept(int32_t token) {
    constraint_->accept(token);
    constraint_->allowed(words_);
  }
  // Returns how many of the tokens may come.
  size_t read(const std::vector<int32_t>& tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (!allows(tokens[i])) return i;
      accept(tokens[i]);
    }
    return tokens.size();
  }

 private:
  std::unique_ptr<TokenConstraint> constraint_;
  std::vector<uint32_t> words_;
  int32_t end_;
};

AnswerDemand demand_of(const json::object& format, const json::array& tools,
                       const Tokenizer* tokenizer) {
  AnswerDemand demand;
  const std::string source = text_of(format, "template");
  const ReasoningFormat* reasoning = recognise_reasoning_format(source);
  demand.markup =
      std::make_shared<AnswerMarkup>(recognise_tool_format(source), reasoning, tokenizer);
  demand.tools = tools;
  demand.reads_reasoning = reasoning != nullptr;
  if (reasoning != nullptr) {
    demand.start = reasoning_start(*reasoning, "Hi\n" + text_of(format, "prompt_end"));
  }
  return demand;
}

TEST(CallGrammar, PermitsWhatModelsWrite) {
  std::mt19937 random(3);
  for (const json::value& value : recorded_cases().at("cases").get_array()) {
    const json::object& one = value.get_object();
    const std::string id = text_of(one, "id");
    if (!one.at("strict").get_bool() || text_of(one, "tool_choice") == "none") continue;
    if (!one.contains("tools") || one.contains("cut")) continue;
    // Markers that a string speaks of are spelled: as text they are tested elsewhere.
    if (id.ends_with("/marker-in-string")) continue;
    const json::object& format =
        recorded_cases().at("formats").get_object().at(id.substr(0, id.find('/'))).get_object();
    for (const size_t longest : {1, 4, 40}) {
      Tokens tokens(markers_of(format), format.at("control").get_bool());
      const std::string output = text_of(one, "output");
      const std::vector<int32_t> cut = tokens.cut(output, longest, &random);
      Answer answer(demand_of(format, tools_named(one.at("tools").get_array()), &tokens.tokenizer),
                    tokens);
      ASSERT_TRUE(answer.made()) << id;
      const size_t read = answer.read(cut);
      EXPECT_EQ(read, cut.size()) << id << " stops before '"
                                  << (read < cut.size() ? tokens.tokenizer.piece(cut[read]) : "")
                                  << "' of " << output;
      EXPECT_TRUE(read < cut.size() || answer.may_end()) << id << " cannot end: " << output;
    }
  }
}

// Returns whether a model of the format may answer the text, and what is read of it.
std::optional<ParsedAnswer> read_if_permitted(const json::object& format, const json::array& tools,
                                              const std::string& text);

const char* const kPythonSchema = R"({"type": "object", "properties": {
  "s": {"type": "string"}, "short": {"type": "string", "maxLength": 3}, "i": {"type": "integer"},
  "b": {"type": "boolean"}, "e": {"enum": ["it's", "C", null]},
  "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": null},
  "words": {"type": "array", "items": {"type": "string"}}, "any": {}, "list": {"type": "array"},
  "o": {"type": "object", "properties": {"x": {"type": "integer"}, "ok": {"type": "boolean"}},
        "required": ["x"]},
  "tree": {"$ref": "#/$defs/tree"}},
  "$defs": {"tree": {"type": "object", "properties": {
    "leaves": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
    "additionalProperties": false}}})";

TEST(CallGrammar, PythonsSpellingOfValuesIsPermittedAndKeepsTheirTypes) {
  const json::object& format =
      recorded_cases().at("formats").get_object().at("olmo_3").get_object();
  json::object function{{"name", "f"}, {"parameters", json::parse(kPythonSchema)}};
  json::array tools;
  tools.push_back({{"type", "function"}, {"function", std::move(function)}});
  struct Row {
    const char* written;
    const char* read;  // null: it is not permitted
  };
  const Row kRows[] = {
      {"s='a \"b\" \\'c\\' \\n'", R"({"s": "a \"b\" 'c' \n"})"},
      {"s='\\ud83e\\udd9c\\x41'", R"({"s": "🦜A"})"},
      {"b=True,i=3, s=\"x\"", R"({"b": true, "i": 3, "s": "x"})"},
      {"e='it\\'s'", R"({"e": "it's"})"},
      {"e=\"C\"", R"({"e": "C"})"},
      {"e=None", R"({"e": null})"},
      {"maybe=None", R"({"maybe": null})"},
      {"maybe=7", R"({"maybe": 7})"},
      {"words=['a', \"b\", '']", R"({"words": ["a", "b", ""]})"},
      {"words=[]", R"({"words": []})"},
      {"any=[1, 'a', None, True, {'k': ['v']}]", R"({"any": [1, "a", null, true, {"k": ["v"]}]})"},
      {"list=[[1], [None, [3]]]", R"({"list": [[1], [null, [3]]]})"},
      {"o={'ok': False, 'x': 1}", R"({"o": {"ok": false, "x": 1}})"},
      {"any={\"x\": 1, 'more': None}", R"({"any": {"x": 1, "more": null}})"},
      {"tree={'leaves': [{}, {'leaves': []}]}", R"({"tree": {"leaves": [{}, {"leaves": []}]}})"},
      {"short=\"abc\"", R"({"short": "abc"})"},
      {"short='abcd'", nullptr},
      {"i='3'", nullptr},
      {"i=None", nullptr},
      {"b='True'", nullptr},
      {"e='D'", nullptr},
      {"maybe='7'", nullptr},
      {"words=['a', 1]", nullptr},
      {"o={'ok': True}", nullptr},
      {"o={'x': 'y'}", nullptr},
      {"o={'x': 1, 'x': 2}", nullptr},
      {"tree={'fruit': 1}", nullptr},
      {"s='\\ud83e'", nullptr},
  };
  for (const Row& row : kRows) {
    const std::string text = std::string("<function_calls>f(") + row.written + ")</function_calls>";
    const std::optional<ParsedAnswer> answer = read_if_permitted(format, tools, text);
    ASSERT_EQ(answer.has_value(), row.read != nullptr) << text;
    if (row.read == nullptr) continue;
    ASSERT_EQ(answer->calls.size(), 1u) << text;
    EXPECT_EQ(json::parse(answer->calls[0].arguments), json::parse(row.read)) << text;
  }
}

TEST(CallGrammar, ListedWordsMayBePythonsInTags) {
  const json::object& format =
      recorded_cases().at("formats").get_object().at("qwen3_coder").get_object();
  json::object function{{"name", "f"}, {"parameters", json::parse(R"({"type": "object",
      "properties": {"e": {"enum": ["a b", 3, true, null], "description": "One."}}})")}};
  json::array tools;
  tools.push_back({{"type", "function"}, {"function", std::move(function)}});
  const std::pair<const char*, const char*> kRows[] = {
      {"None", "null"},    {"null", "null"}, {"True", "true"},   {"true", "true"},
      {"a b", R"("a b")"}, {"3", "3"},       {"False", nullptr}, {"false", nullptr}};
  for (const auto& [written, read] : kRows) {
    const std::string text = std::string("<tool_call>\n<function=f>\n<parameter=e>\n") + written +
                             "\n</parameter>\n</function>\n</tool_call>";
    const std::optional<ParsedAnswer> answer = read_if_permitted(format, tools, text);
    ASSERT_EQ(answer.has_value(), read != nullptr) << text;
    if (read == nullptr) continue;
    ASSERT_EQ(answer->calls.size(), 1u) << text;
    EXPECT_EQ(json::parse(answer->calls[0].arguments).at("e"), json::parse(read)) << text;
  }
}

// A schema of random properties; `deep` ones are objects and lists.
json::object random_schema(std::mt19937* random, int depth) {
  static const char* const kNames[] = {"a", "ab", "city", "unit-2", "x_y", "limit", "tags"};
  json::object properties;
  json::array required;
  const size_t count = (*random)() % 4;
  for (size_t i = 0; i < count; ++i) {
    const char* name = kNames[(*random)() % std::size(kNames)];
    json::object property;
    switch ((*random)() % (depth > 0 ? 8 : 6)) {
      case 0: property = {{"type", "string"}}; break;
      case 1: property = {{"type", "integer"}, {"minimum", -5}, {"maximum", 120}}; break;
      case 2: property = {{"type", "boolean"}}; break;
      case 3: property = {{"enum", {"c", "f", "kelvin"}}}; break;
      case 4: property = {{"type", "number"}}; break;
      case 5: property = {{"type", "string"}, {"minLength", 1}, {"maxLength", 3}}; break;
      case 6:
        property = {{"type", "array"}, {"items", {{"type", "integer"}}}, {"maxItems", 3}};
        break;
      default: property = random_schema(random, depth - 1);
    }
    if ((*random)() % 2 == 0 && !properties.contains(name)) required.emplace_back(name);
    if (!properties.contains(name)) properties[name] = std::move(property);
  }
  return {{"type", "object"},
          {"properties", std::move(properties)},
          {"required", std::move(required)},
          {"additionalProperties", false}};
}

bool has_type(const json::value& value, const json::object& schema);

bool fits(const json::object& object, const json::object& schema) {
  for (const json::value& name : schema.at("required").get_array()) {
    if (!object.contains(name.get_string())) return false;
  }
  for (const auto& member : object) {
    const json::value* property = schema.at("properties").get_object().if_contains(member.key());
    if (property == nullptr || !has_type(member.value(), property->get_object())) return false;
  }
  return true;
}

bool has_type(const json::value& value, const json::object& schema) {
  if (const json::value* choices = schema.if_contains("enum")) {
    const json::array& list = choices->get_array();
    return std::find(list.begin(), list.end(), value) != list.end();
  }
  const std::string type = schema.at("type").get_string().c_str();
  if (type == "string") {
    if (!value.is_string()) return false;
    const json::value* longest = schema.if_contains("maxLength");
    const size_t bytes = value.get_string().size();
    return longest == nullptr || (bytes >= 1 && bytes <= 4 * longest->to_number<size_t>());
  }
  if (type == "integer")
    return value.is_int64() && value.get_int64() >= -5 && value.get_int64() <= 120;
  if (type == "number") return value.is_number();
  if (type == "boolean") return value.is_bool();
  if (type == "array") return value.is_array() && value.get_array().size() <= 3;
  return value.is_object() && fits(value.get_object(), schema);
}

// The ends of values, which random bytes would never spell.
std::vector<std::string> closes_of(const AnswerDemand& demand) {
  const ToolFormat& format = *demand.markup->tools();
  std::vector<std::string> closes{"\"", "}", "]", ")"};
  if (!format.value_close.empty()) {
    const std::string space = format.value_in_lines ? format.gap : "";
    closes.push_back(space + format.value_close);
  }
  return closes;
}

// Returns the byte with which the text comes nearer to one of the closes.
std::optional<char> nearer(const std::string& text, const std::vector<std::string>& closes) {
  for (const std::string& close : closes) {
    for (size_t size = close.size() - 1; size > 0; --size) {
      if (text.ends_with(close.substr(0, size))) return close[size];
    }
  }
  return std::nullopt;
}

// Draws tokens that a grammar permits, often such as close something, until the answer may end.
std::optional<std::vector<int32_t>> draw(Answer* answer, const AnswerDemand& demand,
                                         const Tokens& tokens, std::mt19937* random) {
  const std::vector<std::string> closes = closes_of(demand);
  std::vector<int32_t> drawn;
  std::string text;
  while (drawn.size() < 4000) {
    if (answer->finished()) return drawn;
    if (answer->may_end() && (*random)() % 2 == 0) return drawn;
    std::vector<int32_t> next;
    for (int32_t id = 0; id < tokens.end(); ++id) {
      if (answer->allows(id)) next.push_back(id);
    }
    if (next.empty()) return answer->may_end() ? std::optional(drawn) : std::nullopt;
    int32_t token = next[(*random)() % next.size()];
    for (const std::string& close : closes) {
      if (answer->allows(tokens.byte(close[0])) && (*random)() % 3 == 0) {
        token = tokens.byte(close[0]);
      }
    }
    const std::optional<char> go_on = nearer(text, closes);
    if (go_on && answer->allows(tokens.byte(*go_on))) token = tokens.byte(*go_on);
    // Markers that are tokens close values, too.
    if (next[0] < tokens.byte('\0') && (*random)() % 3 == 0) token = next[0];
    drawn.push_back(token);
    text += tokens.tokenizer.piece(token);
    answer->accept(token);
  }
  return std::nullopt;
}

ParsedAnswer parsed(const AnswerDemand& demand, const Tokens& tokens,
                    const std::vector<int32_t>& drawn) {
  auto rules = std::make_shared<AnswerRules>();
  rules->markup = demand.markup;
  rules->reads_calls = true;
  rules->reads_reasoning = demand.reads_reasoning;
  rules->start = demand.start;
  rules->tools = ToolArguments(demand.tools);
  AnswerParser parser(rules);
  TextEmitter emitter({});
  std::string text;
  std::vector<ControlToken> controls;
  for (const int32_t token : drawn) {
    const std::string bytes = tokens.tokenizer.bytes_of(token);
    if (bytes.empty()) controls.push_back({emitter.text_bytes(), token});
    emitter.append(bytes, &text);
  }
  emitter.flush(&text);
  std::vector<AnswerDelta> deltas;
  parser.append(text, controls, &deltas);
  parser.finish(false, &deltas);
  ParsedAnswer answer;
  answer.add(deltas);
  return answer;
}

std::optional<ParsedAnswer> read_if_permitted(const json::object& format, const json::array& tools,
                                              const std::string& text) {
  std::mt19937 random(5);
  Tokens tokens(markers_of(format), format.at("control").get_bool());
  const std::vector<int32_t> cut = tokens.cut(text, 3, &random);
  const AnswerDemand demand = demand_of(format, tools, &tokens.tokenizer);
  Answer answer(demand, tokens);
  if (!answer.made() || answer.read(cut) < cut.size() || !answer.may_end()) return std::nullopt;
  return parsed(demand, tokens, cut);
}

std::string shown(const Tokens& tokens, const std::vector<int32_t>& drawn) {
  std::string text;
  for (const int32_t token : drawn) text += tokens.tokenizer.piece(token);
  return text;
}

TEST(CallGrammar, ForcedCallsAreReadAndFitTheirSchemas) {
  std::mt19937 random(11);
  for (const auto& [key, value] : recorded_cases().at("formats").get_object()) {
    const json::object& format = value.get_object();
    const std::string source = text_of(format, "template");
    if (recognise_tool_format(source) == nullptr) continue;
    for (int round = 0; round < 4; ++round) {
      json::array tools;
      std::vector<json::object> schemas;
      for (const char* name : {"get_weather", "get", "sum.up"}) {
        schemas.push_back(random_schema(&random, 2));
        json::object function{{"name", name}, {"parameters", schemas.back()}};
        function["strict"] = round % 2 == 0;
        tools.push_back({{"type", "function"}, {"function", std::move(function)}});
      }
      Tokens tokens(markers_of(format), format.at("control").get_bool());
      AnswerDemand demand = demand_of(format, tools, &tokens.tokenizer);
      demand.start = ReasoningStart::kNone;
      demand.must_call = true;
      demand.only_one = round >= 2;
      Answer answer(demand, tokens);
      ASSERT_TRUE(answer.made()) << key;
      const std::optional<std::vector<int32_t>> drawn = draw(&answer, demand, tokens, &random);
      ASSERT_TRUE(drawn) << key << " does not end";
      const ParsedAnswer said = parsed(demand, tokens, *drawn);
      const std::string text = shown(tokens, *drawn);
      EXPECT_EQ(said.content, "") << key << ": " << text;
      ASSERT_FALSE(said.calls.empty()) << key << ": " << text;
      EXPECT_TRUE(!demand.only_one || said.calls.size() == 1) << key << ": " << text;
      for (const ToolCall& call : said.calls) {
        size_t tool = 0;
        while (tool < tools.size() && tools[tool].at("function").at("name") != call.name.c_str())
          ++tool;
        ASSERT_LT(tool, tools.size()) << call.name << " in " << text;
        boost::system::error_code ec;
        const json::value arguments = json::parse(call.arguments, ec);
        ASSERT_TRUE(!ec && arguments.is_object())
            << key << ": " << call.arguments << " of " << text;
        EXPECT_TRUE(fits(arguments.get_object(), schemas[tool]))
            << key << ": " << call.arguments << " of " << text << " by "
            << json::serialize(schemas[tool]);
      }
    }
  }
}

AnswerDemand hermes(json::array tools) {
  AnswerDemand demand;
  demand.markup = std::make_shared<AnswerMarkup>(find_tool_format("hermes"),
                                                 recognise_reasoning_format("<think>"), nullptr);
  demand.tools = std::move(tools);
  return demand;
}

json::array tools_of(const char* functions) {
  json::array tools;
  const json::value list = json::parse(functions);
  for (const json::value& function : list.get_array()) {
    tools.push_back({{"type", "function"}, {"function", function}});
  }
  return tools;
}

bool permits(const AnswerDemand& demand, const std::string& text) {
  std::mt19937 random(1);
  Tokens tokens({}, false);
  Answer answer(demand, tokens);
  return answer.made() && answer.read(tokens.cut(text, 1, &random)) == text.size() &&
         answer.may_end();
}

constexpr const char* kTwoTools = R"([
    {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"},
     "b": {"type": "string"}}, "required": ["a"]}},
    {"name": "g", "strict": true, "parameters": {"type": "object", "properties":
     {"x": {"type": "integer"}, "y": {"type": "integer"}}, "required": ["x", "y"],
     "additionalProperties": false}}])";

std::string call(const std::string& name, const std::string& arguments) {
  return "<tool_call>\n{\"name\": \"" + name + "\", \"arguments\": " + arguments +
         "}\n</tool_call>";
}

TEST(CallGrammar, TextIsFreeUntilACallBegins) {
  const AnswerDemand demand = hermes(tools_of(kTwoTools));
  for (const std::string& text :
       {std::string(), std::string("Hi <tool_cal"), std::string("<tool_<tool_call \xff"),
        call("f", R"({"b":"x","a":1})"), "One " + call("f", R"({"a":1})") + " two",
        call("f", R"({"a":12345678901234567890})") + "\n" + call("g", R"({"x":1,"y":2})")}) {
    EXPECT_EQ(permits(demand, text), text.find('\xff') == text.npos) << text;
  }
  for (const std::string& text :
       {std::string("<tool_call>"), std::string("<tool_call> then"), call("h", "{}"),
        call("f", R"({"b":"x"})"), call("f", R"({"a":"1"})"), call("f", R"({"a":1,"a":2})"),
        call("g", R"({"y":2,"x":1})"), "a" + call("f", "{}")}) {
    EXPECT_FALSE(permits(demand, text)) << text;
  }
}

TEST(CallGrammar, DemandedCallsStandAlone) {
  AnswerDemand demand = hermes(tools_of(kTwoTools));
  demand.must_call = true;
  const std::string one = call("f", R"({"a":1})");
  EXPECT_TRUE(permits(demand, one));
  EXPECT_TRUE(permits(demand, one + "\n" + one));
  for (const std::string& text : {std::string(), "So: " + one, one + " and"}) {
    EXPECT_FALSE(permits(demand, text)) << text;
  }
  demand.only_one = true;
  EXPECT_FALSE(permits(demand, one + "\n" + one));
}

TEST(CallGrammar, ReasoningIsFree) {
  AnswerDemand demand = hermes(tools_of(kTwoTools));
  const std::string one = call("f", R"({"a":1})");
  demand.must_call = true;
  demand.reads_reasoning = true;
  EXPECT_TRUE(permits(demand, one));
  EXPECT_TRUE(permits(demand, "<think>Well, </thin</think>\n\n" + one));
  EXPECT_FALSE(permits(demand, "<think>Well"));
  EXPECT_FALSE(permits(demand, "Well</think>" + one));
  demand.start = ReasoningStart::kOpen;
  EXPECT_TRUE(permits(demand, "Well</think>" + one));
  EXPECT_TRUE(permits(demand, "Well " + one));
  EXPECT_FALSE(permits(demand, "Well</think>So"));
  demand.start = ReasoningStart::kNone;
  EXPECT_FALSE(permits(demand, "<think>Well</think>" + one));
}

TEST(CallGrammar, WhatCannotBeEnforcedIsNamedOrLeftFree) {
  const char* const kFunctions = R"([{"name": "f", "parameters": {"type": "object",
      "properties": {"a": {"type": "object", "not": {"required": ["b"]},
                           "unevaluatedProperties": false}}}}])";
  AnswerDemand demand = hermes(tools_of(kFunctions));
  EXPECT_TRUE(permits(demand, call("f", R"({"a":{"x":[]}})")));
  EXPECT_FALSE(permits(demand, call("f", R"({"a":1})")));
  demand.must_call = true;
  const auto refused = compile_answer_grammar(demand, nullptr, nullptr);
  EXPECT_EQ(refused.status().message(),
            "tools[0].function.parameters: #/properties/a: keyword 'unevaluatedProperties' beside "
            "'not' is not supported");
}

// A schema that expands to too many is met twice: in two properties, or as JSON and as Python.
TEST(CallGrammar, SchemasThatExpandToTooManyAreLeftFree) {
  json::array branches;
  for (int i = 1; i < 1100; ++i) branches.push_back(json::object{{"minimum", i}});
  const json::value large{{"type", "integer"}, {"anyOf", branches}};
  json::object function{{"name", "f"}};
  function["parameters"] = {{"type", "object"}, {"properties", {{"a", large}, {"b", large}}}};
  json::array tools;
  tools.push_back({{"type", "function"}, {"function", std::move(function)}});
  const AnswerDemand demand = hermes(tools);
  EXPECT_TRUE(permits(demand, call("f", R"({"a":1})")));
  const json::object& python =
      recorded_cases().at("formats").get_object().at("olmo_3").get_object();
  EXPECT_TRUE(read_if_permitted(python, tools, "<function_calls>f(a=1)</function_calls>"));
  AnswerDemand forced = demand;
  forced.must_call = true;
  EXPECT_EQ(compile_answer_grammar(forced, nullptr, nullptr).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(CallGrammar, KeysTellDemandsApart) {
  AnswerDemand demand = hermes(tools_of(kTwoTools));
  const std::string key = key_of(demand);
  EXPECT_EQ(key_of(hermes(tools_of(kTwoTools))), key);
  demand.only_one = true;
  EXPECT_NE(key_of(demand), key);
  EXPECT_NE(key_of(hermes(tools_of(R"([{"name": "f"}])"))), key);
}

}  // namespace
}  // namespace deltaserve
