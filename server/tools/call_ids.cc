#include "server/tools/call_ids.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "models/base/text.h"
#include "server/base/random.h"

namespace deltaserve {
namespace {

constexpr std::string_view kLetters =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr int kLettersPerDraw = 8;  // 62^8 is far below 2^64, so that all ids are about equally
                                    // likely

void append_letters(uint64_t bits, int count, std::string* out) {
  for (int i = 0; i < count; ++i) {
    out->push_back(kLetters[bits % kLetters.size()]);
    bits /= kLetters.size();
  }
}

std::string random_letters(int count) {
  std::string out;
  for (; count > 0; count -= kLettersPerDraw) {
    append_letters(random_bits(), std::min(count, kLettersPerDraw), &out);
  }
  return out;
}

bool is_alphanumeric(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return absl::ascii_isalnum(c); });
}

}  // namespace

std::string new_call_id(CallIdShape shape, std::string_view name, int64_t number) {
  switch (shape) {
    case CallIdShape::kNine: return random_letters(9);
    case CallIdShape::kFunctions: return str_cat("functions.", name, ":", number);
    case CallIdShape::kAny: break;
  }
  return str_cat("call_", random_letters(24));
}

bool has_shape(CallIdShape shape, std::string_view id) {
  switch (shape) {
    case CallIdShape::kNine: return id.size() == 9 && is_alphanumeric(id);
    case CallIdShape::kFunctions: {
      const size_t colon = id.rfind(':');
      return id.starts_with("functions.") && colon != id.npos && colon + 1 < id.size() &&
             std::all_of(id.begin() + static_cast<std::ptrdiff_t>(colon) + 1, id.end(),
                         [](char c) { return absl::ascii_isdigit(c); });
    }
    case CallIdShape::kAny: break;
  }
  return !id.empty();
}

std::string nine_for(std::string_view id) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : id) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  std::string out;
  append_letters(hash, 9, &out);
  return out;
}

}  // namespace deltaserve
