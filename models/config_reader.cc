#include "models/config_reader.h"

#include "models/json.h"
#include "models/text.h"

namespace deltaserve {
namespace {

std::string range_text(limits::IntRange range) {
  return str_cat("an integer from ", range.min, " to ", range.max);
}

bool in_range(const boost::json::value& value, limits::IntRange range) {
  return value.is_int64() && value.get_int64() >= range.min && value.get_int64() <= range.max;
}

}  // namespace

const boost::json::value* ConfigReader::find(std::string_view key) {
  known_.insert(std::string(key));
  return status_.ok() ? object_.if_contains(key) : nullptr;
}

void ConfigReader::fail(std::string_view key, std::string_view problem) {
  if (status_.ok()) {
    status_ = invalid_argument(origin_, ": ", key, " ", problem);
  }
}

void ConfigReader::fail_value(std::string_view key, const boost::json::value& value,
                              std::string_view wanted) {
  fail(key, str_cat("is ", json_text(value), ", must be ", wanted));
}

int64_t ConfigReader::integer(std::string_view key, limits::IntRange range, int64_t absent) {
  const boost::json::value* value = find(key);
  if (value == nullptr) return absent;
  if (in_range(*value, range)) return value->get_int64();
  fail_value(key, *value, range_text(range));
  return absent;
}

std::optional<int64_t> ConfigReader::optional_integer(std::string_view key,
                                                      limits::IntRange range) {
  const boost::json::value* value = find(key);
  if (value == nullptr || value->is_null()) return std::nullopt;
  if (in_range(*value, range)) return value->get_int64();
  fail_value(key, *value, str_cat(range_text(range), " or null"));
  return std::nullopt;
}

double ConfigReader::real(std::string_view key, limits::RealRange range, double absent) {
  const boost::json::value* value = find(key);
  if (value == nullptr) return absent;
  if (value->is_number()) {
    const double number = value->to_number<double>();
    if (number >= range.min && number <= range.max) return number;
  }
  fail_value(key, *value, str_cat("a number from ", range.min, " to ", range.max));
  return absent;
}

bool ConfigReader::boolean(std::string_view key, bool absent) {
  const boost::json::value* value = find(key);
  if (value == nullptr) return absent;
  if (value->is_bool()) return value->get_bool();
  fail_value(key, *value, "true or false");
  return absent;
}

std::string ConfigReader::word(std::string_view key, std::string_view absent) {
  const boost::json::value* value = find(key);
  if (value == nullptr) return std::string(absent);
  if (value->is_string())
    return std::string(value->get_string().data(), value->get_string().size());
  fail_value(key, *value, "a string");
  return std::string(absent);
}

std::optional<std::vector<int32_t>> ConfigReader::token_ids(std::string_view key,
                                                            int64_t vocab_size) {
  const boost::json::value* value = find(key);
  if (value == nullptr) return std::nullopt;
  std::vector<int32_t> ids;
  if (value->is_null()) return ids;
  const limits::IntRange range{0, vocab_size - 1};
  const auto add = [&](const boost::json::value& id) {
    if (!in_range(id, range)) return fail_value(key, id, range_text(range));
    ids.push_back(static_cast<int32_t>(id.get_int64()));
  };
  if (!value->is_array()) {
    add(*value);
    return ids;
  }
  if (value->get_array().size() > limits::kEosTokens) {
    fail(key, str_cat("lists ", value->get_array().size(), " tokens, more than the ",
                      limits::kEosTokens, " allowed"));
    return ids;
  }
  for (const boost::json::value& id : value->get_array()) add(id);
  return ids;
}

void ConfigReader::refuse_unless_null(std::string_view key) {
  const boost::json::value* value = find(key);
  if (value != nullptr && !value->is_null()) {
    fail(key, str_cat("is ", json_text(*value), ", only null is supported"));
  }
}

std::vector<std::string> ConfigReader::unknown_key_warnings() const {
  std::vector<std::string> warnings;
  size_t unlisted = 0;
  for (const auto& member : object_) {
    const std::string_view key(member.key().data(), member.key().size());
    if (known_.contains(key)) continue;
    if (warnings.size() == limits::kUnknownKeysListed) {
      ++unlisted;
    } else {
      warnings.push_back(
          str_cat(origin_, ": the key ", quoted(key), " is not known and has no effect"));
    }
  }
  if (unlisted > 0) {
    warnings.push_back(str_cat(origin_, ": ", unlisted, " more keys are not known"));
  }
  return warnings;
}

}  // namespace deltaserve
