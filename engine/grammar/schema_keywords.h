// Reads the keywords of one JSON Schema object.
#pragma once
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"

namespace deltaserve::grammar {

// A set of JSON's types. A number with a zero fraction is an integer.
using Types = uint8_t;
inline constexpr Types kNull = 1;
inline constexpr Types kBoolean = 2;
inline constexpr Types kInteger = 4;
inline constexpr Types kFraction = 8;
inline constexpr Types kNumber = kInteger | kFraction;
inline constexpr Types kString = 16;
inline constexpr Types kArray = 32;
inline constexpr Types kObject = 64;
inline constexpr Types kAllTypes = 127;

// The effect of a keyword.
enum class Keyword : uint8_t {
  kAnnotation,  // no effect; so are all names that are not in the table
  kDefinitions,
  kType,
  kValues,   // enum, const
  kCombine,  // references, allOf, anyOf, oneOf, not, if
  kOfString,
  kOfNumber,
  kOfArray,
  kOfObject,
};

Keyword keyword_of(std::string_view name);

// The keywords that refer to another place.
inline constexpr const char* kReferences[] = {"$ref", "$dynamicRef", "$recursiveRef"};

// Returns the value of a keyword, or null: boost::json::object::if_contains for our string type.
const boost::json::value* find(const boost::json::object& schema, std::string_view keyword);

// Visits `schema` and every schema in it that is an object. What const, enum, default, examples and
// unknown names have is a value, even if it looks like a schema; names of members are no keywords.
void visit_schemas(const boost::json::value& schema,
                   const std::function<void(const boost::json::value& part)>& visit);

// Returns the types by `type` and `nullable`; kAllTypes without them.
absl::StatusOr<Types> declared_types(const boost::json::object& schema);
// Returns declared_types(), or without `type` those that the schema's keywords apply to, or all if
// no keyword applies to a type.
absl::StatusOr<Types> generated_types(const boost::json::object& schema);
Types type_of(const boost::json::value& value);
// Returns nullopt for values that are not numbers. A long double holds every number of boost::json.
std::optional<long double> number_of(const boost::json::value& value);

// Returns a whole number from 0. INVALID_ARGUMENT if a minimum is above grammar_limits::kLeast; a
// maximum that no answer reaches is kUnlimited.
absl::StatusOr<std::optional<uint32_t>> count_keyword(const boost::json::object& schema,
                                                      std::string_view keyword);

// Returns true if the two are the same JSON value: 1 is 1.0.
bool same_json(const boost::json::value& a, const boost::json::value& b);

// Returns INVALID_ARGUMENT if `schema` is too large or too deep, has text that is not UTF-8, or has
// both references and parts with an `$id`, which would change the targets of references.
absl::Status check_schema_size(const boost::json::value& schema);
// Returns the bytes of a schema as limits count them.
size_t schema_bytes(const boost::json::value& schema);

}  // namespace deltaserve::grammar
