// Compares the constraint with its definition: a token may come exactly when its bytes may come one
// by one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/engine/grammar/grammar_test_util.h"

namespace deltaserve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::UnorderedElementsAre;

std::vector<std::pair<std::string, CompiledOr>> grammars() {
  return {
      {"regex", compile_regex("([a-c]+( |é|1)?)*(true|null)?")},
      {"counted", compile_regex("(\"[^\"]{0,5}\",?){2,4}")},
      {"choice", compile_choice({"a", "ab", "abc", "id", "id1", "null", "", "éa"})},
      {"brackets", compile_ebnf("root ::= \"[\" root* \"]\" | \"(\" root \")\" root | [ab]")},
      {"words", compile_ebnf("root ::= a \"1\" | a \"(\" root \")\" | \"b\" root\n"
                             "a ::= [abc]+ b | [ab]+ | \"\"\nb ::= \" \" a | \"c\" root \"e\"")},
      {"ambiguous",
       compile_ebnf("root ::= s\ns ::= \"a\" s \"b\" | \"a\" s | \"a\" t \"c\" | \"1\"\n"
                    "t ::= \"a\" s | \"a\" t \"b\" | \"e\"")},
      {"json", compile_json_object()},
      {"schema", schema(R"({"properties":{"id":{"type":"integer","minimum":-10,"maximum":110},
                "a":{"type":"string","maxLength":6},"b":{"type":"array","items":{"$ref":"#"}}},
                "required":["id"],"additionalProperties":{"type":["null","boolean","string"]}})")},
      {"any", schema("true")},
  };
}

// Checks for every token whether it may come, by reading its bytes with a copy.
void expect_exact(const Walk& walk, const std::vector<std::string>& tokens,
                  const std::string& text) {
  for (int32_t token = 1; token < static_cast<int32_t>(tokens.size()); ++token) {
    Walk copy(walk);
    ASSERT_EQ(walk.allowed(token), copy.read(tokens[token]))
        << "token '" << tokens[token] << "' after '" << text << "'";
  }
}

TEST(Constraint, MasksAgreeWithReadingByteByByte) {
  std::mt19937 random(7);
  for (const auto& [name, grammar] : grammars()) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(grammar.ok()) << grammar.status();
    for (int round = 0; round < 6; ++round) {
      const std::vector<std::string> tokens = test_tokens(random_tokens(150, &random));
      Walk walk(grammar, table_of(tokens));
      std::string text;
      for (int step = 0; step < 25 && !walk.finished(); ++step) {
        expect_exact(walk, tokens, text);
        if (HasFatalFailure()) return;
        std::vector<int32_t> next = walk.allowed_tokens();
        std::erase(next, kTestEnd);
        if (next.empty()) break;
        const int32_t token = next[random() % next.size()];
        // Reading a token has the same effect as reading its bytes.
        Walk bytes(walk);
        ASSERT_TRUE(bytes.read(tokens[token]));
        walk.accept(token);
        text += tokens[token];
        ASSERT_EQ(walk.allowed_tokens(), bytes.allowed_tokens()) << text;
        ASSERT_EQ(walk.finished(), bytes.finished()) << text;
      }
    }
  }
}

TEST(Constraint, MasksAreExactNearTheBoundOfTheStack) {
  const CompiledOr grammar = compile_ebnf(
      "root ::= \"(\" item \")\"\nitem ::= \"[\" root \"]\" | \"{\" item \"}\" | \"a\" | \"b\" "
      "root \"c\"");
  const std::vector<std::string> tokens =
      test_tokens({"([", "(b", "([(", "([([", "(b(b", "{{", "{{{", "{b", "{a", "[([", "a)", "a}",
                   "}}", ")c", ")]", "b([{"});
  Walk walk(grammar, table_of(tokens));
  ASSERT_TRUE(walk.read("("));
  int depth = 0;
  for (std::string text; walk.read("{"); ++depth) {
    if (depth > 490) expect_exact(walk, tokens, std::to_string(depth));
  }
  EXPECT_GT(depth, 500);
  expect_exact(walk, tokens, "the deepest place");
  EXPECT_TRUE(walk.read("a"));
}

TEST(Constraint, EndsWhereTheTextMayEnd) {
  const auto table = table_of(test_tokens({"abc", "bc"}));
  Walk walk(compile_choice({"a", "abc"}), table);
  EXPECT_FALSE(walk.may_end());
  walk.accept(1 + 'a');
  EXPECT_TRUE(walk.may_end());
  EXPECT_FALSE(walk.finished());
  EXPECT_THAT(walk.allowed_tokens(), UnorderedElementsAre(kTestEnd, 1 + 'b', 258));
  walk.accept(258);
  EXPECT_TRUE(walk.finished());
  EXPECT_THAT(walk.allowed_tokens(), ElementsAre(kTestEnd));
}

TEST(Constraint, TheEndTokenEndsIt) {
  Walk walk(compile_regex("a*"), table_of(test_tokens()));
  EXPECT_TRUE(walk.may_end());
  walk.accept(kTestEnd);
  EXPECT_TRUE(walk.finished());
  EXPECT_THAT(walk.allowed_tokens(), ElementsAre(kTestEnd));
}

