// The generated tables of Unicode and how they are searched.
#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>

namespace deltaserve::tokenizer_json::tables {

// The value of all code points from `at` to the next entry, or the mapping of one character.
struct Change {
  uint32_t at;
  uint32_t value;
};

struct CaseClass {
  char32_t codes[4];  // filled up with 0
};

struct Composition {
  uint32_t first;
  uint32_t second;
  uint32_t whole;
};

#include "models/tokenizer/json/unicode_tables.inc"

// Returns the value that holds at `code`; `before` if no entry is at or below it.
inline uint32_t value_at(std::span<const Change> changes, char32_t code, uint32_t before = 0) {
  const auto after =
      std::upper_bound(changes.begin(), changes.end(), code,
                       [](char32_t c, const Change& change) { return c < change.at; });
  return after == changes.begin() ? before : std::prev(after)->value;
}

}  // namespace deltaserve::tokenizer_json::tables
