// Tests automata: minimal ones are minimal, products and ranges are exact.
#include "engine/grammar/dfa.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "engine/grammar/number_range.h"
#include "engine/grammar/regex_parser.h"
#include "engine/grammar/string_formats.h"

namespace deltaserve::grammar {
namespace {

bool accepts(const Dfa& dfa, std::string_view text) {
  uint32_t state = 0;
  for (const char c : text) {
    const auto byte = static_cast<uint8_t>(c);
    bool moved = false;
    for (const Dfa::ByteEdge& edge : dfa.states[state].bytes) {
      if (byte < edge.first || byte > edge.last) continue;
      state = edge.target;
      moved = true;
      break;
    }
    if (!moved) return false;
  }
  return dfa.states[state].accepting;
}

TEST(Dfa, IsMinimal) {
  AutomatonBudget budget;
  const std::pair<const char*, size_t> cases[] = {
      {"", 1},        {"a", 2},         {"a*", 1},   {"(a|b)*abb", 4},   {"ab|cb|db", 3},
      {"a{0,9}", 10}, {"(aa|aaa)*", 3}, {"[^a]", 9}, {"a|b|c|xd|yd", 3}, {"((a?)?)?", 2}};
  for (const auto& [regex, states] : cases) {
    EXPECT_EQ(regex_dfa(regex, &budget)->states.size(), states) << regex;
  }
}

TEST(Dfa, SearchFindsAnywhereAndAnchorsHold) {
  AutomatonBudget budget;
  EXPECT_TRUE(accepts(*regex_dfa("b+", &budget, true), "abc"));
  EXPECT_TRUE(accepts(*regex_dfa("b+", &budget, true), "\n\nb"));
  EXPECT_FALSE(accepts(*regex_dfa("b+", &budget, true), "ac"));
  EXPECT_TRUE(accepts(*regex_dfa("^b|c$", &budget, true), "bx"));
  EXPECT_TRUE(accepts(*regex_dfa("^b|c$", &budget, true), "xc"));
  EXPECT_FALSE(accepts(*regex_dfa("^b|c$", &budget, true), "xb"));
  EXPECT_FALSE(accepts(*regex_dfa("^b|c$", &budget, true), "cx"));
  EXPECT_TRUE(accepts(*regex_dfa("^$", &budget, true), ""));
  EXPECT_FALSE(accepts(*regex_dfa("^$", &budget, true), "a"));
  EXPECT_TRUE(accepts(*regex_dfa("$^", &budget, true), ""));
  EXPECT_TRUE(accepts(*regex_dfa("$", &budget, true), "a"));
  EXPECT_TRUE(accepts(*regex_dfa("(^|,)x", &budget, true), "a,x"));
  EXPECT_FALSE(accepts(*regex_dfa("(^|,)x", &budget, true), "ax"));
}

TEST(Dfa, ProductsAreExact) {
  AutomatonBudget budget;
  const Dfa even = *regex_dfa("(..)*", &budget);
  const Dfa letters = *regex_dfa("[ab]*", &budget);
  const Dfa both = *intersect(even, letters, &budget);
  const Dfa odd = *subtract(letters, even, &budget);
  for (const char* text : {"", "a", "ab", "aba", "abab", "cc", "c"}) {
    EXPECT_EQ(accepts(both, text), accepts(even, text) && accepts(letters, text)) << text;
    EXPECT_EQ(accepts(odd, text), !accepts(even, text) && accepts(letters, text)) << text;
  }
}

TEST(Dfa, JsonEscapesHaveOneSpelling) {
  AutomatonBudget budget;
  const Dfa dfa = json_escaped(*regex_dfa("[^x]*", &budget));
  for (const char* text :
       {"", "a\\\"b", "\\\\", "\\n\\t\\b\\f\\r", "\\u0000\\u001f", "é", "\x7f", "/"}) {
    EXPECT_TRUE(accepts(dfa, text)) << text;
  }
  for (const char* text : {"\"", "\\", "\n", "\\u000a", "\\u001F", "\\/", "\\u0041", "x", "\\x"}) {
    EXPECT_FALSE(accepts(dfa, text)) << text;
  }
}

NumberBounds::Bound bound(boost::json::value number, bool exclusive) {
  return {number, exclusive};
}

TEST(NumberRange, IntegersAreExact) {
  AutomatonBudget budget;
  for (const int low : {-120, -100, -99, -10, -9, -1, 0, 1, 9, 10, 57, 100}) {
    for (const int high : {-101, -57, -10, -1, 0, 1, 5, 10, 99, 100, 121}) {
      for (const bool exclusive : {false, true}) {
        const Dfa dfa = *integers_between(
            {.min = {bound(low, exclusive)}, .max = {bound(high, exclusive)}}, &budget);
        for (int n = -130; n <= 130; ++n) {
          const bool inside = exclusive ? n > low && n < high : n >= low && n <= high;
          ASSERT_EQ(accepts(dfa, std::to_string(n)), inside) << n << " in " << low << ", " << high;
        }
        for (const char* text : {"-0", "00", "01", "+1", "1.0", "1e0", ""}) {
          ASSERT_FALSE(accepts(dfa, text)) << text;
        }
      }
    }
  }
}

TEST(NumberRange, IntegersTakeAnyBound) {
  AutomatonBudget budget;
  const Dfa half =
      *integers_between({.min = {bound(-2.5, false)}, .max = {bound(2.5, true)}}, &budget);
  for (int n = -4; n <= 4; ++n) EXPECT_EQ(accepts(half, std::to_string(n)), n >= -2 && n <= 2) << n;
  const Dfa large = *integers_between({.min = {bound(int64_t{999999999999999998}, true)}}, &budget);
  EXPECT_TRUE(accepts(large, "999999999999999999"));
  EXPECT_FALSE(accepts(large, "999999999999999998"));
  EXPECT_TRUE(accepts(large, "1000000000000000000"));
  const Dfa all =
      *integers_between({.min = {bound(-1e300, false)}, .max = {bound(1e300, false)}}, &budget);
  EXPECT_TRUE(accepts(all, "-999999999999999999"));
  EXPECT_TRUE(accepts(all, std::string(40, '9')));
  EXPECT_TRUE(accepts(all, "0"));
  const Dfa largest =
      *integers_between({.min = {bound(uint64_t{18446744073709551615u}, false)}}, &budget);
  EXPECT_FALSE(accepts(largest, "18446744073709551614"));
  EXPECT_TRUE(accepts(largest, "18446744073709551615"));
  // The double may stand for an integer that is not a double.
  const Dfa rounded = *integers_between({.max = {bound(1e20, false)}}, &budget);
  EXPECT_TRUE(accepts(rounded, "99999999999999983616"));
  EXPECT_FALSE(accepts(rounded, "100000000000000000000"));
}

TEST(NumberRange, MultiplesAreExact) {
  AutomatonBudget budget;
  for (const int unit : {1, 2, 3, 7, 10, 25, 64, 1000}) {
    const Dfa dfa = *integers_between({.multiple_of = unit}, &budget);
    for (int n = -2100; n <= 2100; ++n) {
      ASSERT_EQ(accepts(dfa, std::to_string(n)), n % unit == 0) << n << " of " << unit;
    }
    EXPECT_FALSE(accepts(dfa, "-0"));
  }
  const Dfa halves = *integers_between({.min = {bound(1, false)}, .multiple_of = 1.5}, &budget);
  for (int n = 1; n <= 40; ++n) EXPECT_EQ(accepts(halves, std::to_string(n)), n % 3 == 0) << n;
  const Dfa cents = *numbers_between({.multiple_of = 0.05}, &budget);
  for (const char* text : {"0", "1", "-3.5", "0.05", "12.10", "0.95"}) {
    EXPECT_TRUE(accepts(cents, text)) << text;
  }
  for (const char* text : {"0.01", "1.", "1.051", "0.050", "-0.99"}) {
    EXPECT_FALSE(accepts(cents, text)) << text;
  }
  for (const boost::json::value& unit :
       {boost::json::value(0), boost::json::value(-2), boost::json::value("2"),
        boost::json::value(1e-12), boost::json::value(1234567)}) {
    EXPECT_FALSE(integers_between({.multiple_of = unit}, &budget).ok());
  }
}

TEST(NumberRange, NumbersAreExact) {
  AutomatonBudget budget;
  const double bounds[] = {-100.5, -10, -9.75, -0.05, 0, 0.001, 0.5, 1, 9.99, 10, 12.25, 1000};
  std::vector<std::string> samples;
  for (int n = -2000; n <= 2000; n += 7) {
    const std::string sign = n < 0 ? "-" : "";
    const std::string whole = std::to_string(std::abs(n) / 100);
    const int cents = std::abs(n) % 100;
    samples.push_back(sign + whole + "." + (cents < 10 ? "0" : "") + std::to_string(cents));
  }
  for (const char* text :
       {"0",      "-0",      "0.0",   "-0.00", "0.001",      "0.0010", "0.00099",
        "10",     "10.0",    "9.9",   "9.99",  "9.989999",   "12.25",  "12.250001",
        "-100.5", "-100.50", "-9.75", "1000",  "999.999999", "-0.05",  "-0.0500",
        "-0.049", "1",       "1.000", "0.5",   "0.49"}) {
    samples.push_back(text);
  }
  for (const double low : bounds) {
    for (const double high : bounds) {
      for (const bool exclusive : {false, true}) {
        const Dfa dfa = *numbers_between(
            {.min = {bound(low, exclusive)}, .max = {bound(high, exclusive)}}, &budget);
        for (const std::string& text : samples) {
          const double x = std::strtod(text.c_str(), nullptr);
          const bool inside = exclusive ? x > low && x < high : x >= low && x <= high;
          const bool read = accepts(dfa, text);
          ASSERT_TRUE(!read || inside) << text << " in " << low << ", " << high;
          // "-0" is left out if the range begins at 0.
          if (inside && !read) {
            ASSERT_TRUE(low >= 0 && text[0] == '-') << text << " in " << low << ", " << high;
          }
        }
      }
    }
  }
}

TEST(NumberRange, OneSideAndTooManyDigits) {
  AutomatonBudget budget;
  const Dfa above = *numbers_between({.min = {bound(0.5, true)}}, &budget);
  EXPECT_TRUE(accepts(above, "0.500001"));
  EXPECT_TRUE(accepts(above, "123456789.123456"));
  EXPECT_FALSE(accepts(above, "0.5"));
  EXPECT_FALSE(accepts(above, "1e5"));
  EXPECT_FALSE(numbers_between({.min = {bound(0.30000000000000004, false)}}, &budget).ok());
  EXPECT_FALSE(numbers_between({.min = {bound(1e16, false)}}, &budget).ok());
  EXPECT_FALSE(
      numbers_between({.min = {bound(1e-300, false)}, .max = {bound(1, false)}}, &budget).ok());
}

TEST(Formats, AcceptAndRefuse) {
  AutomatonBudget budget;
  struct Case {
    const char* format;
    std::vector<std::string> matching;
    std::vector<std::string> other;
  };
  const Case cases[] = {
      {"date",
       {"2024-02-29", "1999-12-31", "0001-01-01"},
       {"2023-02-29", "2023-04-31", "0000-01-01", "2023-13-01", "23-01-01"}},
      {"time", {"00:00:00Z", "23:59:59.123+01:30"}, {"24:00:00Z", "12:00:00", "12:60:00Z"}},
      {"date-time", {"2024-01-31T10:20:30Z"}, {"2024-01-31 10:20:30Z", "2024-01-32T10:20:30Z"}},
      {"uuid", {"123e4567-e89b-12d3-a456-426614174000"}, {"123e4567e89b12d3a456426614174000"}},
      {"ipv4", {"0.0.0.0", "255.10.1.99"}, {"256.0.0.1", "01.2.3.4", "1.2.3"}},
      {"email", {"a.b+c@example.co.uk"}, {"a@b", "a..b@c.de", "@c.de", "a b@c.de"}},
      {"duration",
       {"P1D", "P3Y6M4DT12H30M5S", "PT36H", "P2W", "P1Y", "PT1M"},
       {"P", "PT", "P1", "1D", "P1D2H", "P1Y2W", "PT1S2M", "P0.5Y", "P2S"}},
      {"hostname",
       {"localhost", "www.example.com", "a-b.c", "h0"},
       {"", "-a", "a-", "a..b", "a_b", ".a", "a.", "xn--x"}},
      {"ipv6",
       {"::", "::1", "1::", "2001:db8::8a2e:370:7334", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::"},
       {":", "1", "1:2:3:4:5:6:7", "1::2::3", "12345::", "1:2:3:4:5:6:7:8:9", "::1:2:3:4:5:6:7:8"}},
      {"uri",
       {"https://example.com", "http://a.b:80/c/d?e=f#g", "mailto:a@b.c", "urn:x:y"},
       {"", "example.com", "//a/b", "http:", "1http://a", "http://a b", "http://[::1", "a:\\b"}},
      {"uri-reference",
       {"", "/a/b", "//host/path", "a/b?c#d", "#frag", "http://x.y", "../up"},
       {"\\a", "a b", "<x>", ":x"}},
      {"byte", {"", "TQ==", "TWE=", "TWFu"}, {"T", "TQ=", "TQ", "T===", "TWF!"}},
      {"json-pointer", {"", "/a/~0~1"}, {"a", "/~2"}},
  };
  for (const Case& c : cases) {
    const Dfa dfa = **format_dfa(c.format, &budget);
    for (const std::string& text : c.matching) EXPECT_TRUE(accepts(dfa, text)) << text;
    for (const std::string& text : c.other) EXPECT_FALSE(accepts(dfa, text)) << text;
  }
  for (const char* format : {"binary", "password", "colour"}) {
    EXPECT_FALSE(format_dfa(format, &budget).value().has_value()) << format;
  }
  EXPECT_FALSE(format_dfa("regex", &budget).ok());
}

}  // namespace
}  // namespace deltaserve::grammar
