#include "engine/sequence/text_emitter.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <string>
#include <vector>

namespace deltaserve {
namespace {

struct Emitted {
  std::string text;
  std::string stop;  // empty = none
  bool operator==(const Emitted&) const = default;
};

std::ostream& operator<<(std::ostream& out, const Emitted& e) {
  return out << '"' << e.text << "\" stop \"" << e.stop << '"';
}

Emitted emit(const std::vector<std::string>& pieces, const std::vector<std::string>& stops) {
  TextEmitter emitter(stops);
  Emitted result;
  bool stopped = false;
  for (const std::string& piece : pieces) {
    if ((stopped = emitter.append(piece, &result.text))) break;
    EXPECT_TRUE(is_valid_utf8(result.text)) << "a character was cut";
  }
  if (!stopped) stopped = emitter.flush(&result.text);
  if (stopped) result.stop = emitter.stop_string();
  return result;
}

const std::string kReplacement = "\xEF\xBF\xBD";

TEST(TextEmitter, PassesTextAtOnceWithoutStops) {
  TextEmitter emitter({});
  std::string text;
  EXPECT_FALSE(emitter.append("hello ", &text));
  EXPECT_EQ(text, "hello ");
}

TEST(TextEmitter, HoldsAnUnfinishedCharacter) {
  TextEmitter emitter({});
  std::string text;
  emitter.append("\xE2\x82", &text);
  EXPECT_EQ(text, "");
  emitter.append("\xAC!", &text);
  EXPECT_EQ(text, "€!");
  emitter.append("\xF0\x9F\x98", &text);
  EXPECT_EQ(text, "€!");
  emitter.flush(&text);
  EXPECT_EQ(text, "€!" + kReplacement);
}

// Checks the examples of Unicode 3.9, tables 3-8 to 3-11, and the borders of table 3-7.
TEST(TextEmitter, ReplacesMaximalSubparts) {
  const struct {
    std::string bytes, expected;  // '?' = U+FFFD
  } cases[] = {
      {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", "????????A"},
      {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", "????????A"},
      {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", "?????A??B"},
      {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", "????A"},
      {"\xE0\xA0\x80", "\xE0\xA0\x80"},
      {"\xED\x9F\xBF", "\xED\x9F\xBF"},
      {"\xF0\x90\x80\x80", "\xF0\x90\x80\x80"},
      {"\xF4\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF"},
      {"\xC1\xBF", "??"},
      {"\xE2\x28\xA1", "?(?"},
      {std::string("a\0b", 3), std::string("a\0b", 3)},
  };
  for (const auto& c : cases) {
    std::string expected;
    for (const char ch : c.expected) {
      if (ch == '?') {
        expected += kReplacement;
      } else {
        expected += ch;
      }
    }
    EXPECT_EQ(emit({c.bytes}, {}).text, expected);
    std::vector<std::string> single;
    for (const char ch : c.bytes) single.emplace_back(1, ch);
    EXPECT_EQ(emit(single, {}).text, expected);
  }
}

// Sentencepiece decodes tokens of bytes this way.
TEST(TextEmitter, ReplacesEachByteIfTheTokenizerDoes) {
  const struct {
    std::string bytes, expected;  // '?' = U+FFFD
  } cases[] = {
      {"\xE4\xB8"
       "a",
       "??a"},
      {"\xE4\xB8\xAD\xFF", "\xE4\xB8\xAD?"},
      {"\xE4\xB8\xE4\xB8\xAD", "??\xE4\xB8\xAD"},
      {"\xF0\x9F\x99", "???"},
      {"\xED\xA0\x80", "???"},
      {"\xF4\x90\x80\x80", "????"},
      {"\xC0\x80", "??"},
  };
  for (const auto& c : cases) {
    TextEmitter emitter({}, IllFormed::kByte);
    std::string text, expected;
    for (const char byte : c.bytes) EXPECT_FALSE(emitter.append({&byte, 1}, &text));
    EXPECT_FALSE(emitter.flush(&text));
    for (const char ch : c.expected) ch == '?' ? expected += kReplacement : expected += ch;
    EXPECT_EQ(text, expected);
  }
}

TEST(TextEmitter, FindsStopsAcrossPieces) {
  EXPECT_EQ(emit({"ab", "c", "def"}, {"cd"}), (Emitted{"ab", "cd"}));
  EXPECT_EQ(emit({"ab", "c"}, {"cd"}), (Emitted{"abc", ""}));
  EXPECT_EQ(emit({"stop"}, {"stop"}), (Emitted{"", "stop"}));
  EXPECT_EQ(emit({"a", "a", "b"}, {"ab"}), (Emitted{"a", "ab"}));
  EXPECT_EQ(emit({"a\xE2", "\x82", "\xAC", "z"}, {"€"}), (Emitted{"a", "€"}));
}

TEST(TextEmitter, HoldsBackOnlyWhatMayBeginAStop) {
  TextEmitter emitter({"\n\nUser:", "END"});
  std::string text;
  emitter.append("one\n", &text);
  EXPECT_EQ(text, "one");
  emitter.append("two E", &text);
  EXPECT_EQ(text, "one\ntwo ");
  emitter.append("N", &text);
  EXPECT_EQ(text, "one\ntwo ");
  emitter.append("E", &text);
  EXPECT_EQ(text, "one\ntwo EN");
  EXPECT_FALSE(emitter.flush(&text));
  EXPECT_EQ(text, "one\ntwo ENE");
}

TEST(TextEmitter, FirstCompletedWinsThenTheLongest) {
  EXPECT_EQ(emit({"xabcy"}, {"abcy", "bc"}), (Emitted{"xa", "bc"}));
  EXPECT_EQ(emit({"xabc"}, {"bc", "abc", "c"}), (Emitted{"x", "abc"}));
  EXPECT_EQ(emit({"xabc"}, {"abc", "ab"}), (Emitted{"x", "ab"}));
}

TEST(TextEmitter, OverlappingBeginnings) {
  EXPECT_EQ(emit({"aab", "aab", "aac!"}, {"aabaac"}), (Emitted{"aab", "aabaac"}));
  EXPECT_EQ(emit({"aaaa", "b"}, {"aab"}), (Emitted{"aa", "aab"}));
}

TEST(TextEmitter, TheLastReplacementMayCompleteAStop) {
  EXPECT_EQ(emit({"ab\xE2"}, {"b" + kReplacement}), (Emitted{"a", "b" + kReplacement}));
}

TEST(TextEmitter, IsSilentAfterAStop) {
  TextEmitter emitter({"x"});
  std::string text;
  EXPECT_TRUE(emitter.append("axb", &text));
  EXPECT_TRUE(emitter.append("c", &text));
  EXPECT_TRUE(emitter.flush(&text));
  EXPECT_EQ(text, "a");
}

// ---- Properties, compared with slow and separate implementations

// Returns the byte length of the character or maximal subpart at the front; *valid says which.
size_t unit_length(std::string_view s, bool* valid) {
  const struct {
    int lead_low, lead_high, second_low, second_high, length;
  } table[] = {
      {0x00, 0x7F, 0, 0, 1},       {0xC2, 0xDF, 0x80, 0xBF, 2}, {0xE0, 0xE0, 0xA0, 0xBF, 3},
      {0xE1, 0xEC, 0x80, 0xBF, 3}, {0xED, 0xED, 0x80, 0x9F, 3}, {0xEE, 0xEF, 0x80, 0xBF, 3},
      {0xF0, 0xF0, 0x90, 0xBF, 4}, {0xF1, 0xF3, 0x80, 0xBF, 4}, {0xF4, 0xF4, 0x80, 0x8F, 4}};
  const auto at = [&](size_t i) { return static_cast<uint8_t>(s[i]); };
  *valid = false;
  for (const auto& row : table) {
    if (at(0) < row.lead_low || at(0) > row.lead_high) continue;
    for (int n = 1; n < row.length; ++n) {
      const int low = n == 1 ? row.second_low : 0x80, high = n == 1 ? row.second_high : 0xBF;
      if (static_cast<size_t>(n) >= s.size() || at(n) < low || at(n) > high) return n;
    }
    *valid = true;
    return row.length;
  }
  return 1;
}

std::string repaired(std::string_view s) {
  std::string out;
  while (!s.empty()) {
    bool valid;
    const size_t n = unit_length(s, &valid);
    out += valid ? std::string(s.substr(0, n)) : kReplacement;
    s.remove_prefix(n);
  }
  return out;
}

Emitted truth(std::string_view bytes, const std::vector<std::string>& stops) {
  const std::string text = repaired(bytes);
  for (size_t end = 1; end <= text.size(); ++end) {
    const std::string_view head(text.data(), end);
    std::string longest;
    for (const std::string& stop : stops) {
      if (head.ends_with(stop) && stop.size() > longest.size()) longest = stop;
    }
    if (!longest.empty()) return {text.substr(0, end - longest.size()), longest};
  }
  return {text, ""};
}

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  size_t below(size_t n) { return engine_() % n; }

  // A small alphabet makes overlaps; other bytes make broken characters.
  std::string bytes(size_t length) {
    static const std::string units[] = {"a", "b", "a", "b",    "é",    "€",    "😀",
                                        "c", " ", "a", "\xE2", "\x82", "\xF0", "\xFF"};
    std::string out;
    while (out.size() < length) out += units[below(std::size(units))];
    return out;
  }
  std::string stop() {
    std::string out = repaired(bytes(1 + below(5)));
    return out.empty() ? "a" : out;
  }
  std::vector<std::string> split(const std::string& whole) {
    std::vector<std::string> pieces;
    for (size_t at = 0; at < whole.size();) {
      const size_t n = std::min(below(5), whole.size() - at);  // empty pieces too
      pieces.push_back(whole.substr(at, n));
      at += n;
    }
    return pieces;
  }

 private:
  std::mt19937 engine_;
};

TEST(TextEmitterProperty, CutsDoNotMatter) {
  Random random(7);
  int stopped = 0;
  for (int round = 0; round < 30000; ++round) {
    const std::string bytes = random.bytes(random.below(40));
    std::vector<std::string> stops(random.below(4));
    for (std::string& stop : stops) stop = random.stop();
    const Emitted expected = truth(bytes, stops);
    ASSERT_EQ(emit({bytes}, stops), expected) << round;
    ASSERT_EQ(emit(random.split(bytes), stops), expected) << round;
    stopped += expected.stop.empty() ? 0 : 1;
  }
  EXPECT_GT(stopped, 5000);
  EXPECT_LT(stopped, 25000);
}

// At every point the held text is the longest suffix that may begin a stop string, and no more.
TEST(TextEmitterProperty, HoldsTheLongestPossibleBeginning) {
  Random random(8);
  for (int round = 0; round < 3000; ++round) {
    const std::string whole = repaired(random.bytes(30));
    const std::vector<std::string> stops{random.stop(), random.stop()};
    if (!truth(whole, stops).stop.empty()) continue;
    TextEmitter emitter(stops);
    std::string text;
    for (size_t at = 0; at < whole.size();) {
      bool valid;
      const size_t n = unit_length(std::string_view(whole).substr(at), &valid);
      emitter.append(whole.substr(at, n), &text);
      at += n;
      const std::string_view head(whole.data(), at);
      size_t held = 0;
      for (const std::string& stop : stops) {
        for (size_t k = 1; k < stop.size() && k <= at; ++k) {
          if (head.ends_with(stop.substr(0, k))) held = std::max(held, k);
        }
      }
      ASSERT_EQ(text, head.substr(0, at - held));
    }
  }
}

TEST(TextEmitter, TheWorstStopsAreCheap) {
  std::vector<std::string> stops;
  for (int i = 0; i < 16; ++i) stops.push_back(std::string(254, 'a') + static_cast<char>('b' + i));
  TextEmitter emitter(stops);
  std::string text;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 20000; ++i) ASSERT_FALSE(emitter.append("aaaa", &text));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(text.size(), 80000u - 254u);
  EXPECT_LT(took.count(), 5.0);  // 250 microseconds a token, under sanitizers too
}

}  // namespace
}  // namespace deltaserve
