#include "models/tokenizer/json/precompiled_map.h"

#include <cstring>

#include "absl/strings/escaping.h"
#include "models/base/cancellation.h"
#include "models/base/text.h"
#include "models/tokenizer/json/normalizer.h"
#include "models/tokenizer/json/unicode.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve::tokenizer_json {
namespace {

constexpr size_t kWholeClusterBytes = 6;  // clusters of at least this size are not looked up as a
                                          // whole

// The fields of a unit, which darts-clone packs into 32 bits.
uint32_t label_of(uint32_t unit) {
  return unit & 0x800000FFu;
}
uint32_t offset_of(uint32_t unit) {
  return (unit >> 10) << ((unit & 0x200u) >> 6);
}
bool has_leaf(uint32_t unit) {
  return (unit & 0x100u) != 0;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const PrecompiledMap>> PrecompiledMap::parse(
    std::string_view base64) {
  std::string bytes;
  if (!absl::Base64Unescape(as_piece(base64), &bytes)) {
    return invalid_argument("is not valid base64");
  }
  return parse_bytes(bytes);
}

absl::StatusOr<std::shared_ptr<const PrecompiledMap>> PrecompiledMap::parse_bytes(
    std::string_view bytes) {
  uint32_t trie_bytes = 0;
  if (bytes.size() < sizeof trie_bytes) return invalid_argument("is too short");
  std::memcpy(&trie_bytes, bytes.data(), sizeof trie_bytes);
  const size_t rest = bytes.size() - sizeof trie_bytes;
  if (trie_bytes == 0 || trie_bytes % 4 != 0 || trie_bytes > rest) {
    return invalid_argument("says that its trie has ", trie_bytes, " of ", rest, " bytes");
  }
  auto map = std::make_shared<PrecompiledMap>();
  map->units_.resize(trie_bytes / 4);
  std::memcpy(map->units_.data(), bytes.data() + sizeof trie_bytes, trie_bytes);
  map->replacements_ = bytes.substr(sizeof trie_bytes + trie_bytes);
  if (!is_utf8(map->replacements_)) return invalid_argument("maps to invalid UTF-8");
  return map;
}

template <class Take>
void PrecompiledMap::walk(std::string_view text, Take take) const {
  size_t at = offset_of(units_[0]);
  for (size_t end = 0; end < text.size();) {
    const auto byte = static_cast<uint8_t>(text[end++]);
    if (byte == 0) return;
    at ^= byte;
    if (at >= units_.size() || label_of(units_[at]) != byte) return;
    const uint32_t unit = units_[at];
    at ^= offset_of(unit);
    if (!has_leaf(unit)) continue;
    const size_t place = at < units_.size() ? units_[at] & 0x7FFFFFFFu : replacements_.size();
    const bool is_boundary =
        place < replacements_.size() && (static_cast<uint8_t>(replacements_[place]) & 0xC0) != 0x80;
    if (!is_boundary) return;
    const std::string_view rest = std::string_view(replacements_).substr(place);
    if (!take(rest.substr(0, rest.find('\0')), end)) return;
  }
}

std::optional<std::string_view> PrecompiledMap::find(std::string_view text) const {
  std::optional<std::string_view> found;
  walk(text, [&](std::string_view replacement, size_t) {
    found = replacement;
    return false;
  });
  return found;
}

std::optional<PrecompiledMap::Found> PrecompiledMap::find_longest(std::string_view text) const {
  std::optional<Found> found;
  walk(text, [&](std::string_view replacement, size_t bytes) {
    found = {replacement, bytes};
    return true;
  });
  return found;
}

absl::Status PrecompiledMap::normalize(std::string_view text, std::string* out) const {
  for (size_t i = 0; i < text.size();) {
    const std::string_view cluster = text.substr(i, grapheme_bytes(text.substr(i)));
    i += cluster.size();
    absl::Status status = check_growth(text.size(), out->size());
    if (status.ok()) status = check_wanted(cluster.size());
    if (!status.ok()) return status;
    if (cluster.size() < kWholeClusterBytes) {
      if (const auto replacement = find(cluster)) {
        out->append(*replacement);
        continue;
      }
    }
    for (size_t k = 0; k < cluster.size();) {
      const std::string_view character = cluster.substr(k, character_bytes(cluster[k]));
      out->append(find(character).value_or(character));
      k += character.size();
    }
  }
  return absl::OkStatus();
}

}  // namespace deltaserve::tokenizer_json
