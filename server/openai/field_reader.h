// Typed access to the members of a request in JSON. Only types are checked here; service/rules.h
// checks the values.
#pragma once
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/string.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "server/base/api_error.h"
#include "server/base/limits.h"
#include "server/service/parameters.h"

namespace deltaserve {

// Returns the value of a number that is an integer in any spelling (2, 2.0, 2e0); nullopt for every
// other value. A number too large for the type becomes its largest.
std::optional<Integer> integer_of(const boost::json::value& value);

inline std::string_view view(const boost::json::string& text) {
  return {text.data(), text.size()};
}

// A member that is absent or null leaves *out as it is. After the first error nothing more is read.
class FieldReader {
 public:
  // Both outlive the reader.
  FieldReader(const boost::json::object& fields, const ServerLimits& limits)
      : fields_(fields), limits_(limits) {}

  const std::optional<ApiError>& error() const { return error_; }
  const ServerLimits& limits() const { return limits_; }

  // Reports "<name> <what>"; without the space for a `what` such as ".schema is missing". The first
  // error stays.
  void fail(std::string_view name, std::string_view what);
  // Reports "<name> <what>, not <value>".
  void fail_value(std::string_view name, std::string_view what, const boost::json::value& value);
  // Returns nullptr if the member is absent or null, or after an error.
  const boost::json::value* find(std::string_view name) const;

  void integer(std::string_view name, std::optional<Integer>* out);
  void number(std::string_view name, std::optional<double>* out);
  void boolean(std::string_view name, std::optional<bool>* out) {
    read_bool(name, name, find(name), out);
  }
  // Reads a boolean inside `param`; `what` names it.
  void read_bool(std::string_view param, std::string_view what, const boost::json::value* value,
                 std::optional<bool>* out);
  void string(std::string_view name, std::optional<std::string>* out);
  // Checks a parameter that is not supported: clients may only send one of its neutral values,
  // which change nothing.
  void only_neutral(std::string_view name, const boost::json::array& neutral);

 private:
  const boost::json::object& fields_;
  const ServerLimits& limits_;
  std::optional<ApiError> error_;
};

}  // namespace deltaserve
