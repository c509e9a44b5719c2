// Bodies of POST /v1/chat/completions, and the prompts that they become.
#include "server/openai/chat_api.h"

#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <string>

#include "models/base/text.h"
#include "server/openai/messages_api.h"
#include "server/openai/response.h"
#include "server/openai/responses_api.h"
#include "server/service/chat_renderer.h"
#include "tests/server/service/chat_model.h"

namespace deltaserve {
namespace {

struct Parsed {
  std::optional<ApiError> error;
  GenerationRequest request;
};

Parsed parse(const std::string& body, const ServerLimits& limits = {},
             const ServedModel& model = test_chat_model().served) {
  Parsed parsed;
  parsed.error = parse_chat_request(body, model, limits, &parsed.request);
  return parsed;
}

std::string messages_after(const std::string& messages) {
  const Parsed parsed = parse("{\"messages\":" + messages + "}");
  if (parsed.error) return parsed.error->message;
  return boost::json::serialize(parsed.request.chat->messages);
}

// The rendered prompt as text, through the ids.
std::string prompt_of(const std::string& body) {
  Parsed parsed = parse(body);
  if (parsed.error) return "refused: " + parsed.error->message;
  const ServedModel& model = test_chat_model().served;
  const auto ids = encode_chat(model, *std::move(parsed.request.chat));
  if (!ids.ok()) return "failed: " + std::string(ids.status().message());
  std::string text;
  for (const int32_t id : *ids) {
    const std::string_view bytes = model.tokenizer->vocabulary().bytes(id);
    text += bytes.empty() ? model.tokenizer->piece(id) : std::string(bytes);
  }
  return text;
}

TEST(ChatApi, MessagesComeIntoOneForm) {
  EXPECT_EQ(messages_after(R"([{"role":"user","content":"a","name":null}])"),
            R"([{"role":"user","content":"a"}])");
  EXPECT_EQ(messages_after(R"([{"role":"user","content":[{"type":"text","text":"a"},
      {"type":"text","text":"b"}]}])"),
            R"([{"role":"user","content":"a\nb"}])");
  EXPECT_EQ(messages_after(R"([{"role":"user","content":[]}])"),
            R"([{"role":"user","content":""}])");
  // A message may be one that the API itself has answered before.
  EXPECT_EQ(messages_after(R"([{"role":"user","type":"text","weight":1,"content":[
                               {"type":"text","text":"x","id":7}]}])"),
            messages_after(R"([{"role":"user","content":"x"}])"));
  EXPECT_EQ(messages_after(R"([{"role":"assistant","content":"a","refusal":null,"annotations":[],
      "audio":null,"function_call":null,"tool_calls":null}])"),
            R"([{"role":"assistant","content":"a"}])");
  // Clients add members of their own.
  EXPECT_EQ(messages_after(R"([{"role":"user","content":"a","type":"text","weight":1}])"),
            R"([{"role":"user","content":"a"}])");
  EXPECT_EQ(messages_after(R"([{"role":"assistant","tool_calls":[{"id":"1","type":"function",
      "function":{"name":"f","arguments":"{\"city\":\"Rome\"}"}}]},
      {"role":"tool","tool_call_id":"1","content":"sunny"}])"),
            R"([{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":)"
            R"({"name":"f","arguments":"{\"city\":\"Rome\"}"}}]},)"
            R"({"role":"tool","tool_call_id":"1","content":"sunny"}])");
}

