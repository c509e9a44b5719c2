#include "server/http/request_target.h"

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <charconv>

namespace deltaserve {
namespace {

struct TargetParts {
  std::string_view authority;  // of the absolute form; empty in every other
  std::string_view rest;
};

TargetParts parts_of(std::string_view target) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!boost::beast::iequals(target.substr(0, scheme.size()), scheme)) continue;
    target.remove_prefix(scheme.size());
    const size_t end = std::min(target.find_first_of("/?"), target.size());
    return {target.substr(0, end), target.substr(end)};
  }
  return {{}, target};
}

}  // namespace

std::string_view authority_of_target(std::string_view target) {
  return parts_of(target).authority;
}

std::string path_of_target(std::string_view target) {
  const std::string_view rest = parts_of(target).rest;
  const std::string_view path = rest.substr(0, rest.find('?'));
  if (path.empty()) return "/";
  std::string out;
  for (size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '%') {
      out.push_back(path[i]);
      continue;
    }
    const std::string_view digits = path.substr(i + 1, 2);
    unsigned value = 0;
    const auto [last, ec] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (ec != std::errc() || last != digits.data() + 2) return std::string(path);
    out.push_back(static_cast<char>(value));
    i += 2;
  }
  return out;
}

}  // namespace deltaserve
