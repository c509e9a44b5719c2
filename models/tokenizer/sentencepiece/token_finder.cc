#include "models/tokenizer/sentencepiece/token_finder.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "models/base/text.h"

namespace deltaserve {
namespace {

// The white space beyond ASCII, as UTF-8.
constexpr std::string_view kWideSpaces[] = {
    "\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81",
    "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86",
    "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8",
    "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};

bool is_narrow_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

// Returns the bytes of white space at one end of a text; 0 if there is none.
size_t space_at_end(std::string_view text) {
  if (text.empty()) return 0;
  if (is_narrow_space(text.back())) return 1;
  for (const std::string_view space : kWideSpaces) {
    if (text.ends_with(space)) return space.size();
  }
  return 0;
}

size_t space_at_begin(std::string_view text) {
  if (text.empty()) return 0;
  if (is_narrow_space(text.front())) return 1;
  for (const std::string_view space : kWideSpaces) {
    if (text.starts_with(space)) return space.size();
  }
  return 0;
}

bool stands_alone(std::string_view text, size_t begin, size_t end) {
  return (begin == 0 || text[begin - 1] == ' ') && (end == text.size() || text[end] == ' ');
}

}  // namespace

bool is_marker(std::string_view text) {
  return text.size() >= 3 && text.starts_with('<') && text.ends_with('>');
}

void TokenFinder::add(AddedToken token) {
  if (token.text.empty()) return;
  const size_t size = token.text.size();
  first_bytes_.set(static_cast<unsigned char>(token.text[0]));
  const auto place = std::lower_bound(sizes_.begin(), sizes_.end(), size, std::greater<>());
  if (place == sizes_.end() || *place != size) sizes_.insert(place, size);
  some_strip_left_ = some_strip_left_ || token.strip_left;
  std::string text = token.text;
  tokens_.insert_or_assign(std::move(text), std::move(token));
}

const AddedToken* TokenFinder::match(std::string_view text, size_t at, size_t bytes) const {
  if (at == text.size() || !first_bytes_.test(static_cast<unsigned char>(text[at]))) return nullptr;
  for (const size_t size : sizes_) {
    if (size > bytes) continue;
    const auto found = tokens_.find(as_piece(text.substr(at, size)));
    if (found == tokens_.end()) continue;
    if (found->second.whole_word && !stands_alone(text, at, at + size)) continue;
    return &found->second;
  }
  return nullptr;
}

size_t TokenFinder::settled(std::string_view text) const {
  if (empty()) return text.size();
  // The longest token may begin with the last byte, and whether a token is a whole word depends on
  // the byte after it.
  const size_t end = text.size() - std::min(text.size(), sizes_.front());
  return some_strip_left_ ? without_trailing_space(text.substr(0, end)).size() : end;
}

std::string_view without_trailing_space(std::string_view text) {
  while (const size_t space = space_at_end(text)) text.remove_suffix(space);
  return text;
}

std::string_view without_leading_space(std::string_view text) {
  while (const size_t space = space_at_begin(text)) text.remove_prefix(space);
  return text;
}

}  // namespace deltaserve