TEST(ChatApi, BadMessagesAreRefusedByPlace) {
  const std::pair<const char*, const char*> kTable[] = {
      {"3", "messages must be a list of objects, not 3"},
      {"\"x\"", "messages must be a list of objects, not \"x\""},
      {"{}", "messages must be a list of objects, not {}"},
      {"null", "messages is required"},
      {"[]", "messages must not be empty"},
      {"[3]", "messages[0] must be an object, not 3"},
      {"[null]", "messages[0] must be an object"},
      {"[[]]", "messages[0] must be an object"},
      {"[{}]", "messages[0].role is required"},
      {R"([{"content":"x"}])", "messages[0].role is required"},
      {R"([{"role":"user"}])", "messages[0].content is required"},
      {R"([{"role":"user","content":null}])", "messages[0].content is required"},
      {R"([{"role":"","content":"x"}])", "messages[0].role must be"},
      {R"([{"role":3,"content":"x"}])",
       "messages[0].role must be a string of 1 to 64 bytes, not 3"},
      {R"([{"role":"user","content":3}])",
       "messages[0].content must be a string or a list of text parts, not 3"},
      {R"([{"role":"user","content":{}}])", "messages[0].content must be"},
      {R"([{"role":"user","content":"x"},{"role":"user","content":["x"]}])",
       "messages[1].content[0] must be"},
      {R"([{"role":"user","content":[{"text":"x"}]}])", "messages[0].content[0] must have a type"},
      {R"([{"role":"user","content":[{"type":"text"}]}])",
       "messages[0].content[0] must have a text"},
      {R"([{"role":"user","content":[{"type":"text","text":3}]}])",
       "messages[0].content[0] must have a text"},
      {R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x"}}]}])",
       "messages[0].content[0] has the type 'image_url'"},
      {R"([{"role":"assistant","content":"x","audio":{"id":"1"}}])",
       "messages[0].audio is not supported"},
      {R"([{"role":"assistant","content":"x","function_call":{"name":"f"}}])",
       "messages[0].function_call is not supported: tool_calls is"},
      {R"([{"role":"user","content":"x","name":1}])", "messages[0].name must be a string, not 1"},
      {R"([{"role":"tool","content":"x","tool_call_id":{}}])", "messages[0].tool_call_id must"},
      {R"([{"role":"assistant","tool_calls":{}}])",
       "messages[0].tool_calls must be a list, not {}"},
      {R"([{"role":"assistant","tool_calls":[1]}])", "messages[0].tool_calls[0] must be"},
      {R"([{"role":"assistant","tool_calls":[{"function":{}}]}])",
       "messages[0].tool_calls[0] must have a function with a name"},
      {R"([{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{"}}]}])",
       "messages[0].tool_calls[0].function.arguments must be"},
      {R"([{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"[]"}}]}])",
       "messages[0].tool_calls[0].function.arguments must be"},
      {R"([{"role":"user","content":"x","content":"y"}])", "the key 'content' appears twice"},
      {R"([{"role":"user","content":"\ud800"}])", "the request body is not valid JSON"},
  };
  for (const auto& [messages, expected] : kTable) {
    const Parsed parsed = parse("{\"messages\":" + std::string(messages) + "}");
    ASSERT_TRUE(parsed.error) << messages;
    EXPECT_EQ(http_status(parsed.error->kind), 400) << messages;
    EXPECT_TRUE(parsed.error->message.starts_with(expected)) << messages << "\n"
                                                             << parsed.error->message;
    if (parsed.error->message.find("valid JSON") == std::string::npos) {
      EXPECT_EQ(parsed.error->param, "messages") << messages;
    }
  }
  const Parsed missing = parse("{}");
  ASSERT_TRUE(missing.error);
  EXPECT_EQ(missing.error->param, "messages");
}

