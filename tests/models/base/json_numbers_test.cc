#include "models/base/json_numbers.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

namespace deltaserve {
namespace {

std::string again(std::string_view text) {
  const auto value = parse_json_exactly(text, 32);
  return value.has_value() ? exact_json(*value) : "refused";
}

TEST(JsonNumbers, IntegersKeepTheirDigits) {
  for (const char* text :
       {"0", "-1", "9223372036854775807", "-9223372036854775808", "9223372036854775808",
        "-9223372036854775809", "18446744073709551615", "18446744073709551616",
        "-123456789012345678901234567890", "{\"a\":[1,123456789012345678901234567890]}"}) {
    EXPECT_EQ(again(text), text);
  }
  EXPECT_EQ(again("-0"), "0");
  const std::string longest(kMostIntegerDigits, '9');
  EXPECT_EQ(again(longest), longest);
  EXPECT_EQ(again("-" + longest), "-" + longest);
  EXPECT_EQ(again(longest + "9"), "refused");
}

// The texts are those of Python's json.dumps(json.loads(text)).
TEST(JsonNumbers, FloatsAreWrittenAsInPython) {
  const std::pair<const char*, const char*> kTable[] = {
      {"1.0", "1.0"},
      {"1e22", "1e+22"},
      {"1E-7", "1e-07"},
      {"-0.0", "-0.0"},
      {"1e15", "1000000000000000.0"},
      {"1e16", "1e+16"},
      {"0.0001", "0.0001"},
      {"0.00001", "1e-05"},
      {"5e-324", "5e-324"},
      {"1e-400", "0.0"},
      {"1.7976931348623157e308", "1.7976931348623157e+308"},
      {"9007199254740993.0", "9007199254740992.0"},
      {"0.1000000000000000055511151231257827", "0.1"},
      {"8.41E21", "8.41e+21"},
      {"2.2250738585072011e-308", "2.225073858507201e-308"},
      {"123456789012345678901234567890.0", "1.2345678901234568e+29"},
      {"1e999", "1e999"},  // Python's Infinity is no JSON
      {"-1e999", "-1e999"},
  };
  for (const auto& [text, wanted] : kTable) EXPECT_EQ(again(text), wanted) << text;
  EXPECT_EQ(python_float(std::nan("")), "nan");
  EXPECT_EQ(python_float(-std::numeric_limits<double>::infinity()), "-inf");
}

TEST(JsonNumbers, ABigIntegerIsNoObjectOfAText) {
  const auto value =
      parse_json_exactly("[18446744073709551616,{\"a\":1},{},18446744073709551615]", 8);
  ASSERT_TRUE(value.has_value());
  EXPECT_EQ(big_integer_text(value->at(0)), "18446744073709551616");
  EXPECT_FALSE(is_json_object(value->at(0)));
  EXPECT_TRUE(is_exact_number(value->at(0)));
  for (const size_t place : {1, 2}) {
    EXPECT_EQ(big_integer_text(value->at(place)), "");
    EXPECT_TRUE(is_json_object(value->at(place)));
    EXPECT_FALSE(is_exact_number(value->at(place)));
  }
  EXPECT_TRUE(is_exact_number(value->at(3)));
  EXPECT_EQ(again("{\"\xff\":\"5\"}"), "refused");
}

TEST(JsonNumbers, TextThatIsNoValueIsRefused) {
  for (const char* text : {"", "1 2", "[1", "{\"a\"}", "01", "1.", "NaN", "[[[1]]]x"}) {
    EXPECT_EQ(again(text), "refused") << text;
  }
  EXPECT_FALSE(parse_json_exactly("[[1]]", 1).has_value());
  EXPECT_TRUE(parse_json_exactly(" [[1]] ", 2).has_value());
}

}  // namespace
}  // namespace deltaserve
