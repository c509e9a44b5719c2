#include "server/base/key_ring.h"

#include <algorithm>

#include "models/base/text.h"
#include "models/checkpoint/file.h"

namespace deltaserve {
namespace {

constexpr std::string_view kBlank = " \t\r";

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(kBlank);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

bool is_printable(std::string_view key) {
  return std::all_of(key.begin(), key.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

}  // namespace

KeyRing::PaddedKey KeyRing::padded(std::string_view key) {
  PaddedKey out{};
  std::copy_n(key.begin(), std::min(key.size(), kKeyBytes), out.begin());
  return out;
}

absl::StatusOr<KeyRing> KeyRing::load(const std::string& path) {
  const absl::StatusOr<std::string> text = read_file(path, kFileBytes);
  if (!text.ok()) return text.status();
  return parse(*text, path);
}

absl::StatusOr<KeyRing> KeyRing::parse(std::string_view text, std::string_view origin) {
  KeyRing ring;
  for (int number = 1; !text.empty(); ++number) {
    const size_t end = std::min(text.find('\n'), text.size());
    const std::string_view key = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (key.empty() || key.front() == '#') continue;
    if (key.size() > kKeyBytes) {
      return invalid_argument(origin, ":", number, ": the key is longer than ", kKeyBytes,
                              " bytes");
    }
    if (!is_printable(key)) {
      return invalid_argument(origin, ":", number,
                              ": a key must be printable ASCII without spaces");
    }
    if (ring.keys_.size() == kKeys) {
      return invalid_argument(origin, ":", number, ": more than ", kKeys, " keys");
    }
    ring.keys_.push_back(padded(key));
  }
  if (ring.keys_.empty()) return invalid_argument(origin, " holds no key");
  return ring;
}

bool KeyRing::allows(std::string_view key) const {
  if (keys_.empty()) return true;
  const PaddedKey candidate = padded(key);
  // No branch depends on a comparison, so that the time reveals nothing. Variables are volatile:
  // otherwise the compiler could stop at the first difference.
  volatile uint8_t found = 0;
  for (const PaddedKey& known : keys_) {
    volatile uint8_t difference = 0;
    for (size_t i = 0; i < kKeyBytes; ++i) {
      difference = difference | static_cast<uint8_t>(known[i] ^ candidate[i]);
    }
    found = found | static_cast<uint8_t>((difference - 1u) >> 8 & 1u);  // 1 if there was none
  }
  return found != 0 && key.size() <= kKeyBytes;
}

bool KeyRing::allows_authorization(std::string_view value) const {
  if (keys_.empty()) return true;
  constexpr std::string_view kScheme = "bearer ";
  if (value.size() <= kScheme.size()) return false;
  const bool bearer = std::equal(kScheme.begin(), kScheme.end(), value.begin(),
                                 [](char want, char c) { return want == (c | 0x20); });
  return bearer && allows(trimmed(value.substr(kScheme.size())));
}

}  // namespace deltaserve
