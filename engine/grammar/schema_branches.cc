#include "engine/grammar/schema_branches.h"

#include <cstdint>
#include <utility>

#include "engine/grammar/expression.h"
#include "engine/grammar/limits.h"
#include "engine/grammar/schema_keywords.h"
#include "engine/grammar/schema_merge.h"
#include "engine/grammar/schema_resolver.h"
#include "engine/grammar/schema_unevaluated.h"
#include "models/base/text.h"

namespace deltaserve::grammar {
namespace {

namespace json = boost::json;

// The items required by `contains` are adjacent and begin at one of this many first places.
constexpr size_t kPlaces = 4;

// Returns the branch in which a list begins with `count` items of `contained`, and has no others.
json::object with_exactly(uint32_t count, const json::value& contained) {
  json::object branch;
  if (count > 0) branch["prefixItems"] = json::array(count, contained);
  branch["items"] = json::object{{"not", contained}};
  branch["minItems"] = count;
  return branch;
}

absl::StatusOr<SchemaBranches> containing(const json::object& schema) {
  SchemaBranches out;
  out.keyword = "contains";
  out.rest = constraints_of(schema, {"contains", "minContains", "maxContains"});
  if (absl::Status status = check_unevaluated(schema, "contains"); !status.ok()) return status;
  absl::StatusOr<std::optional<uint32_t>> least = count_keyword(schema, "minContains");
  if (!least.ok()) return least.status();
  absl::StatusOr<std::optional<uint32_t>> most = count_keyword(schema, "maxContains");
  if (!most.ok()) return most.status();
  const uint32_t count = (*least).value_or(1);
  if (count > grammar_limits::kContained) {
    return invalid_argument("'minContains' is above ", grammar_limits::kContained);
  }
  if (*most) {
    for (uint32_t n = count; n <= **most && n < count + kPlaces; ++n) {
      out.branches.push_back(with_exactly(n, *find(schema, "contains")));
    }
    // No list can have at least this many and at most fewer.
    if (count > **most) {
      out.branches.push_back(json::object{{"type", type_names(kAllTypes & ~kArray)}});
    }
    return out;
  }
  if (count == 0) {
    out.branches.push_back(true);
    return out;
  }
  for (size_t before = 0; before < kPlaces; ++before) {
    json::array items(before, json::value(true));
    items.insert(items.end(), count, *find(schema, "contains"));
    json::object branch;
    branch["minItems"] = items.size();
    branch["prefixItems"] = std::move(items);
    out.branches.push_back(std::move(branch));
  }
  return out;
}

// Returns the branch of a schema without the member `name`. If `rest` has no properties, other
// members stay unrestricted.
json::object without_member(const json::object& rest, json::string_view name) {
  json::object properties;
  properties[name] = false;
  json::object branch;
  branch["properties"] = std::move(properties);
  const bool names_members = find(rest, "properties") != nullptr ||
                             find(rest, "patternProperties") != nullptr ||
                             find(rest, "additionalProperties") != nullptr ||
                             find(rest, "unevaluatedProperties") != nullptr;
  if (!names_members) branch["additionalProperties"] = true;
  return branch;
}

// Returns the branch with the member and its demand, which is a list of names or a schema.
json::object with_member(json::string_view name, const json::value& demand) {
  json::array required;
  required.push_back(json::value(name));
  json::object branch;
  if (const json::array* names = demand.if_array()) {
    required.insert(required.end(), names->begin(), names->end());
  } else {
    json::array all;
    all.push_back(demand);
    branch["allOf"] = std::move(all);
  }
  branch["required"] = std::move(required);
  return branch;
}

absl::StatusOr<std::optional<SchemaBranches>> depending(const json::object& schema,
                                                        const char* keyword) {
  SchemaBranches out;
  out.keyword = keyword;
  out.rest = constraints_of(schema, {keyword});
  const json::object* members = find(schema, keyword)->if_object();
  if (members == nullptr) return invalid_argument("'", keyword, "' must be an object");
  if (members->empty()) {
    out.branches.push_back(true);
    return out;
  }
  const auto first = members->begin();
  json::object left = *members;
  left.erase(first->key());
  if (!left.empty()) out.rest[keyword] = std::move(left);
  out.branches.push_back(without_member(out.rest, first->key()));
  out.branches.push_back(with_member(first->key(), first->value()));
  return out;
}

}  // namespace

absl::StatusOr<std::optional<SchemaBranches>> keyword_branches(const json::object& schema) {
  if (find(schema, "contains") != nullptr) return containing(schema);
  for (const char* keyword : {"dependentRequired", "dependentSchemas", "dependencies"}) {
    if (find(schema, keyword) != nullptr) return depending(schema, keyword);
  }
  return std::nullopt;
}

}  // namespace deltaserve::grammar
