#include "server/base/key_ring.h"

#include <openssl/sha.h>

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

bool is_printable(std::string_view word) {
  return std::all_of(word.begin(), word.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

PrefixOwner owner_named(std::string_view kind, std::string_view word) {
  const std::string text = str_cat(kind, ":", word);
  std::array<uint8_t, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const uint8_t*>(text.data()), text.size(), digest.data());
  PrefixOwner owner;
  std::copy_n(digest.begin(), owner.size(), owner.begin());
  return owner;
}

// Returns 1 if all bytes are equal, else 0, without a branch on any of them. Variables are
// volatile: otherwise the compiler could stop at the first difference.
template <size_t kBytes>
uint8_t are_equal(const std::array<uint8_t, kBytes>& a, const std::array<uint8_t, kBytes>& b) {
  volatile uint8_t difference = 0;
  for (size_t i = 0; i < kBytes; ++i) {
    difference = difference | static_cast<uint8_t>(a[i] ^ b[i]);
  }
  return static_cast<uint8_t>((difference - 1u) >> 8 & 1u);
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
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line.front() == '#') continue;
    const absl::Status status = ring.add(line);
    if (!status.ok()) return prefixed(str_cat(origin, ":", number), status);
  }
  if (ring.empty()) return invalid_argument(origin, " holds no key");
  return ring;
}

absl::Status KeyRing::add(std::string_view line) {
  const size_t end = std::min(line.find_first_of(kBlank), line.size());
  const std::string_view key = line.substr(0, end);
  const std::string_view name = trimmed(line.substr(end));
  if (key.size() > kKeyBytes) {
    return invalid_argument("the key is longer than ", kKeyBytes, " bytes");
  }
  if (!is_printable(key)) return invalid_argument("a key must be printable ASCII without spaces");
  if (name.size() > kNameBytes) {
    return invalid_argument("the name is longer than ", kNameBytes, " bytes");
  }
  if (!is_printable(name)) {
    return invalid_argument(
        "a line must be KEY or KEY NAME, the name printable ASCII without spaces");
  }
  const Entry entry{padded(key),
                    name.empty() ? owner_named("key", key) : owner_named("name", name)};
  for (const Entry& known : entries_) {
    if (known.key != entry.key) continue;
    if (known.owner == entry.owner) return absl::OkStatus();
    return invalid_argument("an earlier line gives this key to another name");
  }
  if (entries_.size() == kKeys) return invalid_argument("more than ", kKeys, " keys");
  entries_.push_back(entry);
  return absl::OkStatus();
}

std::optional<PrefixOwner> KeyRing::owner_of(std::string_view key) const {
  if (entries_.empty()) return PrefixOwner{};
  const PaddedKey candidate = padded(key);
  // All keys are compared and all owners are read, so that the time reveals nothing.
  PrefixOwner owner{};
  volatile uint8_t found = 0;
  for (const Entry& entry : entries_) {
    const uint8_t same = are_equal(entry.key, candidate);
    const auto mask = static_cast<uint8_t>(-same);
    for (size_t i = 0; i < owner.size(); ++i) {
      owner[i] = static_cast<uint8_t>(owner[i] | (entry.owner[i] & mask));
    }
    found = found | same;
  }
  if (found == 0 || key.size() > kKeyBytes) return std::nullopt;
  return owner;
}

std::optional<PrefixOwner> KeyRing::owner_of_authorization(std::string_view value) const {
  if (entries_.empty()) return PrefixOwner{};
  constexpr std::string_view kScheme = "bearer ";
  if (value.size() <= kScheme.size()) return std::nullopt;
  const bool bearer = std::equal(kScheme.begin(), kScheme.end(), value.begin(),
                                 [](char want, char c) { return want == (c | 0x20); });
  if (!bearer) return std::nullopt;
  return owner_of(trimmed(value.substr(kScheme.size())));
}

}  // namespace deltaserve
