#include "models/tokenizer/json/normal_forms.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "models/base/cancellation.h"
#include "models/tokenizer/json/code_point_set.h"
#include "models/tokenizer/json/unicode_tables.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve::tokenizer_json {
namespace {

// Hangul syllables are composed by arithmetic (chapter 3.12 of the Unicode standard).
constexpr char32_t kSyllable = 0xAC00, kLeading = 0x1100, kVowel = 0x1161, kTrailing = 0x11A7;
constexpr char32_t kLeadings = 19, kVowels = 21, kTrailings = 28;
constexpr char32_t kSyllables = kLeadings * kVowels * kTrailings;

using Entries = std::unordered_map<char32_t, std::u32string>;

Entries entries_of(std::span<const uint32_t> table, Entries entries) {
  for (size_t i = 0; i < table.size(); i += 2 + table[i + 1]) {
    std::u32string text;
    for (size_t k = 0; k < table[i + 1]; ++k) text.push_back(table[i + 2 + k]);
    entries[table[i]] = std::move(text);
  }
  return entries;
}

const Entries& decompositions(bool compatible) {
  static const Entries canonical = entries_of(tables::kNfd, {});
  static const Entries all = entries_of(tables::kNfkd, canonical);
  return compatible ? all : canonical;
}

uint32_t combining_class(char32_t code) {
  return code < 0x300 ? 0 : tables::value_at(tables::kCombiningClasses, code);
}

bool is_syllable(char32_t code) {
  return code >= kSyllable && code < kSyllable + kSyllables;
}

const std::unordered_map<uint64_t, char32_t>& compositions() {
  static const auto pairs = [] {
    std::unordered_map<uint64_t, char32_t> map;
    for (const tables::Composition& entry : tables::kCompositions) {
      map[uint64_t{entry.first} << 32 | entry.second] = entry.whole;
    }
    return map;
  }();
  return pairs;
}

// Returns what two neighbours compose to; 0 if they do not.
char32_t composed(char32_t a, char32_t b) {
  if (a >= kLeading && a < kLeading + kLeadings && b >= kVowel && b < kVowel + kVowels) {
    return kSyllable + ((a - kLeading) * kVowels + (b - kVowel)) * kTrailings;
  }
  const bool open = is_syllable(a) && (a - kSyllable) % kTrailings == 0;
  if (open && b > kTrailing && b < kTrailing + kTrailings) return a + (b - kTrailing);
  const auto found = compositions().find(uint64_t{a} << 32 | b);
  return found == compositions().end() ? 0 : found->second;
}

void mark(char32_t first, char32_t end, std::vector<bool>* in) {
  std::fill(in->begin() + first, in->begin() + end, true);
}

// The characters that a form may change, alone or beside others. A text without any of them is in
// the form already.
CodePointBits changing(NormalForm form) {
  const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  const bool composes = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  const Entries& entries = decompositions(compatible);
  std::vector<bool> in(kLastCodePoint + 1);
  for (const auto& [code, text] : entries) in[code] = true;
  if (composes) {
    for (const auto& [pair, whole] : compositions()) {
      in[whole] = entries.at(whole) != decompositions(false).at(whole);
    }
    for (const auto& [pair, whole] : compositions()) in[pair & 0xFFFFFFFF] = true;
    mark(kVowel, kTrailing + kTrailings, &in);
  } else {
    mark(kSyllable, kSyllable + kSyllables, &in);
  }
  const std::span<const tables::Change> classes = tables::kCombiningClasses;
  for (size_t i = 0; i + 1 < classes.size(); ++i) {
    if (classes[i].value != 0) mark(classes[i].at, classes[i + 1].at, &in);
  }
  std::vector<uint32_t> boundaries;
  for (char32_t c = 0; c <= kLastCodePoint; ++c) {
    if (in[c] != (boundaries.size() % 2 == 1)) boundaries.push_back(c);
  }
  return CodePointBits(CodePointSet::from_boundaries(boundaries));
}

const CodePointBits& changing_characters(NormalForm form) {
  static const CodePointBits bits[] = {changing(NormalForm::kNfc), changing(NormalForm::kNfd),
                                       changing(NormalForm::kNfkc), changing(NormalForm::kNfkd)};
  return bits[static_cast<int>(form)];
}

bool is_normal(std::string_view text, NormalForm form) {
  for (size_t i = 0; i < text.size();) {
    if (static_cast<uint8_t>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const Character c = character_at(text, i);
    if (changing_characters(form).contains(c.code)) return false;
    i += c.bytes;
  }
  return true;
}

void decompose(char32_t code, const Entries& entries, std::u32string* out) {
  if (is_syllable(code)) {
    const char32_t index = code - kSyllable;
    out->push_back(kLeading + index / (kVowels * kTrailings));
    out->push_back(kVowel + index / kTrailings % kVowels);
    if (index % kTrailings != 0) out->push_back(kTrailing + index % kTrailings);
    return;
  }
  const auto found = entries.find(code);
  if (code < 0x80 || found == entries.end()) {
    out->push_back(code);
  } else {
    out->append(found->second);
  }
}

// Sorts every run of characters with a combining class by that class.
void reorder(std::u32string* text) {
  for (size_t i = 0; i < text->size();) {
    if (combining_class((*text)[i]) == 0) {
      ++i;
      continue;
    }
    size_t end = i;
    while (end < text->size() && combining_class((*text)[end]) != 0) ++end;
    std::stable_sort(text->begin() + i, text->begin() + end, [](char32_t a, char32_t b) {
      return combining_class(a) < combining_class(b);
    });
    i = end;
  }
}

// Composes characters with the last starter unless a character of the same class, or a starter, is
// between them.
void compose(std::u32string* text) {
  std::u32string& t = *text;
  size_t out = 0;
  size_t starter = std::u32string::npos;
  uint32_t last_class = 0;
  for (size_t i = 0; i < t.size(); ++i) {
    const char32_t code = t[i];
    const uint32_t own = combining_class(code);
    const bool adjacent = starter != std::u32string::npos && out == starter + 1;
    if (starter != std::u32string::npos && (adjacent || last_class < own)) {
      if (const char32_t whole = composed(t[starter], code); whole != 0) {
        t[starter] = whole;
        continue;
      }
    }
    if (own == 0) starter = out;
    last_class = own;
    t[out++] = code;
  }
  t.resize(out);
}

}  // namespace

absl::StatusOr<std::string> normalized(std::string_view text, NormalForm form) {
  if (is_normal(text, form)) return std::string(text);
  const bool compatible = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  std::u32string codes;
  codes.reserve(text.size());
  for (size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    if (absl::Status status = check_wanted(c.bytes); !status.ok()) return status;
    decompose(c.code, decompositions(compatible), &codes);
    i += c.bytes;
  }
  reorder(&codes);
  if (absl::Status status = check_wanted(codes.size()); !status.ok()) return status;
  if (form == NormalForm::kNfc || form == NormalForm::kNfkc) compose(&codes);
  if (absl::Status status = check_wanted(codes.size()); !status.ok()) return status;
  std::string out;
  out.reserve(text.size());
  for (const char32_t code : codes) append_character(code, &out);
  return out;
}

}  // namespace deltaserve::tokenizer_json
