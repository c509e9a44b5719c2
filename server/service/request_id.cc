#include "server/service/request_id.h"

#include <algorithm>

#include "absl/strings/str_format.h"
#include "server/random.h"

namespace deltaserve {

bool is_usable_request_id(std::string_view id, size_t max_bytes) {
  return !id.empty() && id.size() <= max_bytes &&
         std::all_of(id.begin(), id.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

std::string make_request_id() {
  return absl::StrFormat("req-%016x%016x", random_bits(), random_bits());
}

}  // namespace deltaserve
