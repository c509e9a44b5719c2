// The API keys of a server: who may use it, and as whom.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/reuse/reuse.h"

namespace deltaserve {

// A key belongs to an owner: to the name beside it, so that the keys of one name can be exchanged
// one by one, or without a name to itself.
//
// Constant after construction: any thread may ask. The time an answer takes depends on the number
// of keys, and not on how much of a guess is right.
class KeyRing {
 public:
  static constexpr size_t kKeyBytes = 256;
  static constexpr size_t kNameBytes = 256;
  static constexpr size_t kKeys = 1024;
  static constexpr size_t kFileBytes = (kKeyBytes + kNameBytes + 2) * 2 * kKeys;

  // A ring without keys allows everybody, all as one owner.
  KeyRing() = default;

  // Reads a file with one line `KEY` or `KEY NAME` for each key; empty lines, lines that begin with
  // '#' and spaces around the words are skipped. INVALID_ARGUMENT names the line of a key or name
  // that is too long or not printable ASCII, a line with more words, a key that an earlier line
  // gives to another name, and a file without any key. Messages never hold a key.
  static absl::StatusOr<KeyRing> load(const std::string& path);
  // Reads the same from a text; `origin` begins the messages.
  static absl::StatusOr<KeyRing> parse(std::string_view text, std::string_view origin);

  bool empty() const { return entries_.empty(); }
  // Returns whose key it is; nullopt: nobody's. The owner is the SHA-256 of "name:NAME" or
  // "key:KEY", cut to 128 bits; without keys it is zero.
  std::optional<PrefixOwner> owner_of(std::string_view key) const;
  // `value` is that of an `Authorization` header or `authorization` metadata: "Bearer KEY", the
  // scheme in any case.
  std::optional<PrefixOwner> owner_of_authorization(std::string_view value) const;

 private:
  using PaddedKey = std::array<uint8_t, kKeyBytes>;  // zeros after the key
  struct Entry {
    PaddedKey key{};
    PrefixOwner owner{};
  };

  static PaddedKey padded(std::string_view key);
  absl::Status add(std::string_view line);

  std::vector<Entry> entries_;
};

}  // namespace deltaserve
