#include "models/tokenizer/json/part_reader.h"

#include <boost/json/array.hpp>

#include "models/base/text.h"
#include "models/checkpoint/json.h"
#include "models/tokenizer/json/utf8.h"

namespace deltaserve::tokenizer_json {
namespace {

const boost::json::object kNoMembers;
const boost::json::array kNoItems;

std::string joined_path(std::string_view path, std::string_view key) {
  return path.empty() ? std::string(key) : str_cat(path, ".", key);
}

}  // namespace

PartReader::PartReader(const boost::json::value& value, std::string path, absl::Status* status)
    : object_(value.if_object()), path_(std::move(path)), status_(status) {
  if (object_ != nullptr) return;
  object_ = &kNoMembers;
  fail(str_cat("it must be an object, not ", json_text(value)));
}

void PartReader::fail(std::string_view key, std::string_view problem) {
  if (!status_->ok()) return;
  *status_ = invalid_argument(joined_path(path_, key), " ", problem);
}

void PartReader::fail(std::string_view problem) {
  if (!status_->ok()) return;
  *status_ = path_.empty() ? invalid_argument(problem) : invalid_argument(path_, ": ", problem);
}

const boost::json::value* PartReader::find(std::string_view key) const {
  const boost::json::value* value = object_->if_contains({key.data(), key.size()});
  return value == nullptr || value->is_null() ? nullptr : value;
}

const boost::json::value* PartReader::required(std::string_view key) {
  const boost::json::value* value = find(key);
  if (value == nullptr) fail(key, "is missing");
  return value;
}

bool PartReader::boolean(std::string_view key, std::optional<bool> absent) {
  const boost::json::value* value = absent ? find(key) : required(key);
  if (value == nullptr) return absent.value_or(false);
  if (!value->is_bool()) fail(key, str_cat("must be true or false, not ", json_text(*value)));
  return value->is_bool() && value->get_bool();
}

int64_t PartReader::integer(std::string_view key, limits::IntRange range,
                            std::optional<int64_t> absent) {
  const boost::json::value* value = absent ? find(key) : required(key);
  if (value == nullptr) return absent.value_or(range.min);
  if (!value->is_int64() || value->get_int64() < range.min || value->get_int64() > range.max) {
    fail(key, str_cat("must be an integer from ", range.min, " to ", range.max, ", not ",
                      json_text(*value)));
    return range.min;
  }
  return value->get_int64();
}

std::optional<std::string> PartReader::optional_text(std::string_view key) {
  const boost::json::value* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) {
    fail(key, str_cat("must be a text, not ", json_text(*value)));
    return std::nullopt;
  }
  return std::string(value->get_string());
}

std::string PartReader::text(std::string_view key) {
  return required(key) == nullptr ? std::string() : optional_text(key).value_or("");
}

char32_t PartReader::character(std::string_view key) {
  const std::string value = text(key);
  if (!value.empty() && character_at(value, 0).bytes == value.size()) {
    return character_at(value, 0).code;
  }
  fail(key, str_cat("must be a single character, not ", quoted(value)));
  return ' ';
}

const boost::json::array& PartReader::list(std::string_view key) {
  const boost::json::value* value = required(key);
  if (value != nullptr && value->is_array()) return value->get_array();
  fail(key, "must be a list");
  return kNoItems;
}

const boost::json::object& PartReader::object(std::string_view key) {
  const boost::json::value* value = required(key);
  if (value != nullptr && value->is_object()) return value->get_object();
  fail(key, "must be an object");
  return kNoMembers;
}

PartReader PartReader::item(std::string_view key, size_t index,
                            const boost::json::value& value) const {
  return PartReader(value, str_cat(joined_path(path_, key), "[", index, "]"), status_);
}

PartReader PartReader::member(std::string_view key, const boost::json::value& value) const {
  return PartReader(value, joined_path(path_, key), status_);
}

}  // namespace deltaserve::tokenizer_json
