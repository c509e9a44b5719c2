// The API keys of a server: who may use it, and as whom.
#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "engine/reuse/reuse.h"

namespace deltaserve {

// A key belongs to an owner. The owner is the name beside the key, so that the keys of one name can
// be replaced one by one; a key without a name is an owner of its own.
//
// A ring holds SHA-256 digests and no keys. So the time of a look-up does not show how much of a
// guessed key is right, and each wrong key costs only one hash.
//
// Constant after construction: any thread may ask.
class KeyRing {
 public:
  static constexpr size_t kKeyBytes = 256;
  static constexpr size_t kNameBytes = 256;
  static constexpr size_t kKeys = 1024;
  static constexpr size_t kFileBytes = (kKeyBytes + kNameBytes + 2) * 2 * kKeys;

  // A ring without keys allows all clients, as one owner.
  KeyRing() = default;

  // Reads a file with one line `KEY` or `KEY NAME` for each key; empty lines, lines that begin with
  // '#' and spaces around the words are skipped. INVALID_ARGUMENT names the line of a key or name
  // that is too long or not printable ASCII, a line with more words, a key that an earlier line
  // gives to another name, and a file without any key. Messages never hold a key.
  static absl::StatusOr<KeyRing> load(const std::string& path);
  // Reads the same from a text; `origin` begins the messages.
  static absl::StatusOr<KeyRing> parse(std::string_view text, std::string_view origin);

  bool empty() const { return owners_.empty(); }
  size_t num_owners() const;
  // Returns the owner of the key; nullopt if the ring does not have the key. The owner is the
  // SHA-256 of "name:NAME" or "key:KEY", cut to 128 bits; without keys it is zero.
  std::optional<PrefixOwner> owner_of(std::string_view key) const;
  // `value` is that of an `Authorization` header or `authorization` metadata: "Bearer KEY", the
  // scheme in any case.
  std::optional<PrefixOwner> owner_of_authorization(std::string_view value) const;

 private:
  using Digest = std::array<uint8_t, 32>;

  absl::Status add(std::string_view line);

  std::map<Digest, PrefixOwner> owners_;  // by the digest of the key
};

}  // namespace deltaserve
