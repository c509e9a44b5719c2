#include "server/service/wrong_keys.h"

#include "absl/hash/hash.h"
#include "models/base/text.h"

namespace deltaserve {

WrongKeys::WrongKeys(const Rate& rate) : rate_(rate) {}

WrongKeys::Verdict WrongKeys::count(std::string_view address, TokenBucket::Time now) {
  // The hash has another seed in every process, so a client cannot choose with which address it
  // shares a place.
  const size_t index = absl::Hash<absl::string_view>()(as_piece(address)) % kPlaces;
  const std::lock_guard lock(mutex_);
  Place& place = places_[index];
  if (!place.bucket) place.bucket.emplace(rate_);
  const bool before = place.too_many;
  place.too_many = !place.bucket->take(1, now);
  if (!place.too_many) return Verdict::kRefuse;
  return before ? Verdict::kTooMany : Verdict::kBegins;
}

}  // namespace deltaserve
