#include "models/tokenizer/json/normalizer.h"

#include <boost/json/array.hpp>
#include <vector>

#include "models/base/cancellation.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/tokenizer/json/byte_alphabet.h"
#include "models/tokenizer/json/expression.h"
#include "models/tokenizer/json/normal_forms.h"
#include "models/tokenizer/json/precompiled_map.h"
#include "models/tokenizer/json/unicode.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve::tokenizer_json {
namespace {

// Returns a normalizer that writes every character anew.
template <class Write>
Normalizer by_character(Write write) {
  return [write](std::string* text) {
    std::string out;
    out.reserve(text->size());
    for (size_t i = 0; i < text->size();) {
      const Character c = character_at(*text, i);
      write(c.code, &out);
      i += c.bytes;
      if (absl::Status status = check_wanted(c.bytes); !status.ok()) return status;
    }
    *text = std::move(out);
    return absl::OkStatus();
  };
}

Normalizer form_normalizer(NormalForm form) {
  return [form](std::string* text) {
    absl::StatusOr<std::string> result = normalized(*text, form);
    if (!result.ok()) return result.status();
    *text = *std::move(result);
    return absl::OkStatus();
  };
}

Normalizer lowercase_normalizer() {
  return by_character(append_lowercase);
}

Normalizer accents_normalizer() {
  return by_character([](char32_t code, std::string* out) {
    if (!is_accent(code)) append_character(code, out);
  });
}

// The replacements that the machine translation of sentencepiece's authors began with.
void append_nmt(char32_t c, std::string* out) {
  const bool removed = (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F ||
                       c == 0x8F || c == 0x9F;
  if (removed) return;
  const bool space = c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
                     (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                     c == 0xFEFF || c == 0xFFFD;
  append_character(space ? ' ' : c, out);
}

std::string_view stripped(std::string_view text, bool left, bool right) {
  while (left && !text.empty() && is_space(character_at(text, 0).code)) {
    text.remove_prefix(character_at(text, 0).bytes);
  }
  while (right && !text.empty() && is_space(character_before(text, text.size()).code)) {
    text.remove_suffix(character_before(text, text.size()).bytes);
  }
  return text;
}

Normalizer read_strip(PartReader* part) {
  const bool left = part->boolean("strip_left");
  const bool right = part->boolean("strip_right");
  return [left, right](std::string* text) {
    *text = std::string(stripped(*text, left, right));
    return absl::OkStatus();
  };
}

std::string read_bounded_text(PartReader* part, std::string_view key) {
  std::string text = part->text(key);
  if (text.size() > limits::kReplacementBytes) {
    part->fail(key, str_cat("has more than ", limits::kReplacementBytes, " bytes"));
    text.clear();
  }
  return text;
}

Normalizer read_prepend(PartReader* part) {
  return [before = read_bounded_text(part, "prepend")](std::string* text) {
    if (!text->empty()) text->insert(0, before);
    return absl::OkStatus();
  };
}

Normalizer read_replace(PartReader* part) {
  std::shared_ptr<const Pattern> pattern = read_pattern(part);
  std::string content = read_bounded_text(part, "content");
  if (pattern == nullptr) return nullptr;
  return [pattern, content](std::string* text) { return replace_all(*pattern, content, text); };
}

// The ideographs around which BERT puts spaces. The gap from 2B820 on is the reference's.
bool is_bert_ideograph(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B81F) ||
         (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) ||
         (c >= 0x2F800 && c <= 0x2FA1F);
}

void append_clean(char32_t code, std::string* out) {
  if (is_bert_removed(code)) return;
  append_character(is_bert_space(code) ? ' ' : code, out);
}

void append_spaced_ideograph(char32_t code, std::string* out) {
  const bool spaced = is_bert_ideograph(code);
  if (spaced) out->push_back(' ');
  append_character(code, out);
  if (spaced) out->push_back(' ');
}

void append_without_bert_accent(char32_t code, std::string* out) {
  if (!is_bert_accent(code)) append_character(code, out);
}

Normalizer in_order(std::vector<Normalizer> parts) {
  return [parts = std::move(parts)](std::string* text) {
    const size_t before = text->size();
    for (const Normalizer& part : parts) {
      absl::Status status = part(text);
      if (status.ok()) status = check_growth(before, text->size());
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  };
}

Normalizer read_bert(PartReader* part) {
  const bool clean = part->boolean("clean_text");
  const bool ideographs = part->boolean("handle_chinese_chars");
  const bool lowercase = part->boolean("lowercase");
  const bool accents =
      part->find("strip_accents") == nullptr ? lowercase : part->boolean("strip_accents");
  std::vector<Normalizer> steps;
  if (clean) steps.push_back(by_character(append_clean));
  if (ideographs) steps.push_back(by_character(append_spaced_ideograph));
  if (accents) {
    steps.push_back(form_normalizer(NormalForm::kNfd));
    steps.push_back(by_character(append_without_bert_accent));
  }
  if (lowercase) steps.push_back(lowercase_normalizer());
  return in_order(std::move(steps));
}

Normalizer read_precompiled(PartReader* part) {
  auto map = PrecompiledMap::parse(part->text("precompiled_charsmap"));
  if (!map.ok()) {
    part->fail("precompiled_charsmap", std::string(map.status().message()));
    return nullptr;
  }
  return [map = *std::move(map)](std::string* text) {
    const size_t before = text->size();
    std::string out;
    const absl::Status status = map->normalize(*text, &out);
    *text = std::move(out);
    return status.ok() ? check_growth(before, text->size()) : status;
  };
}

Normalizer read_sequence(PartReader* part, size_t* parts);

Normalizer read_one(PartReader part, size_t* parts) {
  if (++*parts > limits::kTokenizerParts) part.fail("there are too many normalizers");
  if (!part.ok()) return nullptr;
  const std::string type = part.text("type");
  if (type == "NFC") return form_normalizer(NormalForm::kNfc);
  if (type == "NFD") return form_normalizer(NormalForm::kNfd);
  if (type == "NFKC") return form_normalizer(NormalForm::kNfkc);
  if (type == "NFKD") return form_normalizer(NormalForm::kNfkd);
  if (type == "Lowercase") return lowercase_normalizer();
  if (type == "StripAccents") return accents_normalizer();
  if (type == "Strip" || type == "StripNormalizer") return read_strip(&part);
  if (type == "Nmt") return by_character(append_nmt);
  if (type == "Prepend") return read_prepend(&part);
  if (type == "Replace") return read_replace(&part);
  if (type == "BertNormalizer") return read_bert(&part);
  if (type == "Precompiled") return read_precompiled(&part);
  if (type == "Sequence") return read_sequence(&part, parts);
  if (type == "ByteLevel") {
    return [](std::string* text) {
      *text = spelled_bytes(*text);
      return absl::OkStatus();
    };
  }
  part.fail("type", str_cat(quoted(type), " is not a normalizer that is supported"));
  return nullptr;
}

Normalizer read_sequence(PartReader* part, size_t* parts) {
  std::vector<Normalizer> steps;
  size_t index = 0;
  for (const boost::json::value& item : part->list("normalizers")) {
    Normalizer step = read_one(part->item("normalizers", index++, item), parts);
    if (!part->ok()) return nullptr;
    steps.push_back(std::move(step));
  }
  return in_order(std::move(steps));
}

}  // namespace

absl::Status check_growth(size_t before, size_t bytes) {
  if (bytes <= before * limits::kTextGrowth + limits::kTextGrowthBytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(str_cat("the tokenizer makes a text of ", before,
                                              " bytes longer than ", limits::kTextGrowth,
                                              " times its length"));
}

absl::Status replace_all(const Pattern& pattern, std::string_view replacement, std::string* text) {
  if (text->empty()) return absl::OkStatus();  // an empty match in it does not count
  std::string out;
  size_t done = 0;
  absl::Status status = pattern.find_all(*text, [&](size_t begin, size_t end) {
    out.append(*text, done, begin - done).append(replacement);
    done = end;
    return check_growth(text->size(), out.size());
  });
  out.append(*text, done);
  *text = std::move(out);
  return status;
}

bool normalizes_locally(PartReader part) {
  const std::string type = part.text("type");
  if (type == "Sequence") {
    size_t index = 0;
    for (const boost::json::value& item : part.list("normalizers")) {
      if (!normalizes_locally(part.item("normalizers", index++, item))) return false;
    }
    return true;
  }
  // A character map may map a letter to a mark, which a normal form would join with others.
  if (type == "Precompiled") return part.path() == "normalizer";
  if (type != "Replace") return true;
  const boost::json::value* text = part.object("pattern").if_contains("String");
  if (text == nullptr) return false;
  const std::string_view replaced = text->get_string();
  if (replaced.empty() || character_bytes(replaced[0]) != replaced.size()) return false;
  return !is_letter_or_ideograph(character_at(replaced, 0).code);
}

std::shared_ptr<const Pattern> read_pattern(PartReader* part) {
  const boost::json::object& object = part->object("pattern");
  const auto text_of = [&](std::string_view kind) -> const boost::json::string* {
    const boost::json::value* value = object.if_contains({kind.data(), kind.size()});
    return object.size() == 1 && value != nullptr ? value->if_string() : nullptr;
  };
  if (const boost::json::string* text = text_of("String")) {
    return std::make_shared<const Pattern>(Pattern::text(std::string_view(*text)));
  }
  const boost::json::string* text = text_of("Regex");
  if (text == nullptr) {
    part->fail("pattern", "must be {\"String\": TEXT} or {\"Regex\": TEXT}");
    return nullptr;
  }
  auto pattern = Pattern::regular_expression(std::string_view(*text));
  if (pattern.ok()) return std::make_shared<const Pattern>(*std::move(pattern));
  part->fail("pattern.Regex", str_cat(quoted(std::string_view(*text)),
                                      " is not supported: ", pattern.status().message()));
  return nullptr;
}

Normalizer read_normalizer(PartReader part) {
  size_t parts = 0;
  return read_one(std::move(part), &parts);
}

}  // namespace deltaserve::tokenizer_json
