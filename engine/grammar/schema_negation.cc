#include "engine/grammar/schema_negation.h"

#include <algorithm>
#include <boost/json/string.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/grammar/schema_keywords.h"
#include "engine/grammar/schema_merge.h"
#include "models/base/text.h"

namespace deltaserve::grammar {
namespace {

namespace json = boost::json;

json::object with_type(const char* type, std::string_view keyword, json::value value) {
  return {{"type", type}, {json::string_view(keyword.data(), keyword.size()), std::move(value)}};
}

json::object excluding(const char* type, std::string_view keyword, json::value value) {
  json::object excluded;
  excluded[json::string_view(keyword.data(), keyword.size())] = std::move(value);
  return with_type(type, "not", std::move(excluded));
}

// Collects the contraries of the keywords of one schema: it does not hold where one of them does
// not.
class Contraries {
 public:
  explicit Contraries(const json::object& schema) : schema_(schema) {}

  absl::StatusOr<json::array> find_all() {
    for (const auto& member : schema_) {
      const std::string_view name(member.key().data(), member.key().size());
      if (absl::Status status = add(name, member.value()); !status.ok()) return status;
    }
    return std::move(result_);
  }

 private:
  absl::Status add(std::string_view name, const json::value& value) {
    const Keyword kind = keyword_of(name);
    switch (kind) {
      case Keyword::kAnnotation:
      case Keyword::kDefinitions: return absl::OkStatus();
      case Keyword::kType: return add_types();
      case Keyword::kValues: return add_values(name);
      case Keyword::kOfString: return add_string(name, value);
      case Keyword::kOfNumber: return add_number(name, value);
      case Keyword::kOfObject: return add_object(name, value);
      case Keyword::kCombine: return add_combination(name, value);
      case Keyword::kOfArray: break;
    }
    return refused(name);
  }

  static absl::Status refused(std::string_view name) {
    return invalid_argument("the contrary of ", quoted(name), " is not supported");
  }

  // An integer is a number, so numbers that are no integers are left out.
  absl::Status add_types() {
    if (std::exchange(has_types_, true)) return absl::OkStatus();
    absl::StatusOr<Types> types = declared_types(schema_);
    if (!types.ok()) return types.status();
    Types others = static_cast<Types>(kAllTypes & ~*types);
    if ((*types & kNumber) != 0) others = static_cast<Types>(others & ~kNumber);
    json::array names = type_names(others);
    if (!names.empty()) result_.push_back(json::object{{"type", std::move(names)}});
    return absl::OkStatus();
  }

  absl::Status add_values(std::string_view) {
    if (std::exchange(has_values_, true)) return absl::OkStatus();
    json::array values = values_of(schema_).value_or(json::array());
    result_.push_back(json::object{{"not", json::object{{"enum", std::move(values)}}}});
    return absl::OkStatus();
  }

  absl::Status add_string(std::string_view name, const json::value& value) {
    if (name == "pattern" || name == "format") {
      result_.push_back(excluding("string", name, value));
      return absl::OkStatus();
    }
    absl::StatusOr<std::optional<uint32_t>> count = count_keyword(schema_, name);
    if (!count.ok()) return count.status();
    if (name == "maxLength") {
      result_.push_back(with_type("string", "minLength", uint64_t{**count} + 1));
    } else if (**count > 0) {
      result_.push_back(with_type("string", "maxLength", **count - 1));
    }
    return absl::OkStatus();
  }

  absl::Status add_number(std::string_view name, const json::value& value) {
    constexpr std::pair<std::string_view, std::string_view> kContraries[] = {
        {"minimum", "exclusiveMaximum"},
        {"maximum", "exclusiveMinimum"},
        {"exclusiveMinimum", "maximum"},
        {"exclusiveMaximum", "minimum"}};
    for (const auto& [keyword, contrary] : kContraries) {
      if (name == keyword) {
        result_.push_back(with_type("number", contrary, value));
        return absl::OkStatus();
      }
    }
    return refused(name);
  }

  absl::Status add_object(std::string_view name, const json::value& value) {
    if (name == "required" && value.is_array()) {
      for (const json::value& property : value.get_array()) {
        if (!property.is_string()) return refused(name);
        json::object absent;
        absent[property.get_string()] = false;
        result_.push_back(with_type("object", "properties", std::move(absent)));
      }
      return absl::OkStatus();
    }
    if (name != "properties" || !value.is_object()) return refused(name);
    for (const auto& property : value.get_object()) {
      json::object other;
      other[property.key()] = json::object{{"not", property.value()}};
      json::object contrary = with_type("object", "properties", std::move(other));
      json::array required;
      required.emplace_back(property.key());
      contrary["required"] = std::move(required);
      result_.push_back(std::move(contrary));
    }
    return absl::OkStatus();
  }

  absl::Status add_combination(std::string_view name, const json::value& value) {
    if (name == "not") {
      result_.push_back(value);
      return absl::OkStatus();
    }
    if (name != "anyOf" || !value.is_array()) return refused(name);
    json::array none;
    for (const json::value& branch : value.get_array()) {
      none.push_back(json::object{{"not", branch}});
    }
    result_.push_back(json::object{{"allOf", std::move(none)}});
    return absl::OkStatus();
  }

  const json::object& schema_;
  bool has_types_ = false;
  bool has_values_ = false;
  json::array result_;
};

}  // namespace

absl::StatusOr<json::array> contraries(const json::value& schema, SchemaResolver* resolver) {
  absl::StatusOr<const json::value*> place = resolver->resolve(schema);
  if (!place.ok()) return place.status();
  if (const bool* all = (*place)->if_bool()) {
    json::array result;
    if (!*all) result.push_back(true);
    return result;
  }
  const json::object* object = (*place)->if_object();
  if (object == nullptr) return invalid_argument("a schema must be an object, true or false");
  return Contraries(*object).find_all();
}

bool is_plain_negation(const json::value& negated, bool strings) {
  std::vector<const json::value*> pending{&negated};
  while (!pending.empty()) {
    const json::object* object = pending.back()->if_object();
    pending.pop_back();
    if (object == nullptr || object->size() != 1) return false;
    const auto& member = *object->begin();
    const std::string_view name(member.key().data(), member.key().size());
    const Keyword kind = keyword_of(name);
    if (kind == Keyword::kValues || (kind == Keyword::kOfString && strings)) continue;
    if (name != "anyOf" || !member.value().is_array()) return false;
    for (const json::value& branch : member.value().get_array()) pending.push_back(&branch);
  }
  return true;
}

json::array negated_values(const json::value& negated) {
  json::array values;
  std::vector<const json::value*> pending{&negated};
  while (!pending.empty()) {
    const json::object& object = pending.back()->get_object();
    pending.pop_back();
    if (const json::value* branches = find(object, "anyOf")) {
      for (const json::value& branch : branches->get_array()) pending.push_back(&branch);
    }
    for (const json::value& value : values_of(object).value_or(json::array())) {
      values.push_back(value);
    }
  }
  return values;
}

}  // namespace deltaserve::grammar
