// The API keys of a server: who may use it.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace deltaserve {

// Constant after construction: any thread may ask. The time an answer takes depends on the number
// of keys, and not on how much of a guess is right.
class KeyRing {
 public:
  static constexpr size_t kKeyBytes = 256;
  static constexpr size_t kKeys = 1024;
  static constexpr size_t kFileBytes = (kKeyBytes + 2) * 2 * kKeys;

  // A ring without keys allows everybody.
  KeyRing() = default;

  // Reads a file with one key a line; empty lines, lines that begin with '#' and spaces around a
  // key are skipped. INVALID_ARGUMENT names the line of a key that is too long or not printable
  // ASCII without spaces, and a file without any key. Messages never hold a key.
  static absl::StatusOr<KeyRing> load(const std::string& path);
  // Reads the same from a text; `origin` begins the messages.
  static absl::StatusOr<KeyRing> parse(std::string_view text, std::string_view origin);

  bool empty() const { return keys_.empty(); }
  bool allows(std::string_view key) const;
  // `value` is that of an `Authorization` header or `authorization` metadata: "Bearer KEY", the
  // scheme in any case.
  bool allows_authorization(std::string_view value) const;

 private:
  using PaddedKey = std::array<uint8_t, kKeyBytes>;  // zeros after the key

  static PaddedKey padded(std::string_view key);

  std::vector<PaddedKey> keys_;
};

}  // namespace deltaserve
