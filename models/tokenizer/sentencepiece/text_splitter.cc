#include "models/tokenizer/sentencepiece/text_splitter.h"

#include <optional>
#include <string>

#include "models/tokenizer/json/utf8.h"
#include "models/tokenizer/sentencepiece/model_flags.h"

namespace deltaserve {
namespace {

constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581, a space inside pieces

// Returns true if all spaces of a piece (U+2581) are at its beginning.
bool begins_with_its_spaces(std::string_view piece) {
  while (piece.starts_with(kSpaceMark)) piece.remove_prefix(kSpaceMark.size());
  return piece.find(kSpaceMark) == std::string_view::npos &&
         piece.find(' ') == std::string_view::npos;
}

bool is_one_character(std::string_view text) {
  return !text.empty() && tokenizer_json::character_bytes(text[0]) == text.size();
}

bool is_plain(char c) {
  return c > ' ' && c < 0x7f;
}

}  // namespace

TextSplitter::TextSplitter(std::string_view model_bytes, const SentencePieceModel& model) {
  const std::optional<ModelFlags> flags = read_model_flags(model_bytes);
  if (!flags.has_value() || !flags->bpe || flags->suffix_spaces || !flags->only_marks_spaces()) {
    return;
  }
  // An unknown space could join with an unknown character before it.
  const int32_t space = model.piece_id(kSpaceMark);
  if (space < 0 || model.kind(space) != PieceKind::kText) return;
  for (int32_t id = 0; id < model.size(); ++id) {
    const std::string piece = model.piece(id);
    if (!begins_with_its_spaces(piece) || model.kind(id) == PieceKind::kUnused) return;
    if (model.piece_id(piece) != id) return;
    if (model.kind(id) == PieceKind::kControl && is_one_character(piece)) return;
  }
  can_split_ = true;
  drop_space_ = flags->add_dummy_prefix;
}

size_t TextSplitter::last_cut(std::string_view text) const {
  if (!can_split_) return 0;
  size_t cut = text.rfind(' ');
  while (cut != std::string_view::npos && cut > 0) {
    if (cut + 1 < text.size() && is_plain(text[cut - 1]) && is_plain(text[cut + 1])) return cut;
    cut = text.rfind(' ', cut - 1);
  }
  return 0;
}

std::vector<std::string_view> TextSplitter::split(std::string_view text, size_t part_bytes) const {
  std::vector<std::string_view> parts;
  while (can_split_ && text.size() > part_bytes + 1) {
    size_t cut = text.find(' ', part_bytes);
    while (cut != std::string_view::npos && cut + 1 < text.size() &&
           !(cut > 0 && is_plain(text[cut - 1]) && is_plain(text[cut + 1]))) {
      cut = text.find(' ', cut + 1);
    }
    if (cut == std::string_view::npos || cut + 1 >= text.size()) break;
    parts.push_back(text.substr(0, cut));
    text.remove_prefix(drop_space_ ? cut + 1 : cut);
  }
  parts.push_back(text);
  return parts;
}

}  // namespace deltaserve
