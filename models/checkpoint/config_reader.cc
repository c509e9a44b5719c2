#include "models/checkpoint/config_reader.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/ascii.h"
#include "models/base/text.h"
#include "models/checkpoint/json.h"

namespace deltaserve {
namespace {

std::string range_text(limits::IntRange range) {
  return str_cat("an integer from ", range.min, " to ", range.max);
}

bool in_range(const boost::json::value& value, limits::IntRange range) {
  return value.is_int64() && value.get_int64() >= range.min && value.get_int64() <= range.max;
}

bool in_range(const boost::json::value& value, limits::RealRange range) {
  if (!value.is_number()) return false;
  const double number = value.to_number<double>();
  return number >= range.min && number <= range.max;
}

std::string range_text(limits::RealRange range) {
  return str_cat("a number from ", range.min, " to ", range.max);
}

// Returns true for values with which Python code turns a feature off.
bool means_nothing(const boost::json::value& value) {
  switch (value.kind()) {
    case boost::json::kind::null: return true;
    case boost::json::kind::bool_: return !value.get_bool();
    case boost::json::kind::string: return value.get_string().empty();
    case boost::json::kind::array: return value.get_array().empty();
    case boost::json::kind::object: return value.get_object().empty();
    default: return value.to_number<double>() == 0;
  }
}

// Returns true if the text needs no quotes in a shell.
bool is_word(std::string_view text) {
  const auto is_plain = [](char c) { return absl::ascii_isalnum(c) || c == '_' || c == '-'; };
  return !text.empty() && std::all_of(text.begin(), text.end(), is_plain);
}

}  // namespace

const boost::json::value* ConfigReader::look_up(std::string_view key) const {
  const boost::json::value* value = nullptr;
  if (overrides_ != nullptr) value = overrides_->if_contains(key);
  return value != nullptr ? value : object_.if_contains(key);
}

const boost::json::value* ConfigReader::find(std::string_view key) {
  known_.insert(std::string(key));
  return status_.ok() ? look_up(key) : nullptr;
}

void ConfigReader::fail(std::string_view key, std::string_view problem) {
  if (status_.ok()) {
    status_ = invalid_argument(origin_, ": ", key, " ", problem);
  }
}

void ConfigReader::fail(const absl::Status& status) {
  if (status_.ok()) status_ = status;
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
  if (in_range(*value, range)) return value->to_number<double>();
  fail_value(key, *value, range_text(range));
  return absent;
}

std::optional<double> ConfigReader::optional_real(std::string_view key, limits::RealRange range) {
  const boost::json::value* value = find(key);
  if (value == nullptr || value->is_null()) return std::nullopt;
  if (in_range(*value, range)) return value->to_number<double>();
  fail_value(key, *value, str_cat(range_text(range), " or null"));
  return std::nullopt;
}

std::pair<double, double> ConfigReader::bounds(std::string_view key, limits::RealRange range,
                                               std::pair<double, double> absent) {
  const boost::json::value* value = find(key);
  if (value == nullptr) return absent;
  const boost::json::array* pair = value->if_array();
  const auto refuse = [&] {
    fail(key, str_cat("must be a list [lower, upper] of numbers from ", range.min, " to ",
                      range.max, ", the lower one first; without an upper bound, null"));
    return absent;
  };
  if (pair == nullptr || pair->size() != 2 || !in_range((*pair)[0], range)) return refuse();
  const double lower = (*pair)[0].to_number<double>();
  const boost::json::value& upper = (*pair)[1];
  const bool unbounded =
      upper.is_null() || (upper.is_string() && upper.get_string() == "inf") ||
      (upper.is_double() && upper.get_double() > 0 && std::isinf(upper.get_double()));
  if (unbounded) {
    return {lower, std::numeric_limits<double>::infinity()};
  }
  if (!in_range(upper, range) || upper.to_number<double>() < lower) return refuse();
  return {lower, upper.to_number<double>()};
}

const boost::json::object* ConfigReader::object(std::string_view key) {
  const boost::json::value* value = find(key);
  if (value == nullptr || value->is_null()) return nullptr;
  if (value->is_object()) return &value->get_object();
  fail_value(key, *value, "an object or null");
  return nullptr;
}

bool ConfigReader::boolean(std::string_view key, bool absent) {
  const boost::json::value* value = find(key);
  if (value == nullptr) return absent;
  if (value->is_bool()) return value->get_bool();
  fail_value(key, *value, "true or false");
  return absent;
}

std::optional<bool> ConfigReader::optional_boolean(std::string_view key) {
  if (is_null(key)) return std::nullopt;
  return boolean(key, false);
}

bool ConfigReader::is_null(std::string_view key) {
  const boost::json::value* value = find(key);
  return value == nullptr || value->is_null();
}

bool ConfigReader::is_empty(std::string_view key) {
  const boost::json::value* value = find(key);
  return value == nullptr || means_nothing(*value);
}

std::string ConfigReader::word(std::string_view key, std::string_view absent) {
  const boost::json::value* value = find(key);
  if (value == nullptr) return std::string(absent);
  if (value->is_string())
    return std::string(value->get_string().data(), value->get_string().size());
  fail_value(key, *value, "a string");
  return std::string(absent);
}

std::string ConfigReader::choice(std::string_view key,
                                 std::initializer_list<std::string_view> allowed,
                                 std::string_view absent) {
  std::string chosen = word(key, absent);
  if (std::find(allowed.begin(), allowed.end(), chosen) != allowed.end()) return chosen;
  std::string names;
  for (const std::string_view name : allowed) {
    names += str_cat(names.empty() ? "" : " or ", "'", name, "'");
  }
  fail(key, str_cat("is ", quoted(chosen), ", must be ", names));
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

void ConfigReader::refuse_unless_null(std::string_view key, std::string_view feature) {
  const boost::json::value* value = find(key);
  if (value != nullptr && !value->is_null()) {
    fail(key, str_cat("is ", json_text(*value), ", but ", feature,
                      " are not supported: it must be null"));
  }
}

void ConfigReader::merge(const ConfigReader& other) {
  fail(other.status_);
  known_.insert(other.known_.begin(), other.known_.end());
  for (const std::string& warning : other.warnings_) {
    if (std::find(warnings_.begin(), warnings_.end(), warning) == warnings_.end()) {
      warnings_.push_back(warning);
    }
  }
}

void ConfigReader::refuse_unknown_keys() {
  for (const auto& member : object_) {
    const std::string_view key(member.key().data(), member.key().size());
    if (!known_.contains(key)) fail(quoted(key), "is not a known key");
  }
}

void ConfigReader::check_unknown_keys(
    std::span<const std::string> ignored,
    const std::function<bool(std::string_view key, const boost::json::value& value)>& is_default) {
  const auto is_ignored = [&](std::string_view key) {
    return std::find(ignored.begin(), ignored.end(), key) != ignored.end();
  };
  for (const std::string& key : ignored) {
    if (is_known(key)) {
      fail(quoted(key), "is a known key, which --ignore-config-key cannot leave out");
    }
  }
  size_t listed = 0, unlisted = 0;
  for (const auto& member : object_) {
    const std::string_view key(member.key().data(), member.key().size());
    if (known_.contains(key)) continue;
    const boost::json::value& value = member.value();
    if (!is_ignored(key) && !means_nothing(value) && !is_default(key, value)) {
      fail(str_cat("the key ", quoted(key)),
           str_cat("is not known, and its value ", json_text(value),
                   " may change the model: to load the model without it, use "
                   "--ignore-config-key ",
                   is_word(key) ? std::string(key) : quoted(key)));
      return;
    }
    if (listed == limits::kUnknownKeysListed) {
      ++unlisted;
      continue;
    }
    ++listed;
    warn(str_cat(origin_, ": the key ", quoted(key), " is not known and has no effect"));
  }
  if (unlisted > 0) warn(str_cat(origin_, ": ", unlisted, " more keys are not known"));
}

}  // namespace deltaserve
