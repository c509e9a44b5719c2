#include "server/openai/json_parameters.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <charconv>
#include <limits>
#include <string>
#include <utility>

#include "models/base/text.h"
#include "server/base/shown_value.h"
#include "server/base/suggestion.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

const json::value* member(const json::value& object, std::string_view key) {
  const json::value* value = object.get_object().if_contains(key);
  return value != nullptr && !value->is_null() ? value : nullptr;
}

// `value` must be an object with no other keys than these, unless they are null.
bool is_object_of(FieldReader& fields, std::string_view param, std::string_view what,
                  const json::value* value, std::span<const std::string_view> keys) {
  if (value == nullptr || !value->is_object()) {
    fields.fail(param, str_cat(what, "must be an object",
                               value == nullptr ? "" : str_cat(", not ", shown(*value))));
    return false;
  }
  for (const auto& [key, ignored] : value->get_object()) {
    const bool known = std::find(keys.begin(), keys.end(), std::string_view(key)) != keys.end();
    if (known || ignored.is_null()) continue;
    fields.fail(param, str_cat(what, "has an unknown key: ", quoted(std::string_view(key)),
                               did_you_mean(key, {keys.begin(), keys.end()})));
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
  if (!value->is_array()) return fields.fail_value(name, kType, *value);
  for (const json::value& item : value->get_array()) {
    if (!item.is_string()) {
      return fields.fail_value(name, str_cat("[", texts.size(), "] must be a string"), item);
    }
    texts.emplace_back(view(item.get_string()));
  }
}

void read(FieldReader& fields, std::string_view name, std::optional<std::vector<Integer>>* out) {
  const json::value* value = fields.find(name);
  if (value == nullptr) return;
  if (!value->is_array()) return fields.fail_value(name, "must be a list of token ids", *value);
  std::vector<Integer>& ids = out->emplace();
  for (const json::value& item : value->get_array()) {
    const std::optional<Integer> id = integer_of(item);
    if (!id) return fields.fail_value(name, str_cat("[", ids.size(), "] must be a token id"), item);
    ids.push_back(*id);
  }
}

// Returns the number that a key spells in decimal digits; one too large for the type becomes its
// largest.
std::optional<Integer> number_of_key(std::string_view key) {
  int64_t number = 0;
  const auto [last, ec] = std::from_chars(key.data(), key.data() + key.size(), number);
  if (last != key.data() + key.size() || ec == std::errc::invalid_argument) return std::nullopt;
  if (ec == std::errc()) return number;
  using Limits = std::numeric_limits<Integer>;
  return key.starts_with('-') ? Limits::min() : Limits::max();
}

// {"token id": number}
void read(FieldReader& fields, std::string_view name, std::optional<LogitBias>* out) {
  const json::value* value = fields.find(name);
  if (value == nullptr) return;
  if (!value->is_object()) {
    return fields.fail_value(name, "must be an object of token ids and numbers", *value);
  }
  LogitBias& biases = out->emplace();
  for (const auto& [key, bias] : value->get_object()) {
    const std::optional<Integer> token = number_of_key(key);
    const std::string quoted_key = shown(std::string_view(key));
    if (!token) {
      return fields.fail(name, str_cat("has the key ", quoted_key, ", which is no token id"));
    }
    if (!bias.is_number()) {
      return fields.fail_value(name, str_cat("[", quoted_key, "] must be a number"), bias);
    }
    biases.emplace_back(*token, bias.to_number<double>());
  }
}

void read(FieldReader& fields, std::string_view name, std::optional<StreamOptions>* out) {
  static constexpr std::string_view kKeys[] = {"include_usage", "continuous_usage_stats",
                                               "include_obfuscation"};
  const json::value* value = fields.find(name);
  if (value == nullptr || !is_object_of(fields, name, "", value, kKeys)) return;
  StreamOptions& options = out->emplace();
  fields.read_bool(name, str_cat(name, ".", kKeys[0]), member(*value, kKeys[0]),
                   &options.include_usage);
  fields.read_bool(name, str_cat(name, ".", kKeys[1]), member(*value, kKeys[1]),
                   &options.continuous_usage_stats);
  std::optional<bool> obfuscation;  // accepted without effect
  fields.read_bool(name, str_cat(name, ".", kKeys[2]), member(*value, kKeys[2]), &obfuscation);
}

void read(FieldReader& fields, std::string_view name, std::optional<Metadata>* out) {
  const json::value* value = fields.find(name);
  if (value == nullptr) return;
  if (!value->is_object()) return fields.fail_value(name, "must be an object of strings", *value);
  Metadata& pairs = out->emplace();
  for (const auto& [key, text] : value->get_object()) {
    if (!text.is_string()) {
      const std::string place = str_cat("[", shown(std::string_view(key)), "]");
      return fields.fail_value(name, str_cat(place, " must be a string"), text);
    }
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
    return fields.fail_value(name, ".json_schema.name must be a string", *title);
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
  constexpr std::string_view kTypes = ".type must be text, json_object or json_schema";
  if (type == nullptr) return fields.fail(name, kTypes);
  if (!type->is_string()) return fields.fail_value(name, kTypes, *type);
  const std::string_view type_name = view(type->get_string());
  const json::value* named = member(*format, "json_schema");
  const json::value* schema = member(*format, "schema");  // the form that other servers accept
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

// Reads a list of strings; rules.h checks them.
void read_choices(FieldReader& fields, std::string_view name, std::string_view place,
                  const json::value& value, std::vector<std::string>* out) {
  if (!value.is_array()) {
    return fields.fail_value(name, str_cat(place, " must be a list of strings"), value);
  }
  for (const json::value& item : value.get_array()) {
    if (!item.is_string()) {
      return fields.fail_value(name, str_cat(place, "[", out->size(), "] must be a string"), item);
    }
    out->emplace_back(view(item.get_string()));
  }
}

// A schema may also come as its text, in which case it is read here.
void read_schema(FieldReader& fields, std::string_view name, std::string_view place,
                 const json::value& value, json::value* out) {
  if (!value.is_string()) {
    *out = value;
    return;
  }
  const auto error = read_json_value(view(value.get_string()), name, fields.limits(), out);
  if (error)
    return fields.fail(name, str_cat(place, " has a text that is no schema: ", error->message));
  if (out->is_string() || out->is_null()) {
    fields.fail_value(name, str_cat(place, " must be a schema or its text"), value);
  }
}

// Reads the form `form` from `value`, which is at `place` in the parameter `name`.
void read_form(FieldReader& fields, std::string_view name, std::string_view place,
               std::string_view form, const json::value& value, StructuredForms* out) {
  if (form == "json") return read_schema(fields, name, place, value, &out->json.emplace());
  if (form == "choice") return read_choices(fields, name, place, value, &out->choice.emplace());
  if (form == "json_object") {
    return fields.read_bool(name, str_cat(name, place), &value, &out->json_object);
  }
  if (!value.is_string()) {
    return fields.fail_value(name, str_cat(place, " must be a string"), value);
  }
  (form == "regex" ? out->regex : out->grammar).emplace(view(value.get_string()));
}

void read(FieldReader& fields, std::string_view name, std::optional<StructuredForms>* out) {
  static constexpr std::string_view kForms[] = {"json", "regex", "choice", "grammar",
                                                "json_object"};
  // vLLM has more members, which change nothing if they are false.
  static constexpr std::string_view kKeys[] = {kForms[0],
                                               kForms[1],
                                               kForms[2],
                                               kForms[3],
                                               kForms[4],
                                               "disable_fallback",
                                               "disable_any_whitespace",
                                               "disable_additional_properties"};
  const json::value* value = fields.find(name);
  if (value == nullptr || !is_object_of(fields, name, "", value, kKeys)) return;
  StructuredForms& forms = out->emplace();
  for (const std::string_view form : kForms) {
    const json::value* given = member(*value, form);
    if (given != nullptr) read_form(fields, name, str_cat(".", form), form, *given, &forms);
  }
  for (const std::string_view key : std::span(kKeys).subspan(std::size(kForms))) {
    const json::value* given = member(*value, key);
    if (given == nullptr || *given == false) continue;
    fields.fail_value(name, str_cat(".", key, " is not supported: only false is accepted"), *given);
  }
}

constexpr FormName kFormNames[] = {
    {"guided_json", "json"},     {"guided_regex", "regex"},
    {"guided_choice", "choice"}, {"guided_grammar", "grammar"},
    {"json_schema", "json"},     {"regex", "regex"},
    {"ebnf", "grammar"},         {"guided_json_object", "json_object"},
};

void read_form_names(FieldReader& fields, std::optional<StructuredForms>* out) {
  for (const FormName& one : kFormNames) {
    const json::value* value = fields.find(one.name);
    if (value == nullptr) continue;
    if (one.form == "json_object" && *value == false) continue;
    if (*out) {
      const std::string_view other = (*out)->name.empty() ? "structured_outputs" : (*out)->name;
      return fields.fail(one.name, str_cat("and ", other, " cannot be combined"));
    }
    (*out).emplace().name = one.name;
    read_form(fields, one.name, "", one.form, *value, &**out);
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
  if (answers_with_tokens(interface)) {
    for (const FormName& one : kFormNames) rules.push_back({one.name, ParameterSize::kNested});
  }
  for (const UnservedParameter& one : unserved) rules.push_back({one.name, one.size});
  return rules;
}

std::span<const FormName> form_names() {
  return kFormNames;
}

void read_parameters(FieldReader& fields, Interface interface,
                     std::span<const UnservedParameter> unserved, Parameters* out) {
  for_each_parameter(*out, [&](const ParameterNames& names, auto& member_of_out) {
    const std::string_view name = names.of(interface);
    if (!name.empty()) read(fields, name, &member_of_out);
  });
  if (answers_with_tokens(interface)) read_form_names(fields, &out->structured_outputs);
  for (const UnservedParameter& one : unserved) {
    if (fields.find(one.name) == nullptr || one.neutral == kAnyValue) continue;
    fields.only_neutral(one.name, neutral_values(one));
  }
}

}  // namespace deltaserve
