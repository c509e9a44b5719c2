#include "models/tokenizer/json/unicode.h"

#include <iterator>

#include "models/tokenizer/json/unicode_tables.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve::tokenizer_json {
namespace {

using tables::Change;

// Returns the name in lower case, without spaces, '-' and '_'.
std::string plain_name(std::string_view name) {
  std::string plain;
  for (const char c : name) {
    if (c == ' ' || c == '-' || c == '_') continue;
    plain.push_back(c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c);
  }
  return plain;
}

// Returns the code points for whose values `wanted` returns true.
template <class Wanted>
CodePointSet set_of_values(std::span<const Change> changes, const Wanted& wanted) {
  std::vector<uint32_t> boundaries;
  bool inside = false;
  for (const Change& change : changes) {
    if (wanted(change.value) == inside) continue;
    inside = !inside;
    boundaries.push_back(change.at);
  }
  return CodePointSet::from_boundaries(boundaries);
}

// Returns the union of the categories whose short names begin with one of `names`.
CodePointSet category_set(std::initializer_list<std::string_view> names) {
  return set_of_values(tables::kCategories, [&](uint32_t category) {
    for (const std::string_view name : names) {
      if (tables::kCategoryNames[category].starts_with(name)) return true;
    }
    return false;
  });
}

struct LongName {
  std::string_view name;
  std::string_view category;
};
constexpr LongName kLongNames[] = {{"letter", "L"},
                                   {"casedletter", "LC"},
                                   {"uppercaseletter", "Lu"},
                                   {"lowercaseletter", "Ll"},
                                   {"titlecaseletter", "Lt"},
                                   {"modifierletter", "Lm"},
                                   {"otherletter", "Lo"},
                                   {"mark", "M"},
                                   {"combiningmark", "M"},
                                   {"nonspacingmark", "Mn"},
                                   {"spacingmark", "Mc"},
                                   {"enclosingmark", "Me"},
                                   {"number", "N"},
                                   {"decimalnumber", "Nd"},
                                   {"letternumber", "Nl"},
                                   {"othernumber", "No"},
                                   {"punctuation", "P"},
                                   {"connectorpunctuation", "Pc"},
                                   {"dashpunctuation", "Pd"},
                                   {"openpunctuation", "Ps"},
                                   {"closepunctuation", "Pe"},
                                   {"initialpunctuation", "Pi"},
                                   {"finalpunctuation", "Pf"},
                                   {"otherpunctuation", "Po"},
                                   {"symbol", "S"},
                                   {"mathsymbol", "Sm"},
                                   {"currencysymbol", "Sc"},
                                   {"modifiersymbol", "Sk"},
                                   {"othersymbol", "So"},
                                   {"separator", "Z"},
                                   {"spaceseparator", "Zs"},
                                   {"lineseparator", "Zl"},
                                   {"paragraphseparator", "Zp"},
                                   {"other", "C"},
                                   {"control", "Cc"},
                                   {"format", "Cf"},
                                   {"surrogate", "Cs"},
                                   {"privateuse", "Co"},
                                   {"unassigned", "Cn"}};

std::optional<CodePointSet> named_category(std::string_view plain) {
  std::string_view wanted = plain;
  for (const LongName& known : kLongNames) {
    if (known.name == plain) wanted = known.category;
  }
  const std::string short_name = plain_name(wanted);
  if (short_name == "lc") return category_set({"Lu", "Ll", "Lt"});
  for (const std::string_view name : tables::kCategoryNames) {
    if (plain_name(name) == short_name) return category_set({name});
    if (plain_name(name.substr(0, 1)) == short_name) return category_set({name.substr(0, 1)});
  }
  return std::nullopt;
}

std::optional<CodePointSet> named_script(std::string_view plain) {
  for (size_t i = 0; i < std::size(tables::kScriptNames); ++i) {
    if (tables::kScriptNames[i] != plain) continue;
    return set_of_values(tables::kScripts, [i](uint32_t script) { return script == i + 1; });
  }
  return std::nullopt;
}

CodePointSet joined(CodePointSet a, const CodePointSet& b) {
  a.add(b);
  return a;
}

CodePointSet graphic_set() {
  CodePointSet invisible = joined(space_set(), category_set({"Cc", "Cn", "Cs"}));
  invisible.complement();
  return invisible;
}

std::optional<CodePointSet> named_posix_class(std::string_view plain) {
  const auto alphabetic = [] { return CodePointSet::from_boundaries(tables::kAlphabetic); };
  if (plain == "alpha" || plain == "alphabetic") return alphabetic();
  if (plain == "alnum") return joined(alphabetic(), digit_set());
  if (plain == "digit") return digit_set();
  if (plain == "space" || plain == "whitespace") return space_set();
  if (plain == "word") return class_word_set();
  if (plain == "punct") return category_set({"P", "S"});
  if (plain == "upper" || plain == "uppercase") {
    return CodePointSet::from_boundaries(tables::kUppercase);
  }
  if (plain == "lower" || plain == "lowercase") {
    return CodePointSet::from_boundaries(tables::kLowercaseProperty);
  }
  if (plain == "blank") return joined(category_set({"Zs"}), {'\t', '\t'});
  if (plain == "cntrl") return category_set({"Cc"});
  if (plain == "graph") return graphic_set();
  if (plain == "print") return joined(graphic_set(), category_set({"Zs"}));
  if (plain == "xdigit" || plain == "asciihexdigit") {
    return joined(joined({'0', '9'}, {'a', 'f'}), {'A', 'F'});
  }
  if (plain == "ascii") return CodePointSet(0, 0x7F);
  if (plain == "any") return CodePointSet(0, kLastCodePoint);
  if (plain == "ideographic") return CodePointSet::from_boundaries(tables::kIdeographic);
  if (plain == "emoji") return CodePointSet::from_boundaries(tables::kEmoji);
  if (plain == "extendedpictographic") {
    return CodePointSet::from_boundaries(tables::kExtendedPictographic);
  }
  return std::nullopt;
}

// Returns the test for one table, which is expanded once.
template <size_t n>
CodePointBits bits_of(const uint32_t (&boundaries)[n]) {
  return CodePointBits(CodePointSet::from_boundaries(boundaries));
}

bool is_hangul(char32_t code) {
  return (code >= 0x1100 && code < 0x1200) || (code >= 0xA960 && code < 0xA980) ||
         (code >= 0xAC00 && code < 0xD7FC);
}

}  // namespace