TEST(Constraint, ATokenThatWasNotAllowedEndsIt) {
  Walk walk(compile_regex("a*b"), table_of(test_tokens()));
  walk.accept(1 + 'x');
  EXPECT_TRUE(walk.finished());
  walk.accept(1 + 'a');
  EXPECT_TRUE(walk.finished());
}

TEST(Constraint, WithoutEndTokensItEndsAsSoonAsItMay) {
  const auto table = table_of(test_tokens());
  auto constraint = make_constraint(*compile_regex("ab*"), table, {});
  ASSERT_TRUE(constraint.ok());
  EXPECT_FALSE((*constraint)->finished());
  (*constraint)->accept(1 + 'a');
  EXPECT_TRUE((*constraint)->finished());
}

TEST(Constraint, EndTokensAreNeverText) {
  std::vector<std::string> tokens = test_tokens({"aa", "</s>", "<"});
  const auto table = table_of(tokens);
  auto constraint = make_constraint(*compile_regex("[a</s>]+"), table, {258, 0});
  ASSERT_TRUE(constraint.ok());
  std::vector<uint32_t> words((tokens.size() + 31) / 32);
  (*constraint)->allowed(words);
  EXPECT_TRUE(words[257 / 32] >> (257 % 32) & 1);
  EXPECT_FALSE(words[258 / 32] >> (258 % 32) & 1);
  (*constraint)->accept(257);
  (*constraint)->allowed(words);
  EXPECT_TRUE(words[258 / 32] >> (258 % 32) & 1);
  EXPECT_TRUE(words[0] & 1);
  (*constraint)->accept(258);
  EXPECT_TRUE((*constraint)->finished());
}

TEST(Constraint, ClonesGoTheirOwnWay) {
  const auto table = table_of(test_tokens());
  Walk walk(compile_json_object(), table);
  ASSERT_TRUE(walk.read(R"({"a":1,)"));
  Walk copy(walk);
  EXPECT_TRUE(walk.read(R"("b":2,"c":[)"));
  EXPECT_FALSE(Walk(copy).read(R"("a")"));
  EXPECT_TRUE(copy.read(R"("b":{}})"));
  EXPECT_TRUE(copy.finished());
  EXPECT_FALSE(walk.finished());
  EXPECT_TRUE(walk.read("]}"));
}

TEST(Constraint, NeedsEveryByteAsAToken) {
  std::vector<std::string> tokens = test_tokens();
  tokens[1 + 'b'] = "bb";
  const auto table = table_of(tokens);
  const auto made = [&](const char* regex, std::vector<int32_t> end) {
    return std::string(
        make_constraint(*compile_regex(regex), table, std::move(end)).status().message());
  };
  EXPECT_EQ(made("a+", {0}), "");
  EXPECT_EQ(made("ab", {0}), "the vocabulary has no token for the byte 'b' alone");
  EXPECT_THAT(made("ac", {1 + 'c'}), HasSubstr("byte 'c'"));
  EXPECT_EQ(made("a|ab^c", {0}), "");  // no text needs the 'b'
}

TEST(Constraint, TheMaskMayBeLargerOrSmallerThanTheVocabulary) {
  const auto table = table_of(test_tokens({"aa"}));
  auto constraint = make_constraint(*compile_regex("a+"), table, {0});
  for (const size_t count : {4u, 9u, 20u}) {
    std::vector<uint32_t> words(count, ~0u);
    (*constraint)->allowed(words);
    for (size_t i = 0; i < count; ++i) {
      uint32_t expected = i == (1 + 'a') / 32 ? 1u << (1 + 'a') % 32 : 0;
      if (i == 257 / 32) expected |= 1u << 257 % 32;
      EXPECT_EQ(words[i], expected) << i << " of " << count;
    }
  }
}

TEST(Constraint, ManyThreadsShareAGrammar) {
  const CompiledOr grammar = compile_json_object();
  std::mt19937 random(3);
  const std::vector<std::string> tokens = test_tokens(random_tokens(300, &random));
  const auto table = table_of(tokens);
  std::vector<std::vector<int32_t>> seen(4);
  std::vector<std::thread> threads;
  for (auto& tokens_seen : seen) {
    threads.emplace_back([&] {
      Walk walk(grammar, table);
      std::mt19937 same(11);
      for (int step = 0; step < 60 && !walk.finished(); ++step) {
        const std::vector<int32_t> next = walk.allowed_tokens();
        tokens_seen.insert(tokens_seen.end(), next.begin(), next.end());
        walk.accept(next[same() % next.size()]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& tokens_seen : seen) EXPECT_EQ(tokens_seen, seen[0]);
}

TEST(Constraint, ALongAnswerKeepsItsFootprint) {
  // Frames and keys that no stack needs are dropped; the text continues as before.
  Walk walk(compile_json_object(), table_of(test_tokens()));
  ASSERT_TRUE(walk.read("{\"list\":["));
  for (int i = 0; i < 1500; ++i) ASSERT_TRUE(walk.read(R"({"k":[{"a":{}}],"l":1},)")) << i;
  EXPECT_TRUE(walk.read("{\"k\":0}],"));
  EXPECT_FALSE(Walk(walk).read("\"list\""));
  EXPECT_TRUE(walk.read("\"end\":0}"));
  EXPECT_TRUE(walk.finished());
}

}  // namespace
}  // namespace deltaserve
