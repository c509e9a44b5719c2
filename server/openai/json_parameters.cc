#include "server/openai/json_parameters.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <charconv>
#include <limits>
#include <string>
#include <utility>

#include "models/base/text.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

const json::value* member(const json::value& object, std::string_view key) {
  const json::value* value = object.get_object().if_contains(key);
  return value != nullptr && !value->is_null() ? value : nullptr;
}

// `value` must be an object with no other keys than these.
bool is_object_of(FieldReader& fields, std::string_view param, std::string_view what,
                  const json::value* value, std::span<const std::string_view> keys) {
  if (value == nullptr || !value->is_object()) {
    fields.fail(param, str_cat(what, "must be an object"));
    return false;
  }
  for (const auto& [key, ignored] : value->get_object()) {
    const bool known = std::find(keys.begin(), keys.end(), std::string_view(key)) != keys.end();
    if (known) continue;
    fields.fail(param, str_cat(what, "has an unknown key: ", quoted(std::string_view(key))));
    return false;
  }
  return true;
}

// One overload for each type of a parameter.

void read(FieldReader& fields, std::string_view name, std::optional<Integer>* out) {
  fields.integer(name, out);
}

void read(FieldReader& fields, std::string_view name, std::optional<double>* out) {
  fields.number(name, out);
}

void read(FieldReader& fields, std::string_view name, std::optional<bool>* out) {
  fields.boolean(name, out);
}

void read(FieldReader& fields, std::string_view name, std::optional<std::string>* out) {
  fields.string(name, out);
}

void read(FieldReader& fields, std::string_view name,
          std::optional<std::vector<std::string>>* out) {
  constexpr std::string_view kType = "must be a string or a list of strings";
  const json::value* value = fields.find(name);
  if (value == nullptr) return;
  std::vector<std::string>& texts = out->emplace();
  if (value->is_string()) {
    texts.emplace_back(view(value->get_string()));
    return;
  }
  if (!value->is_array()) return fields.fail(name, kType);
  for (const json::value& item : value->get_array()) {
    if (!item.is_string()) return fields.fail(name, kType);
    texts.emplace_back(view(item.get_string()));
  }
}

void read(FieldReader& fields, std::string_view name, std::optional<std::vector<Integer>>* out) {
  const json::value* value = fields.find(name);
  if (value == nullptr) return;
  if (!value->is_array()) return fields.fail(name, "must be a list of token ids");
  std::vector<Integer>& ids = out->emplace();
  for (const json::value& item : value->get_array()) {
    ids.push_back(item.is_int64() ? item.get_int64() : -1);
  }
}

// {"token id": number}
void read(FieldReader& fields, std::string_view name, std::optional<LogitBias>* out) {
  const json::value* value = fields.find(name);
  if (value == nullptr) return;
  if (!value->is_object()) return fields.fail(name, "must be an object of token ids and numbers");
  LogitBias& biases = out->emplace();
  for (const auto& [key, bias] : value->get_object()) {
    int32_t token = -1;
    const char* const end = key.data() + key.size();
    const auto [last, ec] = std::from_chars(key.data(), end, token);
    const bool is_number = ec == std::errc() && last == end;
    biases.emplace_back(is_number ? token : -1, bias.is_number()
                                                    ? bias.to_number<double>()
                                                    : std::numeric_limits<double>::quiet_NaN());
  }
}

void read(FieldReader& fields, std::string_view name, std::optional<StreamOptions>* out) {
  static constexpr std::string_view kKeys[] = {"include_usage", "continuous_usage_stats"};
  const json::value* value = fields.find(name);
  if (value == nullptr || !is_object_of(fields, name, "", value, kKeys)) return;
  StreamOptions& options = out->emplace();
  fields.read_bool(name, str_cat(name, ".", kKeys[0]), member(*value, kKeys[0]),
                   &options.include_usage);
  fields.read_bool(name, str_cat(name, ".", kKeys[1]), member(*value, kKeys[1]),
                   &options.continuous_usage_stats);
}

void read(FieldReader& fields, std::string_view name, std::optional<Metadata>* out) {
  const json::value* value = fields.find(name);
  if (value == nullptr) return;
  if (!value->is_object()) return fields.fail(name, "must be an object of strings");
  Metadata& pairs = out->emplace();
  for (const auto& [key, text] : value->get_object()) {
    if (!text.is_string()) return fields.fail(name, "must have strings as its values");
    pairs.emplace_back(std::string_view(key), view(text.get_string()));
  }
}

