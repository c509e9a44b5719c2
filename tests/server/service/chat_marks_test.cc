// The places of a chat that are worth keeping, and how many tokens two renderings share.
#include "server/service/chat_marks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <random>
#include <string>
#include <vector>

#include "tests/server/service/chat_model.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr size_t kMuch = 1 << 20;

const Tokenizer& tokenizer() {
  return *test_chat_model().tokenizer;
}

std::unique_ptr<ChatRenderer> renderer_of(ChatPrompt prompt) {
  auto made = ChatRenderer::make(test_chat_model().served, std::move(prompt));
  EXPECT_TRUE(made.ok());
  return *std::move(made);
}

ChatPrompt prompt_of(const std::string& messages) {
  ChatPrompt prompt;
  prompt.messages = json::parse(messages).as_array();
  return prompt;
}

int64_t common_length(const std::vector<int32_t>& a, const std::vector<int32_t>& b) {
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

// Returns the tokens of a text in which markers are special pieces.
int64_t tokens_in(const std::string& text) {
  const TextPart part{text, true};
  return static_cast<int64_t>(tokenizer().encode_parts({&part, 1}).value().size());
}

std::vector<PrefixMark> marks_of(ChatPrompt prompt, size_t max_bytes = kMuch) {
  const std::vector<ChatMark> marks = prompt.marks;
  const auto chat = renderer_of(std::move(prompt));
  const auto parts = chat->render();
  EXPECT_TRUE(parts.ok());
  const std::vector<int32_t> ids = *encode_parts(tokenizer(), *parts);
  SharedPrefix shared(tokenizer(), *parts, ids, max_bytes);
  return find_marks(marks, chat.get(), &shared);
}

std::vector<int64_t> positions_of(const std::vector<PrefixMark>& marks, SnapshotKind kind) {
  std::vector<int64_t> positions;
  for (const PrefixMark& mark : marks) {
    if (mark.kind == kind) positions.push_back(mark.position);
  }
  return positions;
}

constexpr const char* kChat = R"([{"role":"system","content":"Be kind."},
    {"role":"user","content":"Tell me a story."},{"role":"assistant","content":"Once."},
    {"role":"user","content":"Go on with it."}])";
const std::string kSystem = "<s>[system]Be kind.";
const std::string kStory = kSystem + "<|user|>Tell me a story.";
const std::string kAsked = kStory + "<|assistant|>Once.<|end|><|user|>Go on with it.";

TEST(ChatMarks, BoundariesAreBehindTheSystemPromptAndBeforeTheAnswer) {
  const auto marks = marks_of(prompt_of(kChat));
  EXPECT_EQ(positions_of(marks, SnapshotKind::kBoundary),
            (std::vector<int64_t>{tokens_in(kSystem), tokens_in(kAsked)}));
  EXPECT_TRUE(positions_of(marks, SnapshotKind::kMark).empty());
}

TEST(ChatMarks, WithoutAGenerationPromptThereIsOneBoundary) {
  ChatPrompt prompt = prompt_of(kChat);
  prompt.add_generation_prompt = false;
  EXPECT_EQ(positions_of(marks_of(std::move(prompt)), SnapshotKind::kBoundary),
            std::vector<int64_t>{tokens_in(kSystem)});
}

TEST(ChatMarks, TheClientsAreBehindMessagesAndParts) {
  ChatPrompt prompt = prompt_of(kChat);
  prompt.marks = {
      {.messages = 2}, {.messages = 2, .content_bytes = 7}, {.messages = 1}, {.messages = 4}};
  EXPECT_EQ(positions_of(marks_of(std::move(prompt)), SnapshotKind::kMark),
            (std::vector<int64_t>{tokens_in(kStory), tokens_in(kSystem + "<|user|>Tell me"),
                                  tokens_in(kSystem), tokens_in(kAsked)}));
}

// The test's template writes tools as one word; this one writes each.
TEST(ChatMarks, ToolsHaveAPlace) {
  ChatPrompt prompt = prompt_of(R"([{"role":"user","content":"Hello"}])");
  prompt.tools = json::parse(R"([{"function":{"name":"weather"}},{"function":{"name":"time"}}])");
  prompt.chat_template =
      "{{ bos_token }}{% for t in tools %}<|user|>{{ t.function.name }}{% endfor %}"
      "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}";
  prompt.add_generation_prompt = false;
  prompt.marks = {{.tools = 1}};
  const auto marks = marks_of(std::move(prompt));
  // Each ends before the name of the tool or the content that follows.
  EXPECT_EQ(positions_of(marks, SnapshotKind::kMark),
            std::vector<int64_t>{tokens_in("<s><|user|>weather<|user|>")});
  EXPECT_EQ(positions_of(marks, SnapshotKind::kBoundary),
            std::vector<int64_t>{tokens_in("<s><|user|>weather<|user|>time<|user|>")});
}