TEST(ChatApi, MarksAreTakenOutOfTheMessages) {
  constexpr const char* kControl = R"("cache_control":{"type":"ephemeral"})";
  const std::string control = kControl;
  const Parsed parsed = parse(R"({"messages":[{"role":"system","content":"a",)" + control + R"(},
      {"role":"user","content":[{"type":"text","text":"bc",)" +
                              control + R"(},
      {"type":"text","text":"d","cache_control":null}],)" +
                              control + R"(}],
      "tools":[{"function":{"name":"f"}},{"function":{"name":"g"},)" +
                              control + "}]}");
  ASSERT_FALSE(parsed.error) << parsed.error->message;
  const ChatPrompt& chat = *parsed.request.chat;
  EXPECT_EQ(boost::json::serialize(chat.messages),
            R"([{"role":"system","content":"a"},{"role":"user","content":"bc\nd"}])");
  EXPECT_EQ(boost::json::serialize(chat.tools),
            R"([{"function":{"name":"f"}},{"function":{"name":"g"}}])");
  ASSERT_EQ(chat.marks.size(), 4u);
  EXPECT_EQ(chat.marks[0].messages, 1u);
  EXPECT_FALSE(chat.marks[0].content_bytes);
  EXPECT_EQ(chat.marks[1].messages, 2u);
  EXPECT_FALSE(chat.marks[1].content_bytes);
  EXPECT_EQ(chat.marks[2].messages, 2u);
  EXPECT_EQ(chat.marks[2].content_bytes, 2u);
  EXPECT_EQ(chat.marks[3].tools, 2u);
}

TEST(ChatApi, AMarkOfACallIsOneAfterItsMessage) {
  const auto with = [](const std::string& control) {
    return parse(R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[
        {"function":{"name":"f"}},{"function":{"name":"g"},"cache_control":)" +
                 control + R"(}]},{"role":"tool","content":"b"}]})");
  };
  const Parsed parsed = with(R"({"type":"ephemeral","ttl":"1h"})");
  ASSERT_FALSE(parsed.error) << parsed.error->message;
  const ChatPrompt& chat = *parsed.request.chat;
  ASSERT_EQ(chat.marks.size(), 1u);
  EXPECT_EQ(chat.marks[0].messages, 2u);
  EXPECT_FALSE(chat.marks[0].content_bytes);
  EXPECT_EQ(boost::json::serialize(chat.messages[1].at("tool_calls")),
            R"([{"function":{"name":"f"}},{"function":{"name":"g"}}])");
  const Parsed bad = with("true");
  ASSERT_TRUE(bad.error);
  EXPECT_EQ(bad.error->message,
            R"(messages[1].tool_calls[1].cache_control must be {"type": "ephemeral"})");
}

TEST(ChatApi, BadMarksAreRefusedByPlace) {
  const auto error_of = [](const std::string& messages, const std::string& more = "") {
    return parse("{\"messages\":[" + messages + "]" + more + "}").error.value_or(ApiError{});
  };
  for (const char* bad : {"true", "\"ephemeral\"", "{}", "[]", R"({"type":"persistent"})",
                          R"({"type":3})", R"({"type":"ephemeral","for":"1h"})"}) {
    const std::string control = std::string("\"cache_control\":") + bad;
    const ApiError whole = error_of(R"({"role":"user","content":"x",)" + control + "}");
    EXPECT_EQ(whole.message, R"(messages[0].cache_control must be {"type": "ephemeral"})") << bad;
    EXPECT_EQ(whole.param, "messages");
    const ApiError part =
        error_of(R"({"role":"user","content":[{"type":"text","text":"x",)" + control + "}]}");
    EXPECT_EQ(part.message, R"(messages[0].content[0].cache_control must be {"type": "ephemeral"})")
        << bad;
    const ApiError tool =
        error_of(R"({"role":"user","content":"x"})", ",\"tools\":[{" + control + "}]");
    EXPECT_EQ(tool.message, R"(tools[0].cache_control must be {"type": "ephemeral"})") << bad;
    EXPECT_EQ(tool.param, "tools");
  }
  const std::string marked =
      R"({"role":"user","content":"x","cache_control":{"type":"ephemeral"}})";
  const std::string four = marked + "," + marked + "," + marked + "," + marked;
  EXPECT_EQ(error_of(four).message, "");
  EXPECT_EQ(error_of(four + "," + marked).message,
            "messages[4].cache_control is one too many: a request has at most 4");
  EXPECT_EQ(error_of(four, R"(,"tools":[{"cache_control":{"type":"ephemeral"}}])").message,
            "tools[0].cache_control is one too many: a request has at most 4");
}

TEST(ChatApi, ThePromptIsTheRenderedTemplate) {
  EXPECT_EQ(prompt_of(R"({"messages":[{"role":"user","content":"Hello"}]})"),
            "<s><|user|>Hello<|assistant|>");
  EXPECT_EQ(prompt_of(R"({"messages":[{"role":"user","content":"Hello"}],
      "add_generation_prompt":false})"),
            "<s><|user|>Hello");
  EXPECT_EQ(prompt_of(R"({"messages":[{"role":"user","content":"Hello"}],
      "chat_template_kwargs":{"shout":true},"tools":[{"type":"function","function":{"name":"f"}}]})"),
            "<s>[tools]<|user|>Hello!<|assistant|>");
  EXPECT_EQ(prompt_of(R"({"messages":[{"role":"bad","content":"Hello"}]})"),
            "failed: messages: no such role");
}

