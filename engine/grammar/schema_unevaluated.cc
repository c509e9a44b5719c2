#include "engine/grammar/schema_unevaluated.h"

#include <string_view>
#include <utility>

#include "engine/grammar/expression.h"
#include "engine/grammar/schema_keywords.h"
#include "models/base/text.h"

namespace deltaserve::grammar {
namespace {

namespace json = boost::json;

constexpr const char* kMembers = "unevaluatedProperties";
constexpr const char* kItems = "unevaluatedItems";

// Keywords by which a schema applies others to its own place, and `contains`, which speaks of items
// that have no place.
constexpr const char* kInPlace[] = {
    "$ref", "$dynamicRef", "$recursiveRef",    "allOf",        "anyOf",   "oneOf",
    "if",   "not",         "dependentSchemas", "dependencies", "contains"};

// Returns the keyword for the items behind those that have a schema each.
const char* rest_of_items(const json::object& schema) {
  const json::value* items = find(schema, "items");
  return items != nullptr && items->is_array() ? "additionalItems" : "items";
}

const json::value* given_or(const json::object& schema, const char* other, const char** keyword) {
  if (const json::value* given = find(schema, *keyword)) return given;
  const json::value* unevaluated = find(schema, other);
  if (unevaluated != nullptr) *keyword = other;
  return unevaluated;
}

}  // namespace

absl::StatusOr<json::object> settle_unevaluated(json::object part) {
  for (const char* keyword : {kMembers, kItems}) {
    const json::value* unevaluated = find(part, keyword);
    if (unevaluated == nullptr) continue;
    for (const char* other : kInPlace) {
      if (find(part, other) == nullptr) continue;
      return invalid_argument("keyword '", keyword, "' beside '", other,
                              "' is supported only where nothing else applies to the same place");
    }
    const char* const settled = keyword == kMembers ? "additionalProperties" : rest_of_items(part);
    json::value value = *unevaluated;
    part.erase(keyword);
    part.emplace(settled, std::move(value));  // what is there speaks of all others
  }
  return part;
}

absl::Status check_unevaluated(const json::object& schema, const char* keyword) {
  const bool of_items = std::string_view(keyword) == "contains";
  for (const char* unevaluated : {kMembers, kItems}) {
    if (find(schema, unevaluated) == nullptr || (of_items && unevaluated == kMembers)) continue;
    return invalid_argument("keyword '", unevaluated, "' beside '", keyword, "' is not supported");
  }
  return absl::OkStatus();
}

const json::value* other_members(const json::object& schema, const char** keyword) {
  *keyword = "additionalProperties";
  return given_or(schema, kMembers, keyword);
}

const json::value* other_items(const json::object& schema, const char** keyword) {
  *keyword = rest_of_items(schema);
  return given_or(schema, kItems, keyword);
}

}  // namespace deltaserve::grammar
