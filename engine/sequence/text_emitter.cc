#include "engine/sequence/text_emitter.h"

#include <algorithm>
#include <utility>

#include "kernels/base/check.h"

namespace deltaserve {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace

void Utf8Repair::append(std::string_view bytes, std::string* text) {
  for (const char c : bytes) {
    const auto byte = static_cast<uint8_t>(c);
    if (missing_ == 0) {
      begin(byte, text);
    } else if (byte >= lowest_ && byte <= highest_) {
      pending_ += c;
      lowest_ = 0x80;
      highest_ = 0xBF;
      if (--missing_ == 0) *text += std::exchange(pending_, {});
    } else {
      flush(text);
      begin(byte, text);
    }
  }
}

void Utf8Repair::begin(uint8_t lead, std::string* text) {
  if (lead < 0x80) {
    *text += static_cast<char>(lead);
    return;
  }
  if (lead < 0xC2 || lead > 0xF4) {  // a stray continuation, an overlong form, beyond U+10FFFF
    *text += kReplacement;
    return;
  }
  pending_ = static_cast<char>(lead);
  missing_ = lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
  // E0 and F0 exclude overlong forms, ED surrogates, F4 characters beyond U+10FFFF.
  lowest_ = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  highest_ = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
}

void Utf8Repair::flush(std::string* text) {
  const size_t ill_formed = ill_formed_ == IllFormed::kByte ? pending_.size() : missing_ > 0;
  for (size_t i = 0; i < ill_formed; ++i) *text += kReplacement;
  pending_.clear();
  missing_ = 0;
}

bool is_valid_utf8(std::string_view text) {
  Utf8Repair repair;
  std::string repaired;
  repair.append(text, &repaired);
  repair.flush(&repaired);
  return repaired == text;
}

StopMatcher::Pattern::Pattern(std::string stop_string)
    : bytes(std::move(stop_string)), fallback(bytes.size() + 1, 0) {
  DS_CHECK(!bytes.empty());
  int border = 0;
  for (size_t n = 1; n < bytes.size(); ++n) {
    while (border > 0 && bytes[border] != bytes[n]) border = fallback[border];
    if (bytes[border] == bytes[n]) ++border;
    fallback[n + 1] = border;
  }
}

bool StopMatcher::Pattern::advance(char byte) {
  while (length > 0 && bytes[length] != byte) length = fallback[length];
  if (bytes[length] == byte) ++length;
  return length == static_cast<int>(bytes.size());
}

StopMatcher::StopMatcher(std::vector<std::string> stop_strings) {
  patterns_.reserve(stop_strings.size());
  for (std::string& stop_string : stop_strings) patterns_.emplace_back(std::move(stop_string));
}

bool StopMatcher::append(std::string_view piece, std::string* text) {
  if (patterns_.empty()) {
    *text += piece;
    return false;
  }
  for (const char byte : piece) {
    held_ += byte;
    const bool complete = advance_all(byte);
    size_t keep = 0;
    if (complete) {
      keep = patterns_[matched_].bytes.size();
    } else {
      for (const Pattern& p : patterns_) keep = std::max(keep, static_cast<size_t>(p.length));
    }
    text->append(held_, 0, held_.size() - keep);
    held_.erase(0, held_.size() - keep);
    if (complete) return true;
  }
  return false;
}

bool StopMatcher::advance_all(char byte) {
  for (size_t i = 0; i < patterns_.size(); ++i) {
    if (!patterns_[i].advance(byte)) continue;
    if (matched_ < 0 || patterns_[i].length > patterns_[matched_].length) {
      matched_ = static_cast<int>(i);
    }
  }
  return matched_ >= 0;
}

void StopMatcher::flush(std::string* text) {
  *text += held_;
  held_.clear();
  for (Pattern& p : patterns_) p.length = 0;
}

const std::string& StopMatcher::matched() const {
  DS_CHECK(matched_ >= 0);
  return patterns_[matched_].bytes;
}

bool TextEmitter::append(std::string_view bytes, std::string* text) {
  if (stopped_) return true;
  matching_ = true;
  characters_.clear();
  utf8_.append(bytes, &characters_);
  return match(characters_, text);
}

void TextEmitter::append_unmatched(std::string_view bytes, std::string* text) {
  const size_t before = text->size();
  utf8_.append(bytes, text);
  released_ += static_cast<int64_t>(text->size() - before);
}

bool TextEmitter::flush(std::string* text) {
  if (stopped_) return true;
  if (!matching_) {
    utf8_.flush(text);
    return false;
  }
  characters_.clear();
  utf8_.flush(&characters_);
  if (match(characters_, text)) return true;
  stops_.flush(text);
  return false;
}

bool TextEmitter::match(std::string_view characters, std::string* text) {
  const size_t before = text->size();
  stopped_ = stops_.append(characters, text);
  released_ += static_cast<int64_t>(text->size() - before);
  return stopped_;
}

}  // namespace deltaserve
