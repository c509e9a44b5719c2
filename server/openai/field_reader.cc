#include "server/openai/field_reader.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cmath>
#include <limits>

#include "models/base/text.h"
#include "server/base/shown_value.h"

namespace deltaserve {

namespace json = boost::json;

namespace {

// Numbers are compared as numbers: 1 and 1.0 are the same.
bool is_same(const json::value& a, const json::value& b) {
  if (!a.is_number() || !b.is_number()) return a == b;
  return a.to_number<double>() == b.to_number<double>();
}

}  // namespace

std::optional<Integer> integer_of(const json::value& value) {
  if (value.is_int64()) return value.get_int64();
  if (value.is_uint64()) return value.get_uint64();
  if (!value.is_double()) return std::nullopt;
  const double number = value.get_double();
  constexpr double kBeyond = 1e38;
  if (number > kBeyond) return std::numeric_limits<Integer>::max();
  if (number < -kBeyond) return std::numeric_limits<Integer>::min();
  if (std::trunc(number) != number) return std::nullopt;
  // The JSON reader gives the least int64_t as an integer, but the next smaller integers as doubles
  // of that value.
  constexpr double kLeast = -0x1p63;
  if (number == kLeast) return Integer(std::numeric_limits<int64_t>::min()) - 1;
  return static_cast<Integer>(number);
}

void FieldReader::fail(std::string_view name, std::string_view what) {
  if (error_) return;
  const bool inside = what.starts_with('.') || what.starts_with('[') || what.starts_with(' ');
  error_ = invalid_parameter(std::string(name), str_cat(name, inside ? "" : " ", what));
}

void FieldReader::fail_value(std::string_view name, std::string_view what,
                             const json::value& value) {
  if (!error_) fail(name, str_cat(what, ", not ", shown(value)));
}

const json::value* FieldReader::find(std::string_view name) const {
  if (error_) return nullptr;
  const json::value* value = fields_.if_contains(name);
  return value != nullptr && !value->is_null() ? value : nullptr;
}

void FieldReader::integer(std::string_view name, std::optional<Integer>* out) {
  const json::value* value = find(name);
  if (value == nullptr) return;
  *out = integer_of(*value);
  if (!*out) fail_value(name, "must be an integer", *value);
}

void FieldReader::number(std::string_view name, std::optional<double>* out) {
  const json::value* value = find(name);
  if (value == nullptr) return;
  if (!value->is_number()) return fail_value(name, "must be a number", *value);
  *out = value->to_number<double>();
}

void FieldReader::read_bool(std::string_view param, std::string_view what, const json::value* value,
                            std::optional<bool>* out) {
  if (value == nullptr || value->is_null()) return;
  if (value->is_bool()) {
    *out = value->get_bool();
  } else if (!error_) {
    error_ = invalid_parameter(std::string(param),
                               str_cat(what, " must be true or false, not ", shown(*value)));
  }
}

void FieldReader::string(std::string_view name, std::optional<std::string>* out) {
  const json::value* value = find(name);
  if (value == nullptr) return;
  if (!value->is_string()) return fail_value(name, "must be a string", *value);
  out->emplace(value->get_string().data(), value->get_string().size());
}

void FieldReader::only_neutral(std::string_view name, const json::array& neutral) {
  const json::value* value = find(name);
  if (value == nullptr) return;
  const auto is_value = [&](const json::value& one) { return is_same(one, *value); };
  if (std::any_of(neutral.begin(), neutral.end(), is_value)) return;
  std::string accepted;
  for (const json::value& one : neutral) accepted.append(json::serialize(one)).append(" or ");
  fail_value(name, str_cat("is not supported: only ", accepted, "null is accepted"), *value);
}

}  // namespace deltaserve
