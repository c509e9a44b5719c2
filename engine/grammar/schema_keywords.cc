#include "engine/grammar/schema_keywords.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/string.hpp>
#include <cmath>
#include <cstdlib>
#include <iterator>
#include <utility>
#include <vector>

#include "engine/grammar/code_points.h"
#include "engine/grammar/expression.h"
#include "engine/grammar/limits.h"
#include "models/base/json_numbers.h"
#include "models/base/text.h"

namespace deltaserve::grammar {
namespace {

namespace json = boost::json;

std::string_view text_of(const json::string& text) {
  return {text.data(), text.size()};
}

// The schemas that a keyword's value holds.
enum class Holds : uint8_t {
  kNone,     // it is no schema, whatever it looks like
  kSchema,   // it is a schema, or a list of schemas
  kMembers,  // its members are schemas, whatever their names
};

struct KeywordRow {
  std::string_view name;
  Keyword kind;
  Holds holds = Holds::kNone;
};

constexpr KeywordRow kKeywords[] = {
    {"$defs", Keyword::kDefinitions, Holds::kMembers},
    {"definitions", Keyword::kDefinitions, Holds::kMembers},
    {"type", Keyword::kType},
    {"nullable", Keyword::kType},
    {"enum", Keyword::kValues},
    {"const", Keyword::kValues},
    {"$ref", Keyword::kCombine},
    {"$dynamicRef", Keyword::kCombine},
    {"$recursiveRef", Keyword::kCombine},  // of draft 2019-09
    {"allOf", Keyword::kCombine, Holds::kSchema},
    {"anyOf", Keyword::kCombine, Holds::kSchema},
    {"oneOf", Keyword::kCombine, Holds::kSchema},
    {"not", Keyword::kCombine, Holds::kSchema},
    {"if", Keyword::kCombine, Holds::kSchema},
    {"then", Keyword::kCombine, Holds::kSchema},
    {"else", Keyword::kCombine, Holds::kSchema},
    {"minLength", Keyword::kOfString},
    {"maxLength", Keyword::kOfString},
    {"pattern", Keyword::kOfString},
    {"format", Keyword::kOfString},
    {"minimum", Keyword::kOfNumber},
    {"maximum", Keyword::kOfNumber},
    {"exclusiveMinimum", Keyword::kOfNumber},
    {"exclusiveMaximum", Keyword::kOfNumber},
    {"multipleOf", Keyword::kOfNumber},
    {"items", Keyword::kOfArray, Holds::kSchema},
    {"prefixItems", Keyword::kOfArray, Holds::kSchema},
    {"additionalItems", Keyword::kOfArray, Holds::kSchema},  // of draft 7, beside a list in `items`
    {"minItems", Keyword::kOfArray},
    {"maxItems", Keyword::kOfArray},
    {"uniqueItems", Keyword::kOfArray},
    {"contains", Keyword::kOfArray, Holds::kSchema},
    {"minContains", Keyword::kOfArray},
    {"maxContains", Keyword::kOfArray},
    {"unevaluatedItems", Keyword::kOfArray, Holds::kSchema},
    {"properties", Keyword::kOfObject, Holds::kMembers},
    {"required", Keyword::kOfObject},
    {"additionalProperties", Keyword::kOfObject, Holds::kSchema},
    {"propertyNames", Keyword::kOfObject, Holds::kSchema},
    {"patternProperties", Keyword::kOfObject, Holds::kMembers},
    {"dependentRequired", Keyword::kOfObject},
    {"dependentSchemas", Keyword::kOfObject, Holds::kMembers},
    {"dependencies", Keyword::kOfObject, Holds::kMembers},  // of draft 7
    {"minProperties", Keyword::kOfObject},
    {"maxProperties", Keyword::kOfObject},
    {"unevaluatedProperties", Keyword::kOfObject, Holds::kSchema},
    {"contentSchema", Keyword::kAnnotation, Holds::kSchema},
};

const KeywordRow* row_of(std::string_view name) {
  for (const KeywordRow& row : kKeywords) {
    if (row.name == name) return &row;
  }
  return nullptr;
}

constexpr std::pair<std::string_view, Types> kTypes[] = {
    {"null", kNull},     {"boolean", kBoolean}, {"integer", kInteger}, {"number", kNumber},
    {"string", kString}, {"array", kArray},     {"object", kObject}};

absl::StatusOr<Types> named_type(const json::value& name) {
  if (name.is_string()) {
    for (const auto& [type, types] : kTypes) {
      if (text_of(name.get_string()) == type) return types;
    }
  }
  return invalid_argument(
      "'type' must be null, boolean, integer, number, string, array or object, or a list of these");
}

// Visits all values under `schema`, keys included, until `visit` returns false.
template <class Visit>
void visit_values(const json::value& schema, const Visit& visit) {
  std::vector<std::pair<const json::value*, size_t>> pending{{&schema, 1}};
  while (!pending.empty()) {
    const auto [value, depth] = pending.back();
    pending.pop_back();
    if (!visit(*value, depth)) return;
    if (const json::array* array = value->if_array()) {
      for (const json::value& item : *array) pending.emplace_back(&item, depth + 1);
    } else if (const json::object* object = value->if_object()) {
      for (const auto& member : *object) pending.emplace_back(&member.value(), depth + 1);
    }
  }
}

size_t own_bytes(const json::value& value) {
  size_t bytes = 4;
  if (const json::string* text = value.if_string()) bytes += text->size();
  if (const json::object* object = value.if_object()) {
    for (const auto& member : *object) bytes += member.key().size();
  }
  return bytes;
}

bool is_utf8_value(const json::value& value) {
  if (!big_integer_text(value).empty()) return true;
  if (const json::string* text = value.if_string()) return is_utf8(text_of(*text));
  if (const json::object* object = value.if_object()) {
    for (const auto& member : *object) {
      if (!is_utf8({member.key().data(), member.key().size()})) return false;
    }
  }
  return true;
}

// A part with an `$id` is a document of its own, so a "#" inside refers to the part's root.
absl::Status check_references(const json::value& schema) {
  bool has_reference = false;
  bool has_part = false;
  visit_schemas(schema, [&](const json::value& part) {
    const auto has_text = [&](const char* name) {
      const json::value* member = part.get_object().if_contains(name);
      return member != nullptr && member->is_string();
    };
    for (const char* name : kReferences) has_reference = has_reference || has_text(name);
    has_part = has_part || (&part != &schema && has_text("$id"));
  });
  if (!has_reference || !has_part) return absl::OkStatus();
  return invalid_argument("'$id' in a part of a schema with references is not supported");
}

}  // namespace

Keyword keyword_of(std::string_view name) {
  const KeywordRow* row = row_of(name);
  return row == nullptr ? Keyword::kAnnotation : row->kind;
}

const json::value* find(const json::object& schema, std::string_view keyword) {
  return schema.if_contains({keyword.data(), keyword.size()});
}

void visit_schemas(const json::value& schema,
                   const std::function<void(const json::value& part)>& visit) {
  std::vector<const json::value*> pending{&schema};
  while (!pending.empty()) {
    const json::value& part = *pending.back();
    pending.pop_back();
    if (const json::array* list = part.if_array()) {
      for (const json::value& item : *list) pending.push_back(&item);
    }
    if (!part.is_object()) continue;
    visit(part);
    for (const auto& member : part.get_object()) {
      const KeywordRow* row = row_of({member.key().data(), member.key().size()});
      if (row == nullptr || row->holds == Holds::kNone) continue;
      const json::value& value = member.value();
      if (row->holds == Holds::kSchema) {
        pending.push_back(&value);
      } else if (const json::object* members = value.if_object()) {
        for (const auto& named : *members) pending.push_back(&named.value());
      }
    }
  }
}

absl::StatusOr<Types> declared_types(const json::object& schema) {
  const json::value* type = find(schema, "type");
  const json::value* nullable = find(schema, "nullable");
  if (nullable != nullptr && !nullable->is_bool()) {
    return invalid_argument("'nullable' must be true or false");
  }
  const bool adds_null = nullable != nullptr && nullable->get_bool();
  if (type == nullptr) {
    if (adds_null) return invalid_argument("'nullable' needs 'type' beside it");
    return kAllTypes;
  }
  Types types = adds_null ? kNull : 0;
  if (const json::array* list = type->if_array()) {
    for (const json::value& name : *list) {
      absl::StatusOr<Types> named = named_type(name);
      if (!named.ok()) return named;
      types |= *named;
    }
    return types;
  }
  absl::StatusOr<Types> named = named_type(*type);
  if (!named.ok()) return named;
  return static_cast<Types>(types | *named);
}

absl::StatusOr<Types> generated_types(const json::object& schema) {
  if (schema.contains("type") || schema.contains("nullable")) return declared_types(schema);
  Types types = 0;
  for (const auto& member : schema) {
    switch (keyword_of({member.key().data(), member.key().size()})) {
      case Keyword::kOfString: types |= kString; break;
      case Keyword::kOfNumber: types |= kNumber; break;
      case Keyword::kOfArray: types |= kArray; break;
      case Keyword::kOfObject: types |= kObject; break;
      default: break;
    }
  }
  return types == 0 ? kAllTypes : types;
}

std::optional<long double> number_of(const json::value& value) {
  if (const int64_t* integer = value.if_int64()) return static_cast<long double>(*integer);
  if (const uint64_t* large = value.if_uint64()) return static_cast<long double>(*large);
  if (const double* real = value.if_double()) return *real;
  if (const std::string_view digits = big_integer_text(value); !digits.empty()) {
    return std::strtold(std::string(digits).c_str(), nullptr);
  }
  return std::nullopt;
}

Types type_of(const json::value& value) {
  switch (value.kind()) {
    case json::kind::null: return kNull;
    case json::kind::bool_: return kBoolean;
    case json::kind::int64:
    case json::kind::uint64: return kInteger;
    case json::kind::double_:
      return std::trunc(value.get_double()) == value.get_double() ? kInteger : kFraction;
    case json::kind::string: return kString;
    case json::kind::array: return kArray;
    case json::kind::object: return big_integer_text(value).empty() ? kObject : kInteger;
  }
  return 0;
}

absl::StatusOr<std::optional<uint32_t>> count_keyword(const json::object& schema,
                                                      std::string_view keyword) {
  const json::value* value = find(schema, keyword);
  if (value == nullptr) return std::nullopt;
  const std::optional<long double> number = number_of(*value);
  if (!number || *number < 0 || std::trunc(*number) != *number) {
    return invalid_argument(quoted(keyword), " must be a whole number that is not negative");
  }
  if (keyword.starts_with("max") && *number >= kUnlimited) return kUnlimited;
  if (keyword.starts_with("min") && *number > grammar_limits::kLeast) {
    return invalid_argument(quoted(keyword), " is more than ", grammar_limits::kLeast);
  }
  return static_cast<uint32_t>(*number);
}

bool same_json(const json::value& a, const json::value& b) {
  std::vector<std::pair<const json::value*, const json::value*>> pending{{&a, &b}};
  while (!pending.empty()) {
    const auto [left, right] = pending.back();
    pending.pop_back();
    if (number_of(*left) && number_of(*right)) {
      if (number_of(*left) != number_of(*right)) return false;
      continue;
    }
    if (left->kind() != right->kind()) return false;
    if (const json::array* items = left->if_array()) {
      const json::array& others = right->get_array();
      if (items->size() != others.size()) return false;
      for (size_t i = 0; i < items->size(); ++i) pending.emplace_back(&(*items)[i], &others[i]);
    } else if (const json::object* members = left->if_object()) {
      if (members->size() != right->get_object().size()) return false;
      for (const auto& member : *members) {
        const json::value* other = right->get_object().if_contains(member.key());
        if (other == nullptr) return false;
        pending.emplace_back(&member.value(), other);
      }
    } else if (*left != *right) {
      return false;
    }
  }
  return true;
}

absl::Status check_schema_size(const json::value& schema) {
  size_t bytes = 0;
  absl::Status status;
  visit_values(schema, [&](const json::value& value, size_t depth) {
    bytes += own_bytes(value);
    if (depth > grammar_limits::kNesting) {
      status = invalid_argument("nested deeper than ", grammar_limits::kNesting);
    } else if (bytes > grammar_limits::kSchemaBytes) {
      status = invalid_argument("larger than ", grammar_limits::kSchemaBytes, " bytes");
    } else if (!is_utf8_value(value)) {
      status = invalid_argument("text that is not UTF-8");
    }
    return status.ok();
  });
  if (!status.ok()) return status;
  return check_references(schema);
}

size_t schema_bytes(const json::value& schema) {
  size_t bytes = 0;
  visit_values(schema, [&](const json::value& value, size_t) {
    bytes += own_bytes(value);
    return true;
  });
  return bytes;
}

}  // namespace deltaserve::grammar
