#include "models/tokenizer/json/pre_tokenizer.h"

#include <boost/json/array.hpp>

#include "models/base/cancellation.h"
#include "models/base/limits.h"
#include "models/base/text.h"
#include "models/tokenizer/json/byte_alphabet.h"
#include "models/tokenizer/json/delimiters.h"
#include "models/tokenizer/json/expression.h"
#include "models/tokenizer/json/normalizer.h"
#include "models/tokenizer/json/unicode.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve::tokenizer_json {
namespace {

// Cuts at the matches of a pattern.
class PatternSplit final : public PreTokenizer {
 public:
  PatternSplit(std::shared_ptr<const Pattern> pattern, Delimiter behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  absl::Status split(Piece piece, TakePiece take) const override {
    DelimiterSplit out(piece, behavior_, invert_, take);
    const absl::Status status = pattern_->find_all(
        piece.text, [&](size_t begin, size_t end) { return out.match(begin, end); });
    return status.ok() ? out.finish() : status;
  }

  absl::Status split_open(Piece piece, TakePiece take, TakePiece open) const override {
    DelimiterSplit out(piece, behavior_, invert_, take);
    size_t settled = 0;
    const absl::Status status = pattern_->find_settled(
        piece.text, &settled, [&](size_t begin, size_t end) { return out.match(begin, end); });
    return status.ok() ? out.finish_open(settled, open) : status;
  }

 private:
  std::shared_ptr<const Pattern> pattern_;
  Delimiter behavior_;
  bool invert_;
};

// Cuts at single characters.
template <class Test>
class CharacterSplit final : public PreTokenizer {
 public:
  CharacterSplit(Test test, Delimiter behavior) : test_(test), behavior_(behavior) {}

  absl::Status split(Piece piece, TakePiece take) const override {
    DelimiterSplit out(piece, behavior_, /*invert=*/false, take);
    const absl::Status status = find(piece.text, &out);
    return status.ok() ? out.finish() : status;
  }

  absl::Status split_open(Piece piece, TakePiece take, TakePiece open) const override {
    DelimiterSplit out(piece, behavior_, /*invert=*/false, take);
    const absl::Status status = find(piece.text, &out);
    return status.ok() ? out.finish_open(piece.text.size(), open) : status;
  }

 private:
  absl::Status find(std::string_view text, DelimiterSplit* out) const {
    for (size_t i = 0; i < text.size();) {
      if (absl::Status status = check_wanted(1); !status.ok()) return status;
      const Character c = character_at(text, i);
      if (test_(c.code)) {
        absl::Status status = out->match(i, i + c.bytes);
        if (!status.ok()) return status;
      }
      i += c.bytes;
    }
    return absl::OkStatus();
  }

  Test test_;
  Delimiter behavior_;
};

template <class Test>
std::unique_ptr<const PreTokenizer> character_split(Test test, Delimiter behavior) {
  return std::make_unique<const CharacterSplit<Test>>(test, behavior);
}

// Cuts runs of word characters and runs of other characters that are no white space.
class WordSplit final : public PreTokenizer {
 public:
  absl::Status split(Piece piece, TakePiece take) const override {
    return split_open(piece, take, take);
  }

  absl::Status split_open(Piece piece, TakePiece take, TakePiece open) const override {
    size_t begin = 0;
    Kind kind = Kind::kSpace;
    for (size_t i = 0; i < piece.text.size();) {
      if (absl::Status status = check_wanted(1); !status.ok()) return status;
      const Character c = character_at(piece.text, i);
      const Kind next = kind_of(c.code);
      if (next != kind) {
        absl::Status status = pass(piece, begin, i, kind, take);
        if (!status.ok()) return status;
        begin = i;
        kind = next;
      }
      i += c.bytes;
    }
    return pass(piece, begin, piece.text.size(), kind, open);
  }

 private:
  enum class Kind { kSpace, kWord, kOther };
  static absl::Status pass(Piece piece, size_t begin, size_t end, Kind kind, TakePiece take) {
    if (kind == Kind::kSpace) return absl::OkStatus();
    return take({piece.text.substr(begin, end - begin), piece.begins_text && begin == 0});
  }
  static Kind kind_of(char32_t code) {
    if (is_word(code)) return Kind::kWord;
    return is_space(code) ? Kind::kSpace : Kind::kOther;
  }
};

class ByteLevelSplit final : public PreTokenizer {
 public:
  // `pattern` is null where the file says not to use it.
  ByteLevelSplit(bool space_before, std::shared_ptr<const Pattern> pattern, bool keep_bytes)
      : space_before_(space_before), pattern_(std::move(pattern)), keep_bytes_(keep_bytes) {}

