#include "engine/grammar/schema_resolver.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/string.hpp>
#include <charconv>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/grammar/limits.h"
#include "engine/grammar/schema_keywords.h"
#include "engine/grammar/schema_merge.h"
#include "engine/grammar/schema_unevaluated.h"
#include "models/base/text.h"

namespace deltaserve::grammar {
namespace {

namespace json = boost::json;

// Limits chains of references and the parts of an allOf, including parts of parts.
constexpr size_t kParts = 256;

// Returns one step of a JSON pointer without its escapes: %XX, ~0 and ~1.
std::string unescaped(std::string_view step) {
  std::string result;
  for (size_t i = 0; i < step.size(); ++i) {
    unsigned code = 0;
    const bool percent = step[i] == '%' && i + 2 < step.size() &&
                         std::from_chars(step.data() + i + 1, step.data() + i + 3, code, 16).ptr ==
                             step.data() + i + 3;
    result += percent ? static_cast<char>(code) : step[i];
    if (percent) i += 2;
  }
  std::string plain;
  for (size_t i = 0; i < result.size(); ++i) {
    const bool escape = result[i] == '~' && i + 1 < result.size();
    if (escape && (result[i + 1] == '0' || result[i + 1] == '1')) {
      plain += result[++i] == '0' ? '~' : '/';
    } else {
      plain += result[i];
    }
  }
  return plain;
}

std::string text_of(const json::value& value) {
  return {value.get_string().data(), value.get_string().size()};
}

// Returns the first keyword of `schema` that refers to another place; null if there is none.
const char* reference_in(const json::object& schema) {
  for (const char* keyword : kReferences) {
    if (find(schema, keyword) != nullptr) return keyword;
  }
  return nullptr;
}

// Returns whether a schema has an `$id`, so that "#" inside it means itself and not the root.
bool is_document(const json::value& schema) {
  const json::object* object = schema.if_object();
  const json::value* id = object == nullptr ? nullptr : object->if_contains("$id");
  return id != nullptr && id->is_string();
}

const json::value* child(const json::value& parent, const std::string& step) {
  if (const json::object* object = parent.if_object()) return object->if_contains(step);
  const json::array* array = parent.if_array();
  size_t index = 0;
  const char* end = step.data() + step.size();
  if (array == nullptr || std::from_chars(step.data(), end, index).ptr != end) return nullptr;
  return index < array->size() ? &(*array)[index] : nullptr;
}

}  // namespace

json::object constraints_of(const json::object& schema,
                            std::initializer_list<const char*> without) {
  json::object result;
  for (const auto& member : schema) {
    const std::string_view name(member.key().data(), member.key().size());
    const Keyword kind = keyword_of(name);
    if (kind == Keyword::kAnnotation || kind == Keyword::kDefinitions) continue;
    if (std::find(without.begin(), without.end(), name) != without.end()) continue;
    result[member.key()] = member.value();
  }
  return result;
}

SchemaResolver::SchemaResolver(const json::value& root) : root_(root) {
  visit_schemas(root, [&](const json::value& schema) {
    parts_.insert(&schema);
    for (const char* keyword : {"$anchor", "$dynamicAnchor"}) {
      const json::value* anchor = schema.get_object().if_contains(keyword);
      if (anchor == nullptr || !anchor->is_string()) continue;
      const auto [known, added] = anchors_.try_emplace(text_of(*anchor), &schema);
      if (!added && known->second != &schema) known->second = nullptr;
    }
  });
}

absl::StatusOr<const json::value*> SchemaResolver::target(const char* keyword,
                                                          const json::value& reference) const {
  if (!reference.is_string()) return invalid_argument("'", keyword, "' must be a string");
  const std::string text = text_of(reference);
  if (!text.starts_with('#')) {
    return invalid_argument("'", keyword, "' ", quoted(text), " must begin with '#'");
  }
  if (text.size() > 1 && text[1] != '/') {
    const auto found = anchors_.find(unescaped(text.substr(1)));
    if (found == anchors_.end()) {
      return invalid_argument("'", keyword, "' ", quoted(text), " leads nowhere");
    }
    if (found->second != nullptr) return found->second;
    return invalid_argument("'", keyword, "' ", quoted(text), " names several places");
  }
  const json::value* place = &root_;
  bool foreign = false;
  for (size_t begin = 1; begin < text.size() && place != nullptr;) {
    const size_t end = std::min(text.find('/', begin + 1), text.size());
    place = child(*place, unescaped(text.substr(begin + 1, end - begin - 1)));
    foreign = foreign || (place != nullptr && is_document(*place));
    begin = end;
  }
  if (place == nullptr) {
    return invalid_argument("'", keyword, "' ", quoted(text), " leads nowhere");
  }
  if (foreign || holds_document(*place)) {
    return invalid_argument("'", keyword, "' ", quoted(text),
                            " leads to a schema with an '$id', which is not supported");
  }
  return place;
}

// Returns whether a place that no keyword reaches has a part with an `$id`.
bool SchemaResolver::holds_document(const json::value& place) const {
  bool found = false;
  if (parts_.contains(&place)) return found;
  visit_schemas(place, [&](const json::value& schema) {
    found = found || is_document(schema);
    if (!found) parts_.insert(&schema);
  });
  return found;
}

absl::StatusOr<const json::value*> SchemaResolver::keep(json::value schema) {
  std::string text = json::serialize(schema);
  const auto known = merged_by_text_.find(text);
  if (known != merged_by_text_.end())
    return known->second;  // ends the merge of a schema with itself
  merged_bytes_ += schema_bytes(schema);
  if (merged_.size() >= grammar_limits::kMergedSchemas ||
      merged_bytes_ > grammar_limits::kMergedBytes) {
    return invalid_argument("allOf and anyOf expand to too many schemas");
  }
  merged_.push_back(std::move(schema));
  merged_by_text_.emplace(std::move(text), &merged_.back());
  return &merged_.back();
}

absl::StatusOr<const json::value*> SchemaResolver::both(const json::object& a,
                                                        const json::value& b) {
  json::object schema = a;
  json::array parts;
  parts.push_back(b);
  schema["allOf"] = std::move(parts);
  return keep(std::move(schema));
}

absl::StatusOr<const json::value*> SchemaResolver::resolve(const json::value& schema) {
  const json::value* place = &schema;
  for (size_t hops = 0; hops < kParts; ++hops) {
    const json::object* object = place->if_object();
    if (object == nullptr) return place;
    const char* reference = reference_in(*object);
    const json::value* all = find(*object, "allOf");
    if (reference == nullptr && all == nullptr) return place;
    const bool alone =
        constraints_of(*object, {reference == nullptr ? "allOf" : reference, "allOf"}).empty();
    const bool one_part = all != nullptr && all->is_array() && all->get_array().size() == 1;
    if (alone && all == nullptr) {
      absl::StatusOr<const json::value*> next = target(reference, *find(*object, reference));
      if (!next.ok()) return next.status();
      place = *next;
    } else if (alone && reference == nullptr && one_part) {
      place = &all->get_array()[0];
    } else {
      absl::StatusOr<json::value> merged = flatten(*object);
      if (!merged.ok()) return merged.status();
      return keep(*std::move(merged));
    }
  }
  return invalid_argument("'$ref' leads back to itself");
}

absl::StatusOr<json::value> SchemaResolver::flatten(const json::object& schema) const {
  json::object merged;
  std::vector<const json::object*> pending{&schema};
  for (size_t parts = 0; !pending.empty(); ++parts) {
    if (parts >= kParts) return invalid_argument("'allOf' has too many parts, or leads to itself");
    const json::object& part = *pending.back();
    pending.pop_back();
    absl::StatusOr<json::object> own = constraints_of(part, {});
    if (&part != &schema) own = settle_unevaluated(*std::move(own));
    if (!own.ok()) return own.status();
    for (const char* keyword : kReferences) own->erase(keyword);
    own->erase("allOf");
    absl::StatusOr<json::object> next = merge_schemas(merged, *own);
    if (!next.ok()) return next.status();
    merged = *std::move(next);
    if (schema_bytes(merged) > grammar_limits::kMergedBytes / 4) {
      return invalid_argument("'allOf' expands to too large a schema");
    }

    std::vector<const json::value*> others;
    for (const char* keyword : kReferences) {
      const json::value* reference = find(part, keyword);
      if (reference == nullptr) continue;
      absl::StatusOr<const json::value*> place = target(keyword, *reference);
      if (!place.ok()) return place.status();
      others.push_back(*place);
    }
    if (const json::value* all = find(part, "allOf")) {
      if (!all->is_array() || all->get_array().empty()) {
        return invalid_argument("'allOf' must be a list of schemas");
      }
      for (const json::value& item : all->get_array()) others.push_back(&item);
    }
    std::reverse(others.begin(), others.end());
    for (const json::value* other : others) {
      if (other->is_bool() && !other->get_bool()) return json::value(false);
      if (other->is_bool()) continue;
      if (!other->is_object()) {
        return invalid_argument("a schema must be an object, true or false");
      }
      pending.push_back(&other->get_object());
    }
  }
  return json::value(std::move(merged));
}

}  // namespace deltaserve::grammar
