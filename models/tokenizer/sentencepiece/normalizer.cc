#include "models/tokenizer/sentencepiece/normalizer.h"

#include <utility>

#include "models/base/cancellation.h"
#include "models/tokenizer/base/reserve_sparingly.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve {
namespace {

constexpr std::string_view kMarkedSpace = "\xe2\x96\x81";  // U+2581
constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";
constexpr size_t kKeptBytes = 4096;  // this many skipped bytes may stay in the buffer

}  // namespace

std::optional<SentencePieceNormalizer> SentencePieceNormalizer::make(const SentencePieces& pieces) {
  const ModelFlags& flags = pieces.flags;
  SentencePieceNormalizer rules;
  if (!flags.character_map.empty()) {
    auto map = tokenizer_json::PrecompiledMap::parse_bytes(flags.character_map);
    if (!map.ok()) return std::nullopt;
    rules.map_ = *std::move(map);
  }
  rules.user_defined_ = pieces.user_defined();
  rules.space_ = flags.mark_spaces ? kMarkedSpace : " ";
  rules.drops_extra_spaces_ = flags.remove_extra_spaces;
  rules.space_before_ = flags.add_dummy_prefix && !flags.suffix_spaces;
  rules.space_behind_ = flags.add_dummy_prefix && flags.suffix_spaces;
  return rules;
}

SentencePieceNormalizer::Unit SentencePieceNormalizer::first_unit(std::string_view text) const {
  if (const auto own = user_defined_.longest_prefix(text); own.value >= 0) {
    return {text.substr(0, own.bytes), own.bytes};
  }
  if (map_ != nullptr) {
    if (const auto found = map_->find_longest(text)) return {found->replacement, found->bytes};
  }
  const size_t bytes = tokenizer_json::well_formed_bytes(text);
  if (bytes == 0) return {kReplacementCharacter, 1};
  return {text.substr(0, bytes), bytes};
}

absl::Status NormalizedText::fill(size_t least) {
  while (!over_ && buffer_.size() - begin_ < least) {
    if (absl::Status status = take_unit(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status NormalizedText::take_unit() {
  if (rest_.empty()) {
    end();
    return absl::OkStatus();
  }
  if (begin_ >= kKeptBytes && begin_ >= buffer_.size() / 2) {
    buffer_.erase(0, std::exchange(begin_, 0));
  }
  const SentencePieceNormalizer::Unit unit = rules_.first_unit(rest_);
  rest_.remove_prefix(unit.bytes);
  absl::Status status = check_wanted(unit.bytes);
  if (!status.ok()) return status;
  std::string_view text = unit.text;
  if (!began_) {
    // Spaces at the beginning do not count as text, so a text of spaces only is empty.
    if (rules_.drops_extra_spaces_ && text == " ") return status;
    began_ = true;
    if (rules_.space_before_) write_space();
  }
  while (after_space_ && text.starts_with(' ')) text.remove_prefix(1);
  if (text.empty()) return status;
  write(text);
  after_space_ = rules_.drops_extra_spaces_ && text.ends_with(' ');
  return status;
}

void NormalizedText::write(std::string_view text) {
  reserve_sparingly(buffer_.size() + text.size() * kMarkedSpace.size(), &buffer_);
  while (!text.empty()) {
    // The library takes away spaces at the end of a text by their spelling.
    const bool is_spelled = text.starts_with(rules_.space_);
    if (text[0] == ' ' || is_spelled) {
      write_space();
      text.remove_prefix(is_spelled ? rules_.space_.size() : 1);
      continue;
    }
    write_held_spaces();
    buffer_ += text[0];
    text.remove_prefix(1);
  }
}

void NormalizedText::write_space() {
  if (rules_.drops_extra_spaces_) {
    ++held_spaces_;
  } else {
    buffer_ += rules_.space_;
  }
}

void NormalizedText::write_held_spaces() {
  for (; held_spaces_ > 0; --held_spaces_) buffer_ += rules_.space_;
}

void NormalizedText::end() {
  if (began_ && rules_.space_behind_) buffer_ += rules_.space_;
  over_ = true;
}

}  // namespace deltaserve