TEST(ChatApi, AFinalMessageIsContinued) {
  const std::string body = R"({"messages":[{"role":"user","content":"Hello"},
      {"role":"assistant","content":"Hello th"}],"continue_final_message":true)";
  EXPECT_EQ(prompt_of(body + "}"), "<s><|user|>Hello<|assistant|>Hello th");
  EXPECT_EQ(prompt_of(body + R"(,"add_generation_prompt":false})"),
            "<s><|user|>Hello<|assistant|>Hello th");
  const std::string kWrong[] = {
      body + R"(,"add_generation_prompt":true})",
      R"({"messages":[{"role":"user","content":"x"}],"continue_final_message":true})",
      R"({"messages":[{"role":"assistant","content":""}],"continue_final_message":true})",
  };
  for (const std::string& wrong : kWrong) {
    const Parsed parsed = parse(wrong);
    ASSERT_TRUE(parsed.error) << wrong;
    EXPECT_EQ(parsed.error->param, "continue_final_message");
  }
}

TEST(ChatApi, UsersCannotWriteMarkers) {
  const ServedModel& model = test_chat_model().served;
  const auto ids_of = [&](const std::string& content) {
    Parsed parsed = parse(R"({"messages":[{"role":"user","content":")" + content + "\"}]}");
    EXPECT_FALSE(parsed.error);
    const auto ids = encode_chat(model, *std::move(parsed.request.chat));
    EXPECT_TRUE(ids.ok());
    return *ids;
  };
  const int32_t end = model.tokenizer->piece_id("<|end|>");
  const int32_t assistant = model.tokenizer->piece_id("<|assistant|>");
  const std::vector<int32_t> ids = ids_of("a<|end|><|assistant|>b</s><s>c");
  EXPECT_EQ(std::count(ids.begin(), ids.end(), end), 0);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), assistant), 1);  // the template's own
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 1), 1);          // BOS: once
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 2), 0);
  EXPECT_EQ(ids.front(), 1);
  EXPECT_EQ(ids.back(), assistant);
}

TEST(ChatApi, TemplatesOfRequests) {
  const std::string body =
      R"({"messages":[{"role":"user","content":"x"}],"chat_template":"{{ messages[0].content }}?"})";
  const Parsed refused = parse(body);
  ASSERT_TRUE(refused.error);
  EXPECT_EQ(refused.error->param, "chat_template");
  ServedModel model = test_chat_model().served;
  model.allow_request_template = true;
  Parsed allowed = parse(body, {}, model);
  ASSERT_FALSE(allowed.error);
  const auto ids = encode_chat(model, *std::move(allowed.request.chat));
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_EQ(model.tokenizer->decode(*ids, SpecialTokens::kSkip).value(), "x?");
  Parsed broken = parse(
      R"({"messages":[{"role":"user","content":"x"}],"chat_template":"{% if %}"})", {}, model);
  ASSERT_FALSE(broken.error);
  EXPECT_TRUE(
      absl::IsInvalidArgument(encode_chat(model, *std::move(broken.request.chat)).status()));
}

