// Tests grammars: which texts match, and which sources are refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/grammar/grammar_test_util.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;

TEST(Ebnf, MatchesItsLanguage) {
  struct Case {
    const char* source;
    std::vector<std::string> matching;
    std::vector<std::string> other;
  };
  const Case cases[] = {
      {"root ::= \"a\" b\nb ::= \"b\"+ # the rest\n", {"ab", "abbb"}, {"a", "b", "aba"}},
      {"root ::= (\"x\" |\n  \"y\")* \"z\"", {"z", "xyz"}, {"", "xy", "zz"}},
      {"root ::=\n  \"one\"\n  | \"two\"\n  | three\nthree ::= \"3\"",
       {"one", "two", "3"},
       {"three", ""}},
      {"root ::= [a-c] [^a-c] .", {"adx", "cé\n"}, {"aax", "ad"}},
      {"root ::= \"(\" root \")\" | \"\"", {"", "()", "((()))"}, {"(", ")(", "(()"}},
      {"root ::= \"a\" root \"b\" root | \"\"", {"", "ab", "aabbab"}, {"a", "ba"}},
      {"root ::= expr\nexpr ::= term (\"+\" term)*\nterm ::= [0-9]+ | \"(\" expr \")\"",
       {"1", "1+2", "(1+2)+((3))"},
       {"1+", "(1", "1)", "()"}},
      {"root ::= list\nlist ::= \"a\" | \"a\" \",\" list", {"a", "a,a,a"}, {"", "a,", ",a"}},
      {"root ::= [0-9]{2} | [a-z]{2,} | \"-\"{,2}", {"12", "abc", "--", ""}, {"1", "a", "---"}},
      {"root ::= \"\\n\\t\\\"\\\\\" [\\]\\-\\^] \"\\x41\\u00e9\\U0001f600\"",
       {"\n\t\"\\]Aé😀", "\n\t\"\\-Aé😀"},
       {"\n\t\"\\aAé😀"}},
      {"root ::= [+-]? digits\ndigits ::= [0-9]+", {"+1", "-12", "3"}, {"+", "+-1"}},
      {"root ::= a-b _c\na-b ::= \"1\"\n_c ::= \"2\"\nunused ::= unused \"x\"", {"12"}, {"1"}},
      {"root ::= opt opt \"x\"\nopt ::= \"a\" opt | \"\"", {"x", "aaax"}, {"a", "ax "}},
      {"root ::= (\"a\"?)* \"b\"", {"b", "aab"}, {"a"}},
  };
  for (const Case& c : cases) {
    const CompiledOr grammar = compile_ebnf(c.source);
    ASSERT_TRUE(grammar.ok()) << c.source << ": " << grammar.status();
    for (const std::string& text : c.matching) {
      EXPECT_TRUE(matches(grammar, text)) << c.source << " " << text;
    }
    for (const std::string& text : c.other) {
      EXPECT_FALSE(matches(grammar, text)) << c.source << " " << text;
    }
  }
}

TEST(Ebnf, RefusesWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "there is no rule 'root'"},
      {"start ::= \"a\"", "there is no rule 'root'"},
      {"root ::= missing", "rule 'missing' is not defined"},
      {"root ::= \"a\"\nroot ::= \"b\"", "at byte 13: rule 'root' is defined twice"},
      {"root = \"a\"", "at byte 5: '::=' expected after 'root'"},
      {"root ::= \"a", "the '\"' is not closed"},
      {"root ::= [a", "the '[' is not closed"},
      {"root ::= (\"a\"", "a '(' is not closed"},
      {"root ::= \"a\")", "')' without '('"},
      {"root ::= *", "nothing to repeat"},
      {"root ::= \"a\"{2,1}", "m > n"},
      {"root ::= \"a\"{,}", "{m}, {m,} or {m,n} expected"},
      {"root ::= \"a\"{3000}", "more than 2048 repetitions"},
      {"root ::= [z-a]", "out of order"},
      {"root ::= \"\\q\"", "unknown escape"},
      {"root ::= \"\\ud800\"", "this is no character"},
      {"root ::= \"\\U00110000\"", "this is no character"},
      {"root ::= %", "at byte 9: unexpected '%'"},
      {"1 ::= \"a\"", "a rule must begin with its name"},
      {"root ::= []", "no text matches"},
      {"root ::= \"a\" root", "no text matches"},
      {"root ::= root \"a\" | \"b\"", "rule 'root' is left-recursive"},
      {"root ::= a \"x\"\na ::= b | \"1\"\nb ::= a \"y\" | \"2\"", "is left-recursive"},
      {"root ::= e root \"x\" | \"y\"\ne ::= \"z\"?", "rule 'root' is left-recursive"},
      {"root ::= a*\na ::= a \"b\" | \"c\"", "rule 'a' is left-recursive"},
      {"root ::= root", "left-recursive"},
  };
  for (const auto& [source, message] : cases) {
    EXPECT_THAT(error_of(compile_ebnf(source)), HasSubstr(message)) << source;
  }
}

