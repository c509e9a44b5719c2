// Tests regular expressions: which texts match, and which sources are refused. The expectations are
// those of Python's re.fullmatch.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/engine/grammar/grammar_test_util.h"

namespace deltaserve {
namespace {

using testing::HasSubstr;

struct Case {
  const char* regex;
  std::vector<std::string> matching;
  std::vector<std::string> other;
};

const Case kCases[] = {
    {"abc", {"abc"}, {"", "ab", "abcd", "ABC"}},
    {"", {""}, {"a"}},
    {"a*", {"", "a", "aaaa"}, {"b", "ab"}},
    {"a+b?", {"a", "ab", "aab"}, {"", "b", "abb"}},
    {"(ab|cd)+", {"ab", "cdab", "cdcdab"}, {"", "abc", "a"}},
    {"(a|)b", {"b", "ab"}, {"a", "aab"}},
    {"|a", {"", "a"}, {"aa"}},
    {"(a*)*b", {"b", "aaab"}, {"a", "ba"}},
    {"(a|ab)(c|bcd)(d*)", {"abcd", "ac", "abc", "acdd"}, {"ab", "abd"}},
    {"[a-c]{2,3}", {"ab", "abc"}, {"a", "abcd", "ad"}},
    {"a{3}", {"aaa"}, {"aa", "aaaa"}},
    {"a{2,}", {"aa", "aaaaa"}, {"a"}},
    {"a{0}b", {"b"}, {"ab"}},
    {"(a{2}){2}", {"aaaa"}, {"aa", "aaa", "aaaaaa"}},
    {"a??b*?c+?", {"c", "abc", "bbcc"}, {"ab", "aac"}},
    {"[^a-c]", {"d", "é", "\n", "日", "😀"}, {"a", "", "dd"}},
    {"[]x]", {}, {}},  // refused: see below
    {"[a\\]b]+", {"a]b"}, {"\\"}},
    {"[a-]+", {"a-", "-"}, {"b"}},
    {"[\\d.]+", {"1.5", "..."}, {"1,5"}},
    {"\\d{3}-\\d{4}", {"555-0123"}, {"5550123", "٣٣٣-٣٣٣٣"}},
    {"\\w+\\s\\w+", {"ab cd", "a_1\tz"}, {"ab", "ab  cd", "a-b c"}},
    {"\\D\\W\\S", {"a-b"}, {"1-b", "aab", "a- "}},
    {".", {"a", "é", "\t"}, {"", "\n", "ab"}},
    {"^abc$", {"abc"}, {"ab", "abc\n"}},
    {"(^a|b)c", {"ac", "bc"}, {"c"}},
    {"a^b", {}, {"ab", "a^b"}},  // matches nothing: see below
    {"(a$|b)", {"a", "b"}, {"ab"}},
    {"(?:x|y)(?P<name>z)(?<n2>w)", {"xzw", "yzw"}, {"xz"}},
    {"\\x41\\u00e9\\t\\.", {"Aé\t."}, {"A\xe9\t."}},
    {"é+", {"é", "éé"}, {"\xc3", "e"}},
    {"[а-я]+", {"привет"}, {"Привет", "hello"}},
    {"[\\u4e00-\\u9fff]{2}", {"日本"}, {"日", "ab"}},
    {"[^\\u0000-\\uffff]", {"😀"}, {"日", "a"}},
    {"{a}", {"{a}"}, {"a"}},
    {"a{x}", {"a{x}"}, {"ax"}},
    {"\\{\"a\": [0-9]+\\}", {"{\"a\": 12}"}, {"{\"a\":12}"}},
    {"[0-9]{4}-(0[1-9]|1[0-2])", {"2024-02", "1999-12"}, {"2024-13", "2024-2"}},
    {"(25[0-5]|2[0-4]\\d|1?\\d?\\d)(\\.(25[0-5]|2[0-4]\\d|1?\\d?\\d)){3}",
     {"192.168.0.1", "255.255.255.255"},
     {"256.1.1.1", "1.2.3"}},
    {"(a|b)*abb", {"abb", "aabb", "babaabb"}, {"ab", "abba"}},
    {"\\0\\f\\v[\\b]", {std::string("\0\f\v\b", 4)}, {"0fvb"}},
    {"-?(0|[1-9]\\d*)(\\.\\d+)?", {"-12.50", "0"}, {"01", "1."}},
};

TEST(Regex, MatchesWhatPythonMatches) {
  for (const Case& c : kCases) {
    const CompiledOr grammar = compile_regex(c.regex);
    if (c.matching.empty()) continue;
    ASSERT_TRUE(grammar.ok()) << c.regex << ": " << grammar.status();
    for (const std::string& text : c.matching)
      EXPECT_TRUE(matches(grammar, text)) << c.regex << " " << text;
    for (const std::string& text : c.other)
      EXPECT_FALSE(matches(grammar, text)) << c.regex << " " << text;
  }
}

TEST(Regex, RefusesWhatItDoesNotSupport) {
  const std::pair<const char*, const char*> cases[] = {
      {"(?=a)b", "no text matches"},
      {"(?:a(?!b))", "at byte 4: look-ahead in a group"},
      {"(?=(?!b)a)", "at byte 3: look-ahead in a group"},
      {"a(?=b)*", "nothing to repeat"},
      {"(?<=a)b", "look-behind"},
      {"(?<!a)b", "look-behind"},
      {"(a)\\1", "back-references"},
      {"(?P<a>x)(?P=a)", "back-references"},
      {"\\bword", "\\b is not supported"},
      {"\\p{L}", "\\p is not supported"},
      {"\\A", "\\A is not supported"},
      {"(?i)a", "this kind of group"},
      {"(?>a)", "this kind of group"},
      {"a++", "possessive"},
      {"a**", "nothing to repeat"},
      {"*a", "nothing to repeat"},
      {"(*a)", "nothing to repeat"},
      {"^*", "nothing to repeat"},
      {"a{2}{3}", "nothing to repeat"},
      {"a{,3}", "{0,n}"},
      {"a{3,2}", "m > n"},
      {"a{2049}", "more than 2048 repetitions"},
      {"a{99999999999999999999}", "more than 2048 repetitions"},
      {"(a", "a '(' is not closed"},
      {"a)", "at byte 1: ')' without '('"},
      {"[a", "a '[' is not closed"},
      {"[]a]", "an empty class"},
      {"[b-a]", "out of order"},
      {"[\\d-z]", "between two characters"},
      {"a\\", "a '\\' at the end"},
      {"\\xg0", "2 hexadecimal digits"},
      {"\\ud800", "surrogate"},
      {"\\q", "\\q is not supported"},
      {"(?<>a)", "a group name"},
      {"\xff", "not UTF-8"},
      {"\xed\xa0\x80", "not UTF-8"},
      {"a^b", "no text matches"},
      {"a$b", "no text matches"},
  };
  for (const auto& [regex, message] : cases) {
    EXPECT_THAT(error_of(compile_regex(regex)), HasSubstr(message)) << regex;
  }
}

TEST(Regex, ChoicesAreTaken) {
  const CompiledOr grammar = compile_choice({"yes", "no", "not sure", "è"});
  for (const char* text : {"yes", "no", "not sure", "è"}) EXPECT_TRUE(matches(grammar, text));
  for (const char* text : {"", "y", "not", "yesno"}) EXPECT_FALSE(matches(grammar, text));
  EXPECT_EQ(error_of(compile_choice({})), "there is no choice");
  EXPECT_EQ(error_of(compile_choice({"a", "\xc3"})), "choice 1 is not UTF-8");
  EXPECT_THAT(error_of(compile_choice(std::vector<std::string>(4097, "a"))),
              HasSubstr("more than 4096 choices"));
  EXPECT_THAT(error_of(compile_choice({std::string(40000, 'a'), std::string(40000, 'b')})),
              HasSubstr("longer than 65536 bytes"));
}

}  // namespace
}  // namespace deltaserve
