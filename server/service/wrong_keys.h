// Bounds how often an address may come with a wrong key. A request with a valid key is never
// refused because of others at its address.
#pragma once
#include <array>
#include <mutex>
#include <optional>
#include <string_view>

#include "server/base/token_bucket.h"

namespace deltaserve {

// Thread-safe. Its memory does not grow: addresses share a fixed number of places.
class WrongKeys {
 public:
  enum class Verdict : uint8_t {
    kRefuse,  // refuse it like any wrong key
    kBegins,  // this key is the first of too many
    kTooMany,
  };

  explicit WrongKeys(const Rate& rate);

  // Counts a wrong key from an address.
  Verdict count(std::string_view address, TokenBucket::Time now);

 private:
  static constexpr size_t kPlaces = 4096;
  struct Place {
    std::optional<TokenBucket> bucket;  // nullopt: no wrong key came yet
    bool too_many = false;
  };

  const Rate rate_;
  std::mutex mutex_;
  std::array<Place, kPlaces> places_;  // guarded by mutex_
};

}  // namespace deltaserve
