// The tokens that the next prompt of a conversation is expected to begin with.
#include "server/service/next_prompt.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <string>
#include <vector>

#include "server/service/generation_request.h"
#include "tests/server/service/chat_model.h"

namespace deltaserve {
namespace {

const ServedModel& model() {
  return test_chat_model().served;
}

const std::string kStory =
    "Once upon a time there was a little dog who lived in a big house with a red door. "
    "Every day the dog went to the park to play with a ball and to run after the birds. ";

boost::json::object message(const std::string& role, const std::string& content) {
  boost::json::object made;
  made["role"] = role;
  made["content"] = content;
  return made;
}

ChatPrompt chat_of(std::vector<boost::json::object> messages) {
  ChatPrompt prompt;
  for (boost::json::object& one : messages) prompt.messages.push_back(std::move(one));
  return prompt;
}

Conversation answered(const ChatPrompt& prompt, const std::string& answer) {
  Conversation conversation;
  conversation.prompt = *encode_chat(model(), prompt);
  conversation.chat = *ChatRenderer::make(model(), prompt);
  conversation.answer.content = answer;
  return conversation;
}

std::vector<int32_t> next_of(Conversation conversation) {
  return next_prompt_tokens(model(), {}, std::move(conversation));
}

bool begins_with(const std::vector<int32_t>& whole, const std::vector<int32_t>& begin) {
  return whole.size() >= begin.size() && std::equal(begin.begin(), begin.end(), whole.begin());
}

TEST(NextPrompt, OfAChatBeginsTheNextTurn) {
  const auto question = message("user", kStory + kStory);
  for (const std::string& answer : {kStory + kStory, "{\"a\": 1}" + kStory, kStory + "ends in\n"}) {
    const std::vector<int32_t> next = next_of(answered(chat_of({question}), answer));
    for (const char* content : {"And then?", "1", " x", "ä"}) {
      const auto turn = *encode_chat(
          model(), chat_of({question, message("assistant", answer), message("user", content)}));
      EXPECT_TRUE(begins_with(turn, next)) << content;
    }
    // It reaches to the content of what comes next.
    const auto without = *encode_chat(
        model(), chat_of({question, message("assistant", answer), message("user", "")}));
    EXPECT_EQ(next.size() + 1, without.size());  // the generation prompt is one token
  }
}

// The next message of a conversation with a call is the result.
TEST(NextPrompt, OfACallGoesOnWithItsResult) {
  const auto question = message("user", kStory + kStory);
  Conversation conversation = answered(chat_of({question}), kStory);
  conversation.answer.calls = {{"call_1", "weather", "{\"city\": \"Rome\"}"}};
  const std::vector<int32_t> next = next_of(std::move(conversation));
  boost::json::object call = message("assistant", kStory);
  call["tool_calls"] =
      boost::json::parse(R"([{"id":"call_1","type":"function",)"
                         R"("function":{"name":"weather","arguments":"{\"city\": \"Rome\"}"}}])");
  boost::json::object result = message("tool", "sunny");
  result["tool_call_id"] = "call_1";
  EXPECT_TRUE(begins_with(*encode_chat(model(), chat_of({question, call, result})), next));
  result["content"] = "";
  const auto without = *encode_chat(model(), chat_of({question, call, result}));
  EXPECT_EQ(next.size() + 1, without.size());
}

TEST(NextPrompt, AContinuedMessageGrows) {
  ChatPrompt prompt = chat_of({message("user", "Tell."), message("assistant", kStory)});
  prompt.continue_final_message = true;
  const std::vector<int32_t> next = next_of(answered(prompt, kStory + kStory));
  const auto turn = *encode_chat(
      model(), chat_of({message("user", "Tell."), message("assistant", kStory + kStory + kStory),
                        message("user", "More.")}));
  EXPECT_GT(next.size(), 64u);
  EXPECT_TRUE(begins_with(turn, next));
}

TEST(NextPrompt, ARefusedConversationHasNone) {
  ChatPrompt prompt = chat_of({message("user", kStory)});
  prompt.chat_template =
      "{% if messages|length > 1 %}{{ raise_exception('one only') }}{% endif %}"
      "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}";
  EXPECT_TRUE(next_of(answered(prompt, kStory + kStory)).empty());
}

TEST(NextPrompt, OfATextLeavesOutWhatMayStillJoin) {
  for (const bool special_tokens : {true, false}) {
    Conversation conversation;
    conversation.text = kStory;
    conversation.special_tokens = special_tokens;
    conversation.answer.content = kStory + kStory + "The dog was hap";
    conversation.prompt = *encode_text(model(), kStory, special_tokens);
    const std::string whole = kStory + conversation.answer.content;
    const std::vector<int32_t> next = next_of(std::move(conversation));
    for (const char* more : {"py and", "", " hazard", "."}) {
      const auto turn = *encode_text(model(), whole + more, special_tokens);
      EXPECT_TRUE(begins_with(turn, next)) << more << special_tokens;
    }
    EXPECT_GE(next.size() + 4, encode_text(model(), whole, special_tokens)->size());
  }
}

// The model of pieces says nothing of what a text without spaces may become.
TEST(NextPrompt, ATextWithoutSpacesHasNone) {
  std::string whole;
  for (int i = 0; i < 100; ++i) whole += "äö";
  Conversation conversation;
  conversation.text = whole.substr(0, 40);
  conversation.answer.content = whole.substr(40);
  EXPECT_TRUE(next_of(std::move(conversation)).empty());
}

TEST(NextPrompt, OfTokenIdsAreTheIds) {
  Conversation conversation;
  conversation.prompt.assign(100, 7);
  conversation.answer_tokens.assign(50, 8);
  std::vector<int32_t> expected(100, 7);
  expected.insert(expected.end(), 50, 8);
  EXPECT_EQ(next_of(std::move(conversation)), expected);
}

TEST(NextPrompt, IsNotReadForNothing) {
  const auto size_after = [](size_t prompt, size_t answer) {
    Conversation conversation;
    conversation.prompt.assign(prompt, 7);
    conversation.answer_tokens.assign(answer, 8);
    return next_of(std::move(conversation)).size();
  };
  EXPECT_EQ(size_after(10, 54), 0u);  // no state after 64 tokens with a token to go on from
  EXPECT_EQ(size_after(10, 55), 65u);
  EXPECT_EQ(size_after(70, 50), 0u);  // the prompt leaves the same
  EXPECT_EQ(size_after(128, 1), 129u);
  // A template that changed what came before leaves another path, however short.
  ChatPrompt prompt = chat_of({message("user", kStory + kStory)});
  prompt.chat_template =
      "<s>{% for m in messages %}<|user|>{% if messages|length > 1 %}~{% endif %}{{ m.content }}"
      "{% endfor %}";
  const Conversation other = answered(prompt, "x");
  ASSERT_GT(other.prompt.size(), 64u);
  EXPECT_GT(next_of(answered(prompt, "x")).size(), 64u);
}

}  // namespace
}  // namespace deltaserve
