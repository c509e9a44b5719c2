// Where a schema is written: references followed, allOf and siblings merged.
#pragma once
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <deque>
#include <initializer_list>
#include <string>
#include <unordered_map>

#include "absl/status/statusor.h"

namespace deltaserve::grammar {

class SchemaResolver {
 public:
  // `root` must outlive this object.
  explicit SchemaResolver(const boost::json::value& root) : root_(root) {}

  // The value at a reference such as "#/$defs/a".
  absl::StatusOr<const boost::json::value*> target(const boost::json::value& reference) const;

  // `schema` when it is a schema of its own; what it stands for when it only refers to another;
  // otherwise a new schema without $ref and allOf, which lives as long as this object.
  absl::StatusOr<const boost::json::value*> resolve(const boost::json::value& schema);

  // A new schema that holds where both hold.
  absl::StatusOr<const boost::json::value*> both(const boost::json::object& a,
                                                 const boost::json::value& b);

 private:
  absl::StatusOr<boost::json::value> flatten(const boost::json::object& schema) const;
  absl::StatusOr<const boost::json::value*> keep(boost::json::value schema);

  const boost::json::value& root_;
  std::deque<boost::json::value> merged_;
  std::unordered_map<std::string, const boost::json::value*> merged_by_text_;
  size_t merged_bytes_ = 0;
};

// The keywords of `schema` that are neither annotations nor definitions nor named in `without`.
boost::json::object constraints_of(const boost::json::object& schema,
                                   std::initializer_list<const char*> without);

}  // namespace deltaserve::grammar