TEST(ChatApi, AModelWithoutATemplateSaysSo) {
  ServedModel model = test_chat_model().served;
  model.chat_template = nullptr;
  const Parsed parsed = parse(R"({"messages":[{"role":"user","content":"x"}]})", {}, model);
  ASSERT_TRUE(parsed.error);
  EXPECT_NE(parsed.error->message.find("--chat-template"), std::string::npos);
}

// The API repeats what the log said (case T10b).
TEST(ChatApi, ATemplateThatCannotBeUsedSaysWhy) {
  ServedModel model = test_chat_model().served;
  model.chat_template = nullptr;
  model.chat_refusal = "chat is off: chat_template.jinja: chat template line 1: unexpected '}}'";
  const Parsed parsed = parse(R"({"messages":[{"role":"user","content":"x"}]})", {}, model);
  ASSERT_TRUE(parsed.error);
  EXPECT_EQ(parsed.error->message, model.chat_refusal);
}

std::string rendered(const ServedModel& model, const std::string& members) {
  Parsed parsed =
      parse(R"({"messages":[{"role":"user","content":"x"}])" + members + "}", {}, model);
  if (parsed.error) return parsed.error->message;
  const auto ids = encode_chat(model, *std::move(parsed.request.chat));
  if (!ids.ok()) return std::string(ids.status().message());
  return model.tokenizer->decode(*ids, SpecialTokens::kSkip).value();
}

// Cases T08 and T09.
TEST(ChatApi, ChatsWithToolsHaveATemplateOfTheirOwn) {
  const auto plain = ChatTemplate::parse(
      "plain {{ tools is none }} {{ documents is none }} {{ unk_token }} "
      "{{ additional_special_tokens }}");
  const auto tools = ChatTemplate::parse("tools {{ tools|length }}");
  ASSERT_TRUE(plain.ok() && tools.ok());
  ServedModel model = test_chat_model().served;
  model.chat_template = plain->get();
  model.tool_chat_template = tools->get();
  model.special_tokens = {{"unk_token", "?"}};
  model.additional_special_tokens = {"<a>"};
  EXPECT_EQ(rendered(model, ""), "plain True True ? ['<a>']");
  EXPECT_EQ(rendered(model, R"(,"tools":[])"), "plain True True ? ['<a>']");
  EXPECT_EQ(rendered(model, R"(,"tools":[{"type":"function","function":{"name":"f"}}])"),
            "tools 1");
  EXPECT_EQ(rendered(model, R"(,"chat_template_kwargs":{"documents":[1]})"),
            "plain True False ? ['<a>']");
}

// Numbers, and the text that Python's json and Jinja make of them.
constexpr const char* kNumbers =
    "{\"a\":[123456789012345678901234567890,-18446744073709551616,9223372036854775808],"
    "\"b\":[1.0,1e22,1E-7,-0.0,5e-324,8.41E21,9007199254740993.0,-0,0.30000000000000004]}";
constexpr const char* kPrinted =
    "{\"a\": [123456789012345678901234567890, -18446744073709551616, 9223372036854775808], "
    "\"b\": [1.0, 1e+22, 1e-07, -0.0, 5e-324, 8.41e+21, 9007199254740992.0, 0, "
    "0.30000000000000004]}";

// Parses a body of any API and returns the prompt; `model` has a template that shows all numbers.
std::string prompt_through(ReadTurn read, const std::string& body) {
  static const auto* const shows =
      new auto(ChatTemplate::parse("{{ n|tojson }} {{ tools[0].function.parameters|tojson }} "
                                   "{{ messages[1].tool_calls[0].function.arguments|tojson }}"));
  ServedModel model = test_chat_model().served;
  model.chat_template = model.tool_chat_template = (*shows)->get();
  std::optional<ChatPrompt> chat;
  if (read == nullptr) {
    Parsed parsed = parse(body, {}, model);
    if (parsed.error) return parsed.error->message;
    chat = std::move(parsed.request.chat);
  } else {
    TurnRequest request;
    if (const auto error = read(body, model, {}, &request)) return error->message;
    chat = std::move(request.generation.chat);
  }
  const auto ids = encode_chat(model, *std::move(chat));
  if (!ids.ok()) return std::string(ids.status().message());
  return model.tokenizer->decode(*ids, SpecialTokens::kSkip).value();
}