std::optional<CodePointSet> property_set(std::string_view name) {
  const std::string plain = plain_name(name);
  if (auto set = named_posix_class(plain)) return set;
  if (auto set = named_category(plain)) return set;
  return named_script(plain);
}

bool property_is_word(std::string_view name) {
  return plain_name(name) == "word";
}

CodePointSet space_set() {
  CodePointSet set('\t', '\r');
  for (const char32_t code : {0x20, 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}) {
    set.add({code, code});
  }
  set.add({0x2000, 0x200A});
  return set;
}

CodePointSet class_word_set() {
  return CodePointSet::from_boundaries(tables::kExpressionWord);
}

CodePointSet word_set() {
  CodePointSet set = class_word_set();
  for (const char32_t code : {0xB2, 0xB3, 0xB9, 0xBC, 0xBD, 0xBE}) set.add({code, code});
  return set;
}

CodePointSet digit_set() {
  return category_set({"Nd"});
}

std::u32string_view case_sequence(char32_t code) {
  for (const tables::CaseClass& entry : tables::kCaseSequences) {
    if (entry.codes[0] != code) continue;
    return {entry.codes + 1, entry.codes[3] == 0 ? size_t{2} : size_t{3}};
  }
  return {};
}

std::u32string characters_for_sequence(std::u32string_view sequence) {
  std::u32string found;
  for (const tables::CaseClass& entry : tables::kCaseSequences) {
    if (case_sequence(entry.codes[0]) == sequence) found.push_back(entry.codes[0]);
  }
  return found;
}

bool is_space(char32_t code) {
  if (code < 0x80) return code == ' ' || (code >= '\t' && code <= '\r');
  static const CodePointBits bits(space_set());
  return bits.contains(code);
}

bool is_numeric(char32_t code) {
  static const CodePointBits bits = bits_of(tables::kNumeric);
  return bits.contains(code);
}

bool is_punctuation(char32_t code) {
  static const CodePointBits bits = bits_of(tables::kPunctuation);
  return bits.contains(code);
}

bool is_word(char32_t code) {
  static const CodePointBits bits = bits_of(tables::kLibraryWord);
  return bits.contains(code);
}

bool is_accent(char32_t code) {
  static const CodePointBits bits = bits_of(tables::kAccents);
  return bits.contains(code);
}

bool is_bert_accent(char32_t code) {
  static const CodePointBits bits = bits_of(tables::kBertAccents);
  return bits.contains(code);
}

bool is_bert_removed(char32_t code) {
  static const CodePointBits bits = bits_of(tables::kBertRemoved);
  return bits.contains(code);
}

bool is_bert_space(char32_t code) {
  static const CodePointBits bits = bits_of(tables::kBertSpaces);
  return bits.contains(code);
}

uint32_t script_group(char32_t code) {
  return tables::value_at(tables::kScriptGroups, code);
}

void append_lowercase(char32_t code, std::string* text) {
  if (code < 0x80) {
    text->push_back(static_cast<char>(code >= 'A' && code <= 'Z' ? code - 'A' + 'a' : code));
    return;
  }
  if (code == 0x130) {  // the only character whose lower case has two
    text->append("i\xCC\x87");
    return;
  }
  const auto found =
      std::lower_bound(std::begin(tables::kLowercase), std::end(tables::kLowercase), code,
                       [](const Change& change, char32_t c) { return change.at < c; });
  const bool has = found != std::end(tables::kLowercase) && found->at == code;
  append_character(has ? found->value : code, text);
}

size_t grapheme_bytes(std::string_view text) {
  static const CodePointBits extends = bits_of(tables::kGraphemeExtend);
  static const CodePointBits prepends = bits_of(tables::kGraphemePrepend);
  static const CodePointBits controls = bits_of(tables::kGraphemeControl);
  Character last = character_at(text, 0);
  size_t size = last.bytes;
  while (size < text.size()) {
    const Character next = character_at(text, size);
    const bool line_end = last.code == '\r' && next.code == '\n';
    const bool joins = !controls.contains(last.code) && !controls.contains(next.code) &&
                       (extends.contains(next.code) || prepends.contains(last.code) ||
                        (is_hangul(last.code) && is_hangul(next.code)));
    if (!line_end && !joins) break;
    size += next.bytes;
    last = next;
  }
  return size;
}

}  // namespace deltaserve::tokenizer_json
