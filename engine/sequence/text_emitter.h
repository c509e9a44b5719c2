// Turns the bytes of generated tokens into the text a reader sees: whole UTF-8 characters, up to
// the first stop string. The text does not depend on how the bytes were cut into tokens.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "models/tokenizer/base/vocabulary.h"

namespace deltaserve {

// Passes whole characters on and holds the bytes of an unfinished one. Each maximal subpart of an
// ill-formed sequence becomes one U+FFFD (Unicode 3.9, table 3-7; the practice of the WHATWG), or
// one for each of its bytes, as the tokenizer wants it.
class Utf8Repair {
 public:
  explicit Utf8Repair(IllFormed ill_formed = IllFormed::kPart) : ill_formed_(ill_formed) {}

  // Says what becomes of ill-formed bytes from now on.
  void replace_each(IllFormed ill_formed) { ill_formed_ = ill_formed; }
  // Appends the characters that `bytes` completes to *text.
  void append(std::string_view bytes, std::string* text);
  // Ends the text: an unfinished character becomes U+FFFD.
  void flush(std::string* text);
  // Returns true if the next byte may complete a character that was begun.
  bool holds_bytes() const { return missing_ > 0; }

 private:
  void begin(uint8_t lead, std::string* text);

  IllFormed ill_formed_;
  std::string pending_;  // bytes of the unfinished character
  int missing_ = 0;      // bytes of it still to come
  // Bounds of the next byte. Only the second byte of a character has other bounds than 80 to BF.
  uint8_t lowest_ = 0x80;
  uint8_t highest_ = 0xBF;
};

bool is_valid_utf8(std::string_view text);

// Finds the first stop string in a text that arrives in pieces, and holds back the longest suffix
// that may begin one. The first is the one completed first; of those completed at the same byte,
// the longest. So a match never waits for more text.
class StopMatcher {
 public:
  // Takes the stop strings, none of which may be empty.
  explicit StopMatcher(std::vector<std::string> stop_strings);

  // Appends text that can no longer be part of a match to *text. Returns true at a match; then the
  // text before the match was appended, and the object must not be used further.
  bool append(std::string_view piece, std::string* text);
  // Ends the text: appends the text that was held back.
  void flush(std::string* text);
  // Returns the stop string that matched.
  const std::string& matched() const;
  // Returns how many bytes are held back.
  size_t held() const { return held_.size(); }

 private:
  // The Knuth-Morris-Pratt automaton of one string: O(1) per byte, a table of the string's length.
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
  explicit TextEmitter(std::vector<std::string> stop_strings,
                       IllFormed ill_formed = IllFormed::kPart)
      : utf8_(ill_formed), stops_(std::move(stop_strings)) {}

  // Appends the text that became certain to *text. Returns true if a stop string was completed; the
  // rest of `bytes` is dropped, and append() and flush() do nothing from then on.
  bool append(std::string_view bytes, std::string* text);
  // Appends text in which no stop string may begin. May be called before the first append() only. A
  // character that is cut by the end of `bytes` belongs to the text after it.
  void append_unmatched(std::string_view bytes, std::string* text);
  // Ends generation and releases the text that was held. Returns true as append() does: the U+FFFD
  // of an unfinished character may complete a stop string.
  bool flush(std::string* text);
  // Returns the stop string that was completed.
  const std::string& stop_string() const { return stops_.matched(); }
  // Returns the bytes of the text so far, with those that are held back, but without an unfinished
  // character.
  int64_t text_bytes() const { return released_ + static_cast<int64_t>(stops_.held()); }

 private:
  bool match(std::string_view characters, std::string* text);

  Utf8Repair utf8_;
  StopMatcher stops_;
  std::string characters_;  // scratch
  int64_t released_ = 0;    // bytes of text
  bool matching_ = false;   // append() was called
  bool stopped_ = false;
};

}  // namespace deltaserve
