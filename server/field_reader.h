// Typed, range-checked access to the parameters of a request.
#pragma once
#include <boost/json/object.hpp>
#include <boost/json/string.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "server/api_error.h"
#include "server/limits.h"

namespace deltaserve {

inline std::string_view view(const boost::json::string& text) {
  return {text.data(), text.size()};
}

// An absent or null parameter leaves what *out holds. After the first error nothing more is read.
class FieldReader {
 public:
  // Both outlive the reader.
  FieldReader(const boost::json::object& fields, const ServerLimits& limits)
      : fields_(fields), limits_(limits) {}

  const std::optional<ApiError>& error() const { return error_; }
  const ServerLimits& limits() const { return limits_; }

  // "<name> <what>"; without the space for a `what` such as ".schema is missing". The first error
  // stays.
  void fail(std::string_view name, std::string_view what);
  // nullptr: absent, null, or there was an error.
  const boost::json::value* find(std::string_view name) const;

  void integer(std::string_view name, int64_t low, int64_t high, int64_t* out);
  // `open_low` excludes the lower bound itself.
  void number(std::string_view name, double low, bool open_low, double high, float* out);
  void boolean(std::string_view name, bool* out) { read_bool(name, name, find(name), out); }
  // The same for a value inside `param`; `what` names it.
  void read_bool(std::string_view param, std::string_view what, const boost::json::value* value,
                 bool* out);
  void string(std::string_view name, size_t max_bytes, std::string* out);
  void stop_strings(std::vector<std::string>* out);
  void token_ids(std::string_view name, int max_count, int64_t vocab, std::vector<int32_t>* out);
  // {"token id": number}; sorted by id.
  void logit_bias(int64_t vocab, std::vector<std::pair<int32_t, float>>* out);
  // An object of strings; *out becomes its JSON text.
  void metadata(std::string* out);
  // A parameter of the API that is not served: clients may send its neutral value.
  void only_neutral(std::string_view name, const boost::json::value& neutral);

 private:
  void add_stop(const boost::json::value& item, std::vector<std::string>* out);

  const boost::json::object& fields_;
  const ServerLimits& limits_;
  std::optional<ApiError> error_;
};

}  // namespace deltaserve
