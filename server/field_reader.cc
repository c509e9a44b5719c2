#include "server/field_reader.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <charconv>

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

void FieldReader::integer(std::string_view name, int64_t low, int64_t high, int64_t* out) {
  const json::value* value = find(name);
  if (value == nullptr) return;
  if (!value->is_number() || value->is_double()) return fail(name, "must be an integer");
  if (!value->is_int64() || value->get_int64() < low || value->get_int64() > high) {
    return fail(name, str_cat("must be between ", low, " and ", high));
  }
  *out = value->get_int64();
}

void FieldReader::number(std::string_view name, double low, bool open_low, double high,
                         float* out) {
  const json::value* value = find(name);
  if (value == nullptr) return;
  if (!value->is_number()) return fail(name, "must be a number");
  const double number = value->to_number<double>();
  // Written so that NaN fails. A positive number must not round to a bound that is excluded.
  const bool above = open_low ? number > low && static_cast<float>(number) > low : number >= low;
  if (!(above && number <= high)) {
    return fail(name,
                str_cat("must be ", open_low ? "above " : "at least ", low, " and at most ", high));
  }
  *out = static_cast<float>(number);
}

void FieldReader::read_bool(std::string_view param, std::string_view what, const json::value* value,
                            bool* out) {
  if (value == nullptr || value->is_null()) return;
  if (value->is_bool()) {
    *out = value->get_bool();
  } else if (!error_) {
    error_ = invalid_parameter(std::string(param), str_cat(what, " must be true or false"));
  }
}

void FieldReader::string(std::string_view name, size_t max_bytes, std::string* out) {
  const json::value* value = find(name);
  if (value == nullptr) return;
  if (!value->is_string()) return fail(name, "must be a string");
  const json::string& text = value->get_string();
  if (text.size() > max_bytes) return fail(name, str_cat("is longer than ", max_bytes, " bytes"));
  out->assign(text.data(), text.size());
}

void FieldReader::stop_strings(std::vector<std::string>* out) {
  const json::value* value = find("stop");
  if (value == nullptr) return;
  if (value->is_string()) return add_stop(*value, out);
  if (!value->is_array()) return fail("stop", "must be a string or a list of strings");
  if (static_cast<int64_t>(value->get_array().size()) > limits_.stop_strings) {
    return fail("stop", str_cat("has more than ", limits_.stop_strings, " strings"));
  }
  for (const json::value& item : value->get_array()) add_stop(item, out);
}

void FieldReader::add_stop(const json::value& item, std::vector<std::string>* out) {
  if (!item.is_string()) return fail("stop", "must be a string or a list of strings");
  const json::string& text = item.get_string();
  if (text.empty()) return fail("stop", "must not hold an empty string");
  if (text.size() > limits_.stop_string_bytes) {
    return fail("stop", str_cat("has a string longer than ", limits_.stop_string_bytes, " bytes"));
  }
  out->emplace_back(text.data(), text.size());
}

void FieldReader::token_ids(std::string_view name, int max_count, int64_t vocab,
                            std::vector<int32_t>* out) {
  const json::value* value = find(name);
  if (value == nullptr) return;
  if (!value->is_array()) return fail(name, "must be a list of token ids");
  if (static_cast<int64_t>(value->get_array().size()) > max_count) {
    return fail(name, str_cat("has more than ", max_count, " ids"));
  }
  for (const json::value& item : value->get_array()) {
    if (!item.is_int64() || item.get_int64() < 0 || item.get_int64() >= vocab) {
      return fail(name, str_cat("must hold token ids from 0 to ", vocab - 1));
    }
    out->push_back(static_cast<int32_t>(item.get_int64()));
  }
}

void FieldReader::logit_bias(int64_t vocab, std::vector<std::pair<int32_t, float>>* out) {
  constexpr std::string_view kName = "logit_bias";
  constexpr double kMost = 100;
  const json::value* value = find(kName);
  if (value == nullptr) return;
  if (!value->is_object()) return fail(kName, "must be an object of token ids and numbers");
  if (static_cast<int64_t>(value->get_object().size()) > limits_.logit_bias_entries) {
    return fail(kName, str_cat("has more than ", limits_.logit_bias_entries, " entries"));
  }
  for (const auto& [key, bias] : value->get_object()) {
    int32_t token = -1;
    const auto [end, ec] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (ec != std::errc() || end != key.data() + key.size() || token < 0 || token >= vocab) {
      return fail(kName, str_cat("must have token ids from 0 to ", vocab - 1, " as its keys"));
    }
    if (!bias.is_number() || !(std::abs(bias.to_number<double>()) <= kMost)) {
      return fail(kName,
                  str_cat("must have numbers from ", -kMost, " to ", kMost, " as its values"));
    }
    out->emplace_back(token, static_cast<float>(bias.to_number<double>()));
  }
  std::sort(out->begin(), out->end());
  // "1" and "01" are different keys and the same token.
  const auto same = [](const auto& a, const auto& b) { return a.first == b.first; };
  if (std::adjacent_find(out->begin(), out->end(), same) != out->end()) {
    fail(kName, "names a token twice");
  }
}

void FieldReader::metadata(std::string* out) {
  const json::value* value = find("metadata");
  if (value == nullptr) return;
  if (!value->is_object()) return fail("metadata", "must be an object of strings");
  if (value->get_object().size() > limits_.metadata_pairs) {
    return fail("metadata", str_cat("has more than ", limits_.metadata_pairs, " pairs"));
  }
  for (const auto& [key, text] : value->get_object()) {
    if (!text.is_string()) return fail("metadata", "must have strings as its values");
    if (key.size() > limits_.metadata_key_bytes) {
      return fail("metadata",
                  str_cat("has a key longer than ", limits_.metadata_key_bytes, " bytes"));
    }
    if (text.get_string().size() > limits_.metadata_value_bytes) {
      return fail("metadata",
                  str_cat("has a value longer than ", limits_.metadata_value_bytes, " bytes"));
    }
  }
  *out = json::serialize(*value);
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
