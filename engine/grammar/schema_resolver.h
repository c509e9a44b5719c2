// Finds the schema that applies at a place: follows references, merges allOf and siblings.
#pragma once
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <deque>
#include <initializer_list>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "absl/status/statusor.h"

namespace deltaserve::grammar {

class SchemaResolver {
 public:
  // Resolves within `root`, which must outlive this object.
  explicit SchemaResolver(const boost::json::value& root);

  // Returns the value at a reference such as "#/$defs/a" or "#anchor", which `keyword` has. The
  // document has one scope, so a dynamic reference works like a plain one.
  absl::StatusOr<const boost::json::value*> target(const char* keyword,
                                                   const boost::json::value& reference) const;

  // Returns `schema` itself if it has no references; the target if it is only a reference;
  // otherwise a new schema without $ref and allOf, which lives as long as this object.
  absl::StatusOr<const boost::json::value*> resolve(const boost::json::value& schema);

  // Returns a new schema that holds where both hold. `a` has neither references nor allOf, and its
  // unevaluatedProperties and unevaluatedItems are those of the new schema.
  absl::StatusOr<const boost::json::value*> both(const boost::json::object& a,
                                                 const boost::json::value& b);

 private:
  absl::StatusOr<boost::json::value> flatten(const boost::json::object& schema) const;
  absl::StatusOr<const boost::json::value*> keep(boost::json::value schema);
  bool holds_document(const boost::json::value& place) const;

  const boost::json::value& root_;
  std::unordered_map<std::string, const boost::json::value*> anchors_;  // null: several places have
                                                                        // it
  mutable std::unordered_set<const boost::json::value*> parts_;  // the schemas that were looked at
  std::deque<boost::json::value> merged_;
  std::unordered_map<std::string, const boost::json::value*> merged_by_text_;
  size_t merged_bytes_ = 0;
};

// Returns the keywords of `schema` that are neither annotations nor definitions nor named in
// `without`.
boost::json::object constraints_of(const boost::json::object& schema,
                                   std::initializer_list<const char*> without);

}  // namespace deltaserve::grammar