  absl::Status split(Piece piece, TakePiece take) const override {
    std::string spaced;
    piece.text = with_space(piece.text, &spaced);
    const auto pass_on = [&](Piece part) { return pass(part, take); };
    if (pattern_ == nullptr) return pass_on(piece);
    DelimiterSplit out(piece, Delimiter::kIsolated, /*invert=*/false, pass_on);
    const absl::Status status = pattern_->find_all(
        piece.text, [&](size_t begin, size_t end) { return out.match(begin, end); });
    return status.ok() ? out.finish() : status;
  }

  absl::Status split_open(Piece piece, TakePiece take, TakePiece open) const override {
    std::string spaced;
    piece.text = with_space(piece.text, &spaced);
    const auto pass_on = [&](Piece part) { return pass(part, take); };
    const auto pass_open = [&](Piece part) { return pass(part, open); };
    if (pattern_ == nullptr) return pass_open(piece);
    DelimiterSplit out(piece, Delimiter::kIsolated, /*invert=*/false, pass_on);
    size_t settled = 0;
    const absl::Status status = pattern_->find_settled(
        piece.text, &settled, [&](size_t begin, size_t end) { return out.match(begin, end); });
    return status.ok() ? out.finish_open(settled, pass_open) : status;
  }

 private:
  std::string_view with_space(std::string_view text, std::string* spaced) const {
    if (!space_before_ || text.starts_with(' ')) return text;
    spaced->append(" ").append(text);
    return *spaced;
  }

  absl::Status pass(Piece part, TakePiece take) const {
    if (keep_bytes_) return take(part);
    const std::string spelled = spelled_bytes(part.text);
    part.text = spelled;
    return take(part);
  }

  bool space_before_;
  std::shared_ptr<const Pattern> pattern_;
  bool keep_bytes_;
};

enum class PrependScheme { kAlways, kFirst, kNever };

class MetaspaceSplit final : public PreTokenizer {
 public:
  MetaspaceSplit(char32_t replacement, PrependScheme scheme, bool cut)
      : scheme_(scheme), cut_(cut) {
    append_character(replacement, &mark_);
  }

  absl::Status split(Piece piece, TakePiece take) const override {
    const std::string text = marked(piece);
    piece.text = text;
    if (!cut_) return take(piece);
    DelimiterSplit out(piece, Delimiter::kMergedWithNext, /*invert=*/false, take);
    const absl::Status status = find(text, &out);
    return status.ok() ? out.finish() : status;
  }

  absl::Status split_open(Piece piece, TakePiece take, TakePiece open) const override {
    const std::string text = marked(piece);
    piece.text = text;
    if (!cut_) return open(piece);
    DelimiterSplit out(piece, Delimiter::kMergedWithNext, /*invert=*/false, take);
    const absl::Status status = find(text, &out);
    return status.ok() ? out.finish_open(text.size(), open) : status;
  }

 private:
  std::string marked(Piece piece) const {
    std::string text;
    text.reserve(piece.text.size() + mark_.size());
    for (const char c : piece.text) {
      if (c == ' ') {
        text += mark_;
      } else {
        text += c;
      }
    }
    const bool prepends = scheme_ == PrependScheme::kAlways ||
                          (scheme_ == PrependScheme::kFirst && piece.begins_text);
    if (prepends && !text.starts_with(mark_)) text.insert(0, mark_);
    return text;
  }