TEST(ChatApi, NumbersReachTemplatesAsTheyCame) {
  const std::string numbers = kNumbers;
  const std::string printed = str_cat(kPrinted, " ", kPrinted, " ", kPrinted);
  const std::string text = boost::json::serialize(boost::json::string(numbers));
  const std::string variables = ",\"chat_template_kwargs\":{\"n\":" + numbers + "}}";
  for (const std::string& arguments : {numbers, text}) {
    EXPECT_EQ(prompt_through(nullptr, R"({"messages":[{"role":"user","content":"x"},
        {"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f",
        "arguments":)" + arguments + R"(}}]}],"tools":[{"type":"function","function":{"name":"f",
        "parameters":)" + numbers + "}}]" +
                                          variables),
              printed);
  }
  EXPECT_EQ(prompt_through(read_messages_request, R"({"max_tokens":1,"messages":[
      {"role":"user","content":"x"},{"role":"assistant","content":[{"type":"tool_use","id":"1",
      "name":"f","input":)" + numbers + R"(}]}],"tools":[{"name":"f","input_schema":)" +
                                                      numbers + "}]" + variables),
            printed);
  EXPECT_EQ(prompt_through(read_responses_request,
                           R"({"input":[{"role":"user","content":"x"},
      {"type":"function_call","call_id":"1","name":"f","arguments":)" +
                               text + R"(}],"tools":[{"type":"function","name":"f","parameters":)" +
                               numbers + "}]" + variables),
            printed);
}

// An integer that a double would round is no object, text or list either.
TEST(ChatApi, LargeIntegersInPlacesOfOtherThings) {
  const std::string big = "123456789012345678901234567890";
  const auto refusal = [](const std::string& members) {
    return parse("{" + members + "}").error.value_or(ApiError{}).message;
  };
  const std::string hi = R"("messages":[{"role":"user","content":"x"}],)";
  EXPECT_NE(refusal("\"messages\":[" + big + "]"), "");
  EXPECT_NE(refusal(R"("messages":[{"role":"user","content":)" + big + "}]"), "");
  EXPECT_NE(refusal(R"("messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f",
      "arguments":)" +
                    big + "}}]}]"),
            "");
  EXPECT_NE(refusal(R"("messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f",
      "arguments":")" +
                    big + "\"}}]}]"),
            "");
  EXPECT_NE(refusal(hi + "\"tools\":[" + big + "]"), "");
  EXPECT_NE(refusal(hi + R"("tools":[{"type":"function","function":{"name":"f","parameters":)" +
                    big + "}}]"),
            "");
  EXPECT_NE(refusal(hi + "\"chat_template_kwargs\":" + big), "");
  EXPECT_NE(refusal(hi + R"("logit_bias":{"5":)" + big + "}"), "");
  const std::string longest(4300, '9');
  EXPECT_EQ(refusal(hi + R"("chat_template_kwargs":{"a":)" + longest + "}"), "");
  EXPECT_NE(refusal(hi + R"("chat_template_kwargs":{"a":1)" + longest + "}").find("4300 digits"),
            std::string::npos);
}

// A client that reads the numbers with Python gets what the model wrote.
TEST(ChatApi, NumbersInCallsAreThoseOfTheModel) {
  const ServedModel& model = test_chat_model().served;
  Turn turn;
  turn.blocks = {{TurnBlock::Kind::kCall, kNumbers, "1", "f"}};
  const std::string whole = make_messages_format(model)->whole(turn);
  const std::string input =
      "\"input\":{\"a\":[123456789012345678901234567890,-18446744073709551616,"
      "9223372036854775808],\"b\":[1.0,1e+22,1e-07,-0.0,5e-324,8.41e+21,9007199254740992.0,0,"
      "0.30000000000000004]}";
  EXPECT_NE(whole.find(input), std::string::npos) << whole;
}

