#include "server/field_reader.h"

#include <boost/json/serialize.hpp>

#include "models/text.h"

namespace deltaserve {

namespace json = boost::json;

void FieldReader::fail(std::string_view name, std::string_view what) {
  if (error_) return;
  const bool inside = what.starts_with('.') || what.starts_with('[');
  error_ = invalid_parameter(std::string(name), str_cat(name, inside ? "" : " ", what));
}

const json::value* FieldReader::find(std::string_view name) const {
  if (error_) return nullptr;
  const json::value* value = fields_.if_contains(name);
  return value != nullptr && !value->is_null() ? value : nullptr;
}

void FieldReader::integer(std::string_view name, std::optional<Integer>* out) {
  const json::value* value = find(name);
  if (value == nullptr) return;
  if (value->is_int64()) {
    *out = value->get_int64();
  } else if (value->is_uint64()) {
    *out = value->get_uint64();
  } else {
    fail(name, "must be an integer");
  }
}

void FieldReader::number(std::string_view name, std::optional<double>* out) {
  const json::value* value = find(name);
  if (value == nullptr) return;
  if (!value->is_number()) return fail(name, "must be a number");
  *out = value->to_number<double>();
}

void FieldReader::read_bool(std::string_view param, std::string_view what, const json::value* value,
                            std::optional<bool>* out) {
  if (value == nullptr || value->is_null()) return;
  if (value->is_bool()) {
    *out = value->get_bool();
  } else if (!error_) {
    error_ = invalid_parameter(std::string(param), str_cat(what, " must be true or false"));
  }
}

void FieldReader::string(std::string_view name, std::optional<std::string>* out) {
  const json::value* value = find(name);
  if (value == nullptr) return;
  if (!value->is_string()) return fail(name, "must be a string");
  out->emplace(value->get_string().data(), value->get_string().size());
}

void FieldReader::only_neutral(std::string_view name, const json::value& neutral) {
  const json::value* value = find(name);
  if (value == nullptr) return;
  const bool same = neutral.is_number() && value->is_number()
                        ? value->to_number<double>() == neutral.to_number<double>()
                        : *value == neutral;
  if (same) return;
  const std::string accepted = neutral.is_null() ? "" : json::serialize(neutral) + " or ";
  fail(name, str_cat("is not supported: only ", accepted, "null is accepted"));
}

}  // namespace deltaserve