TEST(ChatMarks, ARefusedRenderingHasNoPlace) {
  ChatPrompt prompt = prompt_of(kChat);
  prompt.chat_template =
      "{% if messages|length < 3 %}{{ raise_exception('too short') }}{% endif %}"
      "{% for m in messages %}<|user|>{{ m.content }}{% endfor %}"
      "{% if add_generation_prompt %}<|assistant|>{% endif %}";
  prompt.marks = {{.messages = 2}, {.messages = 3}};
  const auto marks = marks_of(std::move(prompt));
  EXPECT_EQ(positions_of(marks, SnapshotKind::kMark).size(), 1u);
  EXPECT_EQ(positions_of(marks, SnapshotKind::kBoundary).size(), 1u);
}

TEST(ChatMarks, TheTextThatIsEncodedAgainIsBounded) {
  EXPECT_EQ(marks_of(prompt_of(kChat)).size(), 2u);
  // The system prompt fits, the question with it does not.
  const std::string system_and_marker = "[system]Be kind.";
  const auto marks = marks_of(prompt_of(kChat), system_and_marker.size() + 4);
  EXPECT_EQ(positions_of(marks, SnapshotKind::kBoundary), std::vector<int64_t>{tokens_in(kSystem)});
}

TEST(ChatMarks, RenderingsLeaveTheChatAsItWas) {
  ChatPrompt prompt = prompt_of(kChat);
  prompt.tools = json::parse(R"([{"type":"function"}])");
  const auto chat = renderer_of(std::move(prompt));
  const auto text = [&] {
    std::string all;
    const auto parts = chat->render();
    for (const RenderedPart& part : *parts) all += part.text;
    return all;
  };
  const std::string before = text();
  (void)chat->render_first(2, 3);
  (void)chat->render_first_tools(1);
  (void)chat->render_without_generation_prompt();
  (void)chat->render_with_next("x");
  EXPECT_EQ(text(), before);
}

// Parts as a template might write them: markers, and text of users that may look like markers.
std::vector<RenderedPart> random_parts(std::minstd_rand* random) {
  const char* const kTrusted[] = {"<|user|>", "<|end|><|assistant|>", "\n", "<s>", "<|",
                                  "a<|end|>"};
  const char* const kText[] = {"Once", " upon", " a time", "<|end|>", "\n", "ä", "|>"};
  std::vector<RenderedPart> parts;
  for (int i = 0; i < 8; ++i) {
    std::string trusted, text;
    for (size_t j = 0; j < 1 + (*random)() % 2; ++j) trusted += kTrusted[(*random)() % 6];
    for (size_t j = 0; j < 1 + (*random)() % 4; ++j) text += kText[(*random)() % 7];
    parts.push_back({trusted, true});
    parts.push_back({text, false});
  }
  return parts;
}

TEST(SharedPrefix, CountsWhatTwoWholeEncodingsShare) {
  std::minstd_rand random(11);
  int64_t longest = 0;
  for (int i = 0; i < 300; ++i) {
    const std::vector<RenderedPart> whole = random_parts(&random);
    std::vector<RenderedPart> other = random_parts(&random);
    // The other begins as the first and parts from it at any place.
    const size_t kept = random() % (whole.size() + 1);
    std::copy_n(whole.begin(), kept, other.begin());
    if (kept > 0) other[kept - 1].text.resize(random() % (other[kept - 1].text.size() + 1));
    if (kept > 0 && other[kept - 1].text.empty()) other.resize(kept - 1);
    const std::vector<int32_t> ids = *encode_parts(tokenizer(), whole);
    const int64_t expected = common_length(ids, *encode_parts(tokenizer(), other));
    SharedPrefix shared(tokenizer(), whole, ids, kMuch);
    EXPECT_EQ(shared.tokens_shared_with(other), expected) << i;
    EXPECT_EQ(shared.tokens_shared_with(whole), shared.num_tokens());
    longest = std::max(longest, expected);
  }
  EXPECT_GT(longest, 30);
}

}  // namespace
}  // namespace deltaserve