// Case T03: clients send what models write for a function without arguments.
TEST(ChatApi, EmptyArgumentsAreNone) {
  EXPECT_EQ(messages_after(R"([{"role":"assistant","tool_calls":[{"function":
      {"name":"f","arguments":" "}}]}])"),
            R"([{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}])");
}

TEST(ChatApi, VariablesMustNotReplaceOurs) {
  for (const char* name : {"messages", "tools", "add_generation_prompt", "bos_token"}) {
    const Parsed parsed = parse(R"({"messages":[{"role":"user","content":"x"}],
        "chat_template_kwargs":{")" +
                                std::string(name) + "\":1}}");
    ASSERT_TRUE(parsed.error) << name;
    EXPECT_EQ(parsed.error->param, "chat_template_kwargs");
  }
}

TEST(ChatApi, LimitsOnMessages) {
  ServerLimits limits;
  limits.messages = 2;
  limits.message_values = 20;
  const std::string one = R"({"role":"user","content":"x"})";
  EXPECT_FALSE(parse("{\"messages\":[" + one + "," + one + "]}", limits).error);
  EXPECT_TRUE(parse("{\"messages\":[" + one + "," + one + "," + one + "]}", limits).error);
  const std::string parts = R"([{"type":"text","text":"x"},{"type":"text","text":"x"},
      {"type":"text","text":"x"},{"type":"text","text":"x"}])";
  EXPECT_TRUE(parse(R"({"messages":[{"role":"user","content":)" + parts + "}]}", limits).error);
  // A long text is a prompt, not an abuse; a long role is one.
  const std::string text(1 << 20, 'x');
  EXPECT_FALSE(parse(R"({"messages":[{"role":"user","content":")" + text + "\"}]}").error);
  EXPECT_TRUE(parse(R"({"messages":[{"role":")" + text + R"(","content":"x"}]})").error);
}

TEST(ChatApi, EveryTruncationIsA400) {
  const std::string body =
      R"({"model":"tiny","messages":[{"role":"user","content":[{"type":"text","text":"\u00e4"}]},)"
      R"({"role":"assistant","content":"ä","tool_calls":[{"function":{"name":"f","arguments":)"
      R"("{\"a\":[1,2]}"}}]}],"logit_bias":{"3":-1.5},"n":2,"response_format":{"type":"text"}})";
  ASSERT_FALSE(parse(body).error) << parse(body).error->message;
  for (size_t size = 0; size < body.size(); ++size) {
    const Parsed parsed = parse(body.substr(0, size));
    ASSERT_TRUE(parsed.error) << size;
    EXPECT_EQ(http_status(parsed.error->kind), 400) << size;
  }
}

TEST(ChatApi, BombsAreRefused) {
  const auto repeated = [](const std::string& unit, size_t bytes) {
    const size_t whole = (bytes + unit.size() - 1) / unit.size() * unit.size();
    std::string out = unit;
    out.reserve(whole);
    while (out.size() < whole) out.append(out, 0, whole - out.size());
    return out;
  };
  constexpr size_t kBytes = 32u << 20;
  for (const std::string& body : {
           "{\"messages\":" + repeated("[", kBytes),
           "{\"messages\":[" + repeated("{},", kBytes),
           "{\"messages\":[{" + repeated("\"a\":{", kBytes),
           R"({"messages":[{"role":"user","content":[)" + repeated("[],", kBytes),
           "{\"tools\":[" + repeated("1,", kBytes),
           "{\"chat_template_kwargs\":{\"a\":\"" + repeated("x", kBytes),
       }) {
    const Parsed parsed = parse(body);
    ASSERT_TRUE(parsed.error) << body.substr(0, 40);
    EXPECT_EQ(http_status(parsed.error->kind), 400);
  }
}

}  // namespace
}  // namespace deltaserve
