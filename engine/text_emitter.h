// From the bytes of generated tokens to the text a reader sees: whole UTF-8 characters, up to the
// first stop string. The text does not depend on how the bytes were cut into tokens.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace deltaserve {

// Passes whole characters on and holds the bytes of an unfinished one. Each maximal subpart of an
// ill-formed sequence becomes one U+FFFD (Unicode 3.9, table 3-7; the practice of the WHATWG).
class Utf8Repair {
 public:
  // Appends to *text.
  void append(std::string_view bytes, std::string* text);
  // The unfinished character, if any, becomes U+FFFD.
  void flush(std::string* text);

 private:
  void begin(uint8_t lead, std::string* text);

  std::string pending_;  // bytes of the unfinished character
  int missing_ = 0;      // bytes of it still to come
  // What the next of them may be. Only the second byte's range varies.
  uint8_t lowest_ = 0x80;
  uint8_t highest_ = 0xBF;
};

bool is_valid_utf8(std::string_view text);

// Finds the first stop string in a text that arrives in pieces, and holds back the longest suffix
// that may begin one. First = completed first; of those completed at the same byte, the longest.
// So a match never waits for text to come.
class StopMatcher {
 public:
  // `stop_strings` are not empty.
  explicit StopMatcher(std::vector<std::string> stop_strings);

  // Appends to *text what can belong to no match any more. Returns true at a match; then the text
  // before it was appended, and nothing may follow.
  bool append(std::string_view piece, std::string* text);
  // No text follows: what was held back is free.
  void flush(std::string* text);
  // After a match.
  const std::string& matched() const;

 private:
  // Knuth-Morris-Pratt for one string: O(1) per byte, a table of the string's length.
  struct Pattern {
    std::string bytes;
    std::vector<int> fallback;  // length of the longest proper border of bytes[0, n)
    int length = 0;             // matched so far: the text's longest suffix that begins `bytes`

    explicit Pattern(std::string stop_string);
    bool advance(char byte);  // true: complete
  };

  bool advance_all(char byte);

  std::vector<Pattern> patterns_;
  std::string held_;  // the last max(length) bytes of the text
  int matched_ = -1;  // pattern
};

// Thread safety: one thread at a time.
class TextEmitter {
 public:
  explicit TextEmitter(std::vector<std::string> stop_strings) : stops_(std::move(stop_strings)) {}

  // Appends the text that became certain to *text. True: a stop string was completed; the rest of
  // `bytes` is dropped, and append() and flush() do nothing from then on.
  bool append(std::string_view bytes, std::string* text);
  // Before the first append() only: no stop string begins in these characters. One that is cut by
  // the end of `bytes` belongs to what follows.
  void append_unmatched(std::string_view bytes, std::string* text) { utf8_.append(bytes, text); }
  // At the end of generation: releases what was held. True as above: the U+FFFD of an unfinished
  // character may complete a stop string.
  bool flush(std::string* text);
  // The stop string, after one was completed.
  const std::string& stop_string() const { return stops_.matched(); }

 private:
  bool match(std::string_view characters, std::string* text);

  Utf8Repair utf8_;
  StopMatcher stops_;
  std::string characters_;  // scratch
  bool matching_ = false;   // append() was called
  bool stopped_ = false;
};

}  // namespace deltaserve
