#include "server/structured_output.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <span>
#include <utility>

#include "engine/grammar/grammar.h"
#include "engine/grammar/grammar_cache.h"
#include "models/text.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr std::string_view kFormat = "response_format";
constexpr std::string_view kOutputs = "structured_outputs";

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

const json::value* member(const json::value& object, std::string_view key) {
  const json::value* value = object.get_object().if_contains(key);
  return value != nullptr && !value->is_null() ? value : nullptr;
}

void read_json_schema(FieldReader& fields, const json::value* format,
                      std::optional<StructuredOutput>* out) {
  constexpr std::string_view kWhere = ".json_schema ";
  static constexpr std::string_view kKeys[] = {"name", "description", "schema", "strict"};
  if (!is_object_of(fields, kFormat, kWhere, format, kKeys)) return;
  const json::value* name = member(*format, "name");
  if (name != nullptr && !name->is_string()) {
    return fields.fail(kFormat, ".json_schema.name must be a string");
  }
  bool strict = true;  // always: an answer follows its schema in any case
  fields.read_bool(kFormat, "response_format.json_schema.strict", member(*format, "strict"),
                   &strict);
  const json::value* schema = member(*format, "schema");
  if (schema == nullptr) return fields.fail(kFormat, ".json_schema.schema is required");
  StructuredOutput output;
  output.kind = StructuredOutput::Kind::kJsonSchema;
  output.param = kFormat;
  output.schema = *schema;
  *out = std::move(output);
}

void read_response_format(FieldReader& fields, std::optional<StructuredOutput>* out) {
  const json::value* format = fields.find(kFormat);
  if (format == nullptr) return;
  static constexpr std::string_view kKeys[] = {"type", "json_schema"};
  if (!is_object_of(fields, kFormat, "", format, kKeys)) return;
  const json::value* type = member(*format, "type");
  if (type == nullptr || !type->is_string()) {
    return fields.fail(kFormat, ".type must be text, json_object or json_schema");
  }
  const std::string_view name = view(type->get_string());
  const json::value* schema = member(*format, "json_schema");
  if (name == "json_schema") return read_json_schema(fields, schema, out);
  if (schema != nullptr) {
    return fields.fail(kFormat, ".json_schema needs the type json_schema");
  }
  if (name == "json_object") {
    StructuredOutput output;
    output.param = kFormat;
    *out = std::move(output);
  } else if (name != "text") {
    fields.fail(kFormat, str_cat(".type ", quoted(name),
                                 " is not supported: only text, json_object and json_schema are"));
  }
}

void read_choices(FieldReader& fields, const json::value& value, std::vector<std::string>* out) {
  constexpr std::string_view kForm = ".choice must be a list of strings, none of them empty";
  if (!value.is_array() || value.get_array().empty()) return fields.fail(kOutputs, kForm);
  const int most = fields.limits().structured_choices;
  if (value.get_array().size() > static_cast<size_t>(most)) {
    return fields.fail(kOutputs, str_cat(".choice has more than ", most, " strings"));
  }
  for (const json::value& choice : value.get_array()) {
    if (!choice.is_string() || choice.get_string().empty()) return fields.fail(kOutputs, kForm);
    out->emplace_back(view(choice.get_string()));
  }
}

// One member of structured_outputs, which is there and not null.
void read_form(FieldReader& fields, std::string_view name, const json::value& value,
               StructuredOutput* output) {
  using Kind = StructuredOutput::Kind;
  if (name == "json") {
    output->kind = Kind::kJsonSchema;
    output->schema = value;
  } else if (name == "choice") {
    output->kind = Kind::kChoice;
    read_choices(fields, value, &output->choices);
  } else if (name == "json_object") {
    output->kind = Kind::kJsonObject;
    if (!value.is_bool() || !value.get_bool()) {
      fields.fail(kOutputs, ".json_object must be true or null");
    }
  } else {
    output->kind = name == "regex" ? Kind::kRegex : Kind::kGrammar;
    if (!value.is_string()) return fields.fail(kOutputs, str_cat(".", name, " must be a string"));
    output->text = view(value.get_string());
  }
}

void read_outputs(FieldReader& fields, std::optional<StructuredOutput>* out) {
  static constexpr std::string_view kForms[] = {"json", "regex", "choice", "grammar",
                                                "json_object"};
  const json::value* value = fields.find(kOutputs);
  if (value == nullptr || !is_object_of(fields, kOutputs, "", value, kForms)) return;
  StructuredOutput output;
  output.param = kOutputs;
  int given = 0;
  for (const std::string_view name : kForms) {
    const json::value* form = member(*value, name);
    if (form == nullptr) continue;
    ++given;
    read_form(fields, name, *form, &output);
  }
  if (given != 1) {
    return fields.fail(kOutputs, "must have one of json, regex, choice, grammar and json_object");
  }
  if (out->has_value()) return fields.fail(kOutputs, "and response_format cannot be combined");
  *out = std::move(output);
}

// Equal for equal forms. The order of a schema's keys counts: properties come in that order.
std::string key_of(const StructuredOutput& output) {
  switch (output.kind) {
    case StructuredOutput::Kind::kJsonObject: return "json_object";
    case StructuredOutput::Kind::kJsonSchema:
      return str_cat("json_schema ", json::serialize(output.schema));
    case StructuredOutput::Kind::kRegex: return str_cat("regex ", output.text);
    case StructuredOutput::Kind::kGrammar: return str_cat("grammar ", output.text);
    case StructuredOutput::Kind::kChoice: break;
  }
  std::string key = "choice";
  for (const std::string& choice : output.choices) {
    key.append(str_cat(" ", choice.size(), ":", choice));
  }
  return key;
}

absl::StatusOr<GrammarCache::Grammar> compile(const StructuredOutput& output,
                                              const std::shared_ptr<GrammarMemory>& memory) {
  switch (output.kind) {
    case StructuredOutput::Kind::kJsonObject: return compile_json_object(memory);
    case StructuredOutput::Kind::kJsonSchema: return compile_json_schema(output.schema, memory);
    case StructuredOutput::Kind::kRegex: return compile_regex(output.text, memory);
    case StructuredOutput::Kind::kChoice: return compile_choice(output.choices, memory);
    case StructuredOutput::Kind::kGrammar: return compile_ebnf(output.text, memory);
  }
  return absl::InternalError("unknown form");
}

}  // namespace

void read_structured_output(FieldReader& fields, std::optional<StructuredOutput>* out) {
  read_response_format(fields, out);
  read_outputs(fields, out);
}

absl::StatusOr<std::unique_ptr<TokenConstraint>> make_constraint_for(const StructuredOutput& output,
                                                                     const ServedModel& model) {
  if (model.grammars == nullptr) {
    return invalid_argument(output.param, " needs a tokenizer, and the model has none");
  }
  absl::StatusOr<GrammarCache::Grammar> grammar = model.grammars->get(
      key_of(output), [&](const auto& memory) { return compile(output, memory); });
  if (!grammar.ok()) return prefixed(output.param, grammar.status());
  auto constraint =
      make_constraint(*std::move(grammar), model.grammars->table(), model.eos_token_ids);
  if (constraint.ok()) {
    // So that the grammar keeps the first mask, and the engine's thread need not make it.
    std::vector<uint32_t> words((static_cast<size_t>(model.vocab_size) + 31) / 32);
    (*constraint)->allowed(words);
  }
  return constraint;
}

}  // namespace deltaserve
