#include "server/service/shared_prefix.h"

#include <algorithm>
#include <set>
#include <string_view>

namespace deltaserve {
namespace {

// Counts the bytes that agree in text and trust. Neighbouring parts differ in trust, so if two
// parts differ in length, the prefix ends with the shorter one.
size_t common_bytes(std::span<const RenderedPart> a, std::span<const RenderedPart> b) {
  size_t common = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()) && a[i].trusted == b[i].trusted; ++i) {
    const std::string &left = a[i].text, &right = b[i].text;
    const auto end = std::mismatch(left.begin(), left.end(), right.begin(), right.end());
    common += static_cast<size_t>(end.first - left.begin());
    if (end.first != left.end() || end.second != right.end()) break;
  }
  return common;
}

// Returns bytes [begin, end) of the text.
std::vector<TextPart> slice(std::span<const RenderedPart> parts, size_t begin, size_t end) {
  std::vector<TextPart> texts;
  size_t at = 0;
  for (const RenderedPart& part : parts) {
    const size_t first = std::clamp(begin, at, at + part.text.size()) - at;
    const size_t last = std::clamp(end, at, at + part.text.size()) - at;
    if (last > first) {
      texts.push_back({std::string_view(part.text).substr(first, last - first), part.trusted});
    }
    at += part.text.size();
  }
  return texts;
}

}  // namespace

SharedPrefix::SharedPrefix(const Tokenizer& tokenizer, std::span<const RenderedPart> whole,
                           const std::vector<int32_t>& ids, size_t max_bytes)
    : tokenizer_(tokenizer), whole_(whole), ids_(ids), bytes_left_(max_bytes) {
  find_special_pieces();
  find_anchors();
}

// Returns the ids; none where the tokenizer cannot encode the parts, so that nothing is shared.
std::vector<int32_t> SharedPrefix::encode(std::span<const TextPart> parts) const {
  return tokenizer_.encode_parts(parts).value_or(std::vector<int32_t>());
}

// A piece is special if it gives its token in trusted text only.
void SharedPrefix::find_special_pieces() {
  std::vector<TextPart> trusted;
  for (const RenderedPart& part : whole_) {
    if (part.trusted) trusted.push_back({part.text, true});
  }
  const std::vector<int32_t> tokens = encode(trusted);
  for (const int32_t id : std::set<int32_t>(tokens.begin(), tokens.end())) {
    const std::string piece = tokenizer_.piece(id);
    const TextPart as_trusted{piece, true}, as_text{piece, false};
    const std::vector<int32_t> plain = encode({&as_text, 1});
    const bool is_special = encode({&as_trusted, 1}) == std::vector<int32_t>{id} &&
                            std::find(plain.begin(), plain.end(), id) == plain.end();
    if (is_special) special_.emplace_back(piece, id);
  }
  std::sort(special_.begin(), special_.end(),
            [](const auto& a, const auto& b) { return a.first.size() > b.first.size(); });
}

void SharedPrefix::find_anchors() {
  size_t at = 0;
  for (const RenderedPart& part : whole_) {
    for (size_t i = 0; part.trusted && i < part.text.size();) {
      const size_t size = special_size(std::string_view(part.text).substr(i));
      if (size > 0) anchors_.push_back({at + i, at + i + size});
      i += std::max<size_t>(size, 1);
    }
    at += part.text.size();
  }
  size_t found = 0;
  for (size_t token = 0; token < ids_.size(); ++token) {
    const auto is_it = [&](const auto& special) { return special.second == ids_[token]; };
    if (std::none_of(special_.begin(), special_.end(), is_it)) continue;
    if (found < anchors_.size()) anchors_[found].token = token;
    ++found;
  }
  // If the tokenizer reads the pieces in another way, there are no anchors.
  if (found != anchors_.size()) anchors_.clear();
}

size_t SharedPrefix::special_size(std::string_view text) const {
  for (const auto& [piece, id] : special_) {
    if (text.starts_with(piece)) return piece.size();
  }
  return 0;
}

size_t SharedPrefix::next_special(std::span<const RenderedPart> parts, size_t from) const {
  size_t at = 0;
  for (const RenderedPart& part : parts) {
    for (size_t i = std::max(from, at) - at; part.trusted && i < part.text.size(); ++i) {
      if (special_size(std::string_view(part.text).substr(i)) > 0) return at + i;
    }
    at += part.text.size();
  }
  return at;
}

int64_t SharedPrefix::tokens_shared_with(std::span<const RenderedPart> other) {
  const size_t common = common_bytes(whole_, other);
  size_t begin = 0, first_token = 0, last_token = ids_.size();
  for (const Anchor& anchor : anchors_) {
    if (anchor.end <= common) {
      begin = anchor.begin;
      first_token = anchor.token;
    } else if (anchor.begin >= common) {
      last_token = anchor.token;
      break;
    }
  }
  const size_t end = next_special(other, common);
  if (end - begin > bytes_left_) return 0;
  bytes_left_ -= end - begin;
  const std::vector<int32_t> again = encode(slice(other, begin, end));
  const auto first = ids_.begin() + static_cast<std::ptrdiff_t>(first_token);
  const auto last = ids_.begin() + static_cast<std::ptrdiff_t>(last_token);
  const auto parted = std::mismatch(first, last, again.begin(), again.end());
  return parted.first - ids_.begin();
}

}  // namespace deltaserve
