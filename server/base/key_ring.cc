#include "server/base/key_ring.h"

#include <openssl/sha.h>

#include <algorithm>
#include <set>

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

std::array<uint8_t, SHA256_DIGEST_LENGTH> sha256(std::string_view text) {
  std::array<uint8_t, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const uint8_t*>(text.data()), text.size(), digest.data());
  return digest;
}

PrefixOwner owner_named(std::string_view kind, std::string_view word) {
  const auto digest = sha256(str_cat(kind, ":", word));
  PrefixOwner owner;
  std::copy_n(digest.begin(), owner.size(), owner.begin());
  return owner;
}

}  // namespace

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
  const PrefixOwner owner = name.empty() ? owner_named("key", key) : owner_named("name", name);
  const auto [entry, is_new] = owners_.try_emplace(sha256(key), owner);
  if (!is_new && entry->second != owner) {
    return invalid_argument("an earlier line gives this key to another name");
  }
  if (owners_.size() > kKeys) return invalid_argument("more than ", kKeys, " keys");
  return absl::OkStatus();
}

size_t KeyRing::num_owners() const {
  std::set<PrefixOwner> owners;
  for (const auto& [digest, owner] : owners_) owners.insert(owner);
  return owners.size();
}

std::optional<PrefixOwner> KeyRing::owner_of(std::string_view key) const {
  if (owners_.empty()) return PrefixOwner{};
  if (key.size() > kKeyBytes) return std::nullopt;
  const auto found = owners_.find(sha256(key));
  return found == owners_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<PrefixOwner> KeyRing::owner_of_authorization(std::string_view value) const {
  if (owners_.empty()) return PrefixOwner{};
  constexpr std::string_view kScheme = "bearer ";
  if (value.size() <= kScheme.size()) return std::nullopt;
  const bool bearer = std::equal(kScheme.begin(), kScheme.end(), value.begin(),
                                 [](char want, char c) { return want == (c | 0x20); });
  if (!bearer) return std::nullopt;
  return owner_of(trimmed(value.substr(kScheme.size())));
}

}  // namespace deltaserve
