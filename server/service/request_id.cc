#include "server/service/request_id.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_format.h"
#include "server/base/random.h"

namespace deltaserve {

bool is_usable_request_id(std::string_view id, size_t max_bytes) {
  return !id.empty() && id.size() <= max_bytes &&
         std::all_of(id.begin(), id.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

std::string make_request_id() {
  return absl::StrFormat("req-%016x%016x", random_bits(), random_bits());
}

bool is_traceparent(std::string_view text) {
  constexpr std::string_view kForm = "xx-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx-xxxxxxxxxxxxxxxx-xx";
  constexpr size_t kMost = 128;
  if (text.size() < kForm.size() || text.size() > kMost) return false;
  for (size_t i = 0; i < kForm.size(); ++i) {
    const bool digit = absl::ascii_isxdigit(static_cast<unsigned char>(text[i]));
    if (kForm[i] == 'x' ? !digit : text[i] != '-') return false;
  }
  return text.size() == kForm.size() || text[kForm.size()] == '-';
}

}  // namespace deltaserve