void read_json_schema(FieldReader& fields, std::string_view name, const json::value* format,
                      ResponseFormat* out) {
  constexpr std::string_view kWhere = ".json_schema ";
  static constexpr std::string_view kKeys[] = {"name", "description", "schema", "strict"};
  if (!is_object_of(fields, name, kWhere, format, kKeys)) return;
  const json::value* title = member(*format, "name");
  if (title != nullptr && !title->is_string()) {
    return fields.fail(name, ".json_schema.name must be a string");
  }
  std::optional<bool> strict;  // an answer follows its schema in any case
  fields.read_bool(name, str_cat(name, ".json_schema.strict"), member(*format, "strict"), &strict);
  const json::value* schema = member(*format, "schema");
  if (schema == nullptr) return fields.fail(name, ".json_schema.schema is required");
  out->type = ResponseFormat::Type::kJsonSchema;
  out->schema = *schema;
}

void read(FieldReader& fields, std::string_view name, std::optional<ResponseFormat>* out) {
  static constexpr std::string_view kKeys[] = {"type", "json_schema", "schema"};
  const json::value* format = fields.find(name);
  if (format == nullptr || !is_object_of(fields, name, "", format, kKeys)) return;
  const json::value* type = member(*format, "type");
  if (type == nullptr || !type->is_string()) {
    return fields.fail(name, ".type must be text, json_object or json_schema");
  }
  const std::string_view type_name = view(type->get_string());
  const json::value* named = member(*format, "json_schema");
  const json::value* schema = member(*format, "schema");  // as other servers have it
  ResponseFormat& read_format = out->emplace();
  if (schema != nullptr && named != nullptr) {
    return fields.fail(name, ".schema and .json_schema cannot be combined");
  }
  if (schema != nullptr && type_name != "json_schema" && type_name != "json_object") {
    return fields.fail(name, ".schema needs the type json_schema or json_object");
  }
  if (schema != nullptr) {
    read_format.type = ResponseFormat::Type::kJsonSchema;
    read_format.schema = *schema;
    return;
  }
  if (type_name == "json_schema") return read_json_schema(fields, name, named, &read_format);
  if (named != nullptr) return fields.fail(name, ".json_schema needs the type json_schema");
  if (type_name == "json_object") {
    read_format.type = ResponseFormat::Type::kJsonObject;
  } else if (type_name != "text") {
    fields.fail(name, str_cat(".type ", quoted(type_name),
                              " is not supported: only text, json_object and json_schema are"));
  }
}

std::vector<std::string> choices_of(const json::value& value) {
  std::vector<std::string> texts;
  if (!value.is_array()) return texts;
  for (const json::value& item : value.get_array()) {
    texts.emplace_back(item.is_string() ? view(item.get_string()) : std::string_view());
  }
  return texts;
}

void read(FieldReader& fields, std::string_view name, std::optional<StructuredForms>* out) {
  static constexpr std::string_view kForms[] = {"json", "regex", "choice", "grammar",
                                                "json_object"};
  const json::value* value = fields.find(name);
  if (value == nullptr || !is_object_of(fields, name, "", value, kForms)) return;
  StructuredForms& forms = out->emplace();
  if (const json::value* schema = member(*value, "json")) forms.json = *schema;
  if (const json::value* choice = member(*value, "choice")) forms.choice = choices_of(*choice);
  if (const json::value* object = member(*value, "json_object")) {
    forms.json_object = object->is_bool() && object->get_bool();
  }
  for (auto& [key, text] : {std::pair{"regex", &forms.regex}, {"grammar", &forms.grammar}}) {
    const json::value* form = member(*value, key);
    if (form == nullptr) continue;
    if (!form->is_string()) return fields.fail(name, str_cat(".", key, " must be a string"));
    text->emplace(view(form->get_string()));
  }
}

bool is_nested(std::string_view name) {
  return name == "logit_bias" || name == "response_format" || name == "structured_outputs";
}

}  // namespace

std::vector<ParameterRule> parameter_rules(Interface interface,
                                           std::span<const UnservedParameter> unserved) {
  std::vector<ParameterRule> rules;
  const Parameters parameters;
  for_each_parameter(parameters, [&](const ParameterNames& names, const auto&) {
    const std::string_view name = names.of(interface);
    if (name.empty()) return;
    rules.push_back({name, is_nested(name) ? ParameterSize::kNested : ParameterSize::kSmall});
  });
  for (const UnservedParameter& one : unserved) rules.push_back({one.name, one.size});
  return rules;
}

void read_parameters(FieldReader& fields, Interface interface,
                     std::span<const UnservedParameter> unserved, Parameters* out) {
  for_each_parameter(*out, [&](const ParameterNames& names, auto& member_of_out) {
    const std::string_view name = names.of(interface);
    if (!name.empty()) read(fields, name, &member_of_out);
  });
  for (const UnservedParameter& one : unserved) {
    if (fields.find(one.name) != nullptr) fields.only_neutral(one.name, json::parse(one.neutral));
  }
}

}  // namespace deltaserve