TEST(Ebnf, DeepNestingEndsAtTheStackWithoutADeadEnd) {
  const CompiledOr grammar = compile_ebnf("root ::= \"(\" root \")\" | \"x\"");
  Walk walk(grammar, table_of(test_tokens()));
  size_t depth = 0;
  while (walk.read("(")) ++depth;
  EXPECT_GT(depth, 400u);
  EXPECT_LT(depth, 600u);
  EXPECT_TRUE(walk.read("x" + std::string(depth, ')')));
  EXPECT_TRUE(walk.finished());
}

TEST(Ebnf, AnIndirectNestingEndsWithoutADeadEnd) {
  // After "(" at the limit, "[" must still fit: the need of a state includes its callees.
  const CompiledOr grammar = compile_ebnf(
      "root ::= \"(\" a \")\" | \"x\"\na ::= \"[\" b \"]\"\nb ::= \"{\" root \"}\" b | \"<\" root "
      "\">\"");
  Walk walk(grammar, table_of(test_tokens()));
  size_t steps = 0;
  for (bool read = true; read; ++steps) read = walk.read("(") || walk.read("[") || walk.read("<");
  EXPECT_GT(steps, 400u);
  EXPECT_TRUE(walk.read("x"));
}

TEST(Ebnf, RightRecursionIsFlat) {
  const CompiledOr grammar = compile_ebnf("root ::= \"a\" root | \"b\"");
  EXPECT_TRUE(matches(grammar, std::string(5000, 'a') + "b"));
}

TEST(Ebnf, AmbiguityIsBounded) {
  // Every "a" may open either of two rules, so the readings double with each.
  const CompiledOr grammar = compile_ebnf(
      "root ::= s\ns ::= \"a\" s \"b\" | \"a\" s \"c\" | \"a\" t \"b\" | \"a\" t \"d\" | \"x\"\n"
      "t ::= \"a\" t \"b\" | \"a\" s \"e\" | \"x\"");
  Walk walk(grammar, table_of(test_tokens()));
  ASSERT_TRUE(walk.read(std::string(100, 'a') + "x"));
  for (int i = 0; i < 100; ++i) {
    const std::vector<int32_t> tokens = walk.allowed_tokens();
    ASSERT_FALSE(tokens.empty()) << i;
    walk.accept(tokens.back());
  }
  EXPECT_TRUE(walk.finished());
}

TEST(Ebnf, TooManyWaysIntoRulesAreRefused) {
  std::string source = "root ::= a0 | b0\n";
  for (int i = 0; i < 9; ++i) {
    for (const char* rule : {"a", "b"}) {
      const std::string next = std::to_string(i + 1);
      source +=
          rule + std::to_string(i) + " ::= a" + next + " \"x\" root? | b" + next + " \"y\" root?\n";
    }
  }
  source += "a9 ::= \"1\" root? | \"e\"\nb9 ::= \"2\" root? | \"f\"\n";
  EXPECT_THAT(error_of(compile_ebnf(source)), HasSubstr("too ambiguous"));
}

}  // namespace
}  // namespace deltaserve
