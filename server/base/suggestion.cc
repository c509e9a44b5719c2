#include "server/base/suggestion.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace deltaserve {
namespace {

constexpr size_t kLongestName = 64;  // longer ones are compared with nothing

// Returns how many letters must be inserted, removed, replaced, or swapped with the next one.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        cost[i][j] = i + j;
        continue;
      }
      const size_t replaced = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, replaced});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

std::string did_you_mean(std::string_view given, const std::vector<std::string>& names) {
  if (given.size() > kLongestName) return "";
  const size_t letters =
      given.size() - std::min(given.find_first_not_of('-'), given.size());  // without "--"
  if (letters < 2) return "";  // a single letter is near every other
  size_t least = std::max<size_t>(1, letters / 3) + 1;
  const std::string lower = absl::AsciiStrToLower(std::string(given));
  std::string nearest;
  for (const std::string& name : names) {
    const size_t changes = distance(lower, absl::AsciiStrToLower(name));
    if (changes >= least) continue;
    least = changes;
    nearest = name;
  }
  // A prefix is near the first name that begins with it.
  for (size_t i = 0; nearest.empty() && i < names.size(); ++i) {
    if (names[i].starts_with(given)) nearest = names[i];
  }
  return nearest.empty() ? "" : absl::StrCat("; did you mean '", nearest, "'?");
}

}  // namespace deltaserve