  absl::Status find(const std::string& text, DelimiterSplit* out) const {
    for (size_t at = text.find(mark_); at != std::string::npos;
         at = text.find(mark_, at + mark_.size())) {
      absl::Status status = out->match(at, at + mark_.size());
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  std::string mark_;
  PrependScheme scheme_;
  bool cut_;
};

// Cuts where the script changes. Text before the first character with a script is dropped, as in
// the reference.
class ScriptSplit final : public PreTokenizer {
 public:
  absl::Status split(Piece piece, TakePiece take) const override {
    return split_open(piece, take, take);
  }

  absl::Status split_open(Piece piece, TakePiece take, TakePiece open) const override {
    size_t begin = piece.text.size();
    uint32_t last = 0;
    for (size_t i = 0; i < piece.text.size();) {
      if (absl::Status status = check_wanted(1); !status.ok()) return status;
      const Character c = character_at(piece.text, i);
      const uint32_t group = script_group(c.code);
      if (group != 0 && group != last) {
        if (last != 0) {
          absl::Status status =
              take({piece.text.substr(begin, i - begin), piece.begins_text && begin == 0});
          if (!status.ok()) return status;
        }
        begin = i;
        last = group;
      }
      i += c.bytes;
    }
    if (begin == piece.text.size()) return absl::OkStatus();
    return open({piece.text.substr(begin), piece.begins_text && begin == 0});
  }
};

class LengthSplit final : public PreTokenizer {
 public:
  explicit LengthSplit(int64_t characters) : characters_(characters) {}

  absl::Status split(Piece piece, TakePiece take) const override {
    return split_open(piece, take, take);
  }

  absl::Status split_open(Piece piece, TakePiece take, TakePiece open) const override {
    for (size_t begin = 0; begin < piece.text.size();) {
      size_t end = begin;
      for (int64_t i = 0; i < characters_ && end < piece.text.size(); ++i) {
        end += character_bytes(piece.text[end]);
      }
      const Piece part{piece.text.substr(begin, end - begin), piece.begins_text && begin == 0};
      absl::Status status = end < piece.text.size() ? take(part) : open(part);
      if (!status.ok()) return status;
      begin = end;
    }
    return absl::OkStatus();
  }

 private:
  int64_t characters_;
};

using Steps = std::vector<std::unique_ptr<const PreTokenizer>>;

Delimiter read_behavior(PartReader* part, std::optional<Delimiter> absent) {
  if (part->find("behavior") == nullptr && absent) return *absent;
  const std::string name = part->text("behavior");
  const std::optional<Delimiter> behavior = delimiter_named(name);
  if (!behavior) part->fail("behavior", str_cat(quoted(name), " is not supported"));
  return behavior.value_or(Delimiter::kRemoved);
}

std::unique_ptr<const PreTokenizer> read_split(PartReader* part) {
  std::shared_ptr<const Pattern> pattern = read_pattern(part);
  const Delimiter behavior = read_behavior(part, std::nullopt);
  const bool invert = part->boolean("invert");
  if (pattern == nullptr) return nullptr;
  return std::make_unique<const PatternSplit>(std::move(pattern), behavior, invert);
}

std::unique_ptr<const PreTokenizer> read_byte_level(PartReader* part, bool keep_bytes) {
  const bool space_before = part->boolean("add_prefix_space");
  part->boolean("trim_offsets");
  std::shared_ptr<const Pattern> pattern;
  if (part->boolean("use_regex", true)) {
    auto gpt2 = Pattern::regular_expression(
        R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)");
    if (!gpt2.ok()) {
      part->fail(std::string(gpt2.status().message()));
      return nullptr;
    }
    pattern = std::make_shared<const Pattern>(*std::move(gpt2));
  }
  return std::make_unique<const ByteLevelSplit>(space_before, std::move(pattern), keep_bytes);
}

std::unique_ptr<const PreTokenizer> read_metaspace(PartReader* part) {
  const char32_t replacement = part->character("replacement");
  PrependScheme scheme = PrependScheme::kAlways;
  const std::optional<std::string> name = part->optional_text("prepend_scheme");
  if (name == "first") {
    scheme = PrependScheme::kFirst;
  } else if (name == "never") {
    scheme = PrependScheme::kNever;
  } else if (name && name != "always") {
    part->fail("prepend_scheme", str_cat(quoted(*name), " is not supported"));
  }
  if (!part->boolean("add_prefix_space", true) && scheme != PrependScheme::kNever) {
    part->fail("add_prefix_space", "is false, but prepend_scheme is not \"never\"");
  }
  const bool cut = part->boolean("split", true);
  return std::make_unique<const MetaspaceSplit>(replacement, scheme, cut);
}

void read_steps(PartReader part, bool keep_bytes, Steps* steps, size_t* parts);

void read_sequence_steps(PartReader* part, bool keep_bytes, Steps* steps, size_t* parts) {
  const boost::json::array& items = part->list("pretokenizers");
  for (size_t i = 0; i < items.size() && part->ok(); ++i) {
    const bool last = i + 1 == items.size();
    read_steps(part->item("pretokenizers", i, items[i]), keep_bytes && last, steps, parts);
  }
}

void read_steps(PartReader part, bool keep_bytes, Steps* steps, size_t* parts) {
  if (++*parts > limits::kTokenizerParts) part.fail("there are too many pre-tokenizers");
  if (!part.ok()) return;
  const std::string type = part.text("type");
  if (type == "Sequence") {
    read_sequence_steps(&part, keep_bytes, steps, parts);
  } else if (type == "ByteLevel") {
    steps->push_back(read_byte_level(&part, keep_bytes));
  } else if (type == "Split") {
    steps->push_back(read_split(&part));
  } else if (type == "Metaspace") {
    steps->push_back(read_metaspace(&part));
  } else if (type == "Digits") {
    const bool single = part.boolean("individual_digits");
    steps->push_back(
        character_split(is_numeric, single ? Delimiter::kIsolated : Delimiter::kContiguous));
  } else if (type == "Punctuation") {
    steps->push_back(character_split(is_punctuation, read_behavior(&part, Delimiter::kIsolated)));
  } else if (type == "Whitespace") {
    steps->push_back(std::make_unique<const WordSplit>());
  } else if (type == "WhitespaceSplit") {
    steps->push_back(character_split(is_space, Delimiter::kRemoved));
  } else if (type == "BertPreTokenizer") {
    steps->push_back(character_split(is_space, Delimiter::kRemoved));
    steps->push_back(character_split(is_punctuation, Delimiter::kIsolated));
  } else if (type == "CharDelimiterSplit") {
    const char32_t delimiter = part.character("delimiter");
    steps->push_back(
        character_split([delimiter](char32_t c) { return c == delimiter; }, Delimiter::kRemoved));
  } else if (type == "UnicodeScripts") {
    steps->push_back(std::make_unique<const ScriptSplit>());
  } else if (type == "FixedLength") {
    steps->push_back(
        std::make_unique<const LengthSplit>(part.integer("length", limits::kPieceCharacters, 5)));
  } else {
    part.fail("type", str_cat(quoted(type), " is not a pre-tokenizer that is supported"));
  }
}

}  // namespace

PreTokenizers PreTokenizers::read(PartReader part, bool keep_bytes) {
  PreTokenizers all;
  size_t parts = 0;
  read_steps(std::move(part), keep_bytes, &all.steps_, &parts);
  all.bytes_kept_ = keep_bytes && !all.steps_.empty() &&
                    dynamic_cast<const ByteLevelSplit*>(all.steps_.back().get()) != nullptr;
  return all;
}

size_t PreTokenizers::room_for(Piece text, size_t steps) {
  return (steps + 1) * (text.text.size() * limits::kTextGrowth + limits::kTextGrowthBytes);
}

absl::Status PreTokenizers::split(Piece text, TakePiece take) const {
  size_t room = room_for(text, steps_.size());
  return split_from(0, text, &room, take);
}

absl::Status PreTokenizers::split_from(size_t step, Piece piece, size_t* room,
                                       TakePiece take) const {
  if (piece.text.empty()) return absl::OkStatus();
  if (piece.text.size() > *room) {
    return absl::ResourceExhaustedError("the tokenizer's pre-tokenizers make too much of a text");
  }
  *room -= piece.text.size();
  if (absl::Status status = check_wanted(1); !status.ok()) return status;
  if (step == steps_.size()) return take(piece);
  return steps_[step]->split(piece,
                             [&](Piece part) { return split_from(step + 1, part, room, take); });
}

absl::Status PreTokenizers::split_open(Piece text, TakePiece take, TakePiece open) const {
  size_t room = room_for(text, steps_.size());
  return split_open_from(0, text, &room, take, open);
}

absl::Status PreTokenizers::split_open_from(size_t step, Piece piece, size_t* room, TakePiece take,
                                            TakePiece open) const {
  if (piece.text.empty()) return absl::OkStatus();
  if (step == steps_.size()) return open(piece);
  return steps_[step]->split_open(
      piece, [&](Piece part) { return split_from(step + 1, part, room, take); },
      [&](Piece part) { return split_open_from(step + 1, part, room, take, open); });
}

}  // namespace deltaserve::tokenizer_json
