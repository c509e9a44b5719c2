#include "server/openai/request_schemas.h"

#include <boost/json/array.hpp>
#include <boost/json/parse.hpp>
#include <string_view>
#include <utility>

#include "server/openai/chat_api.h"
#include "server/openai/chat_translation.h"
#include "server/openai/json_parameters.h"
#include "server/openai/messages_api.h"
#include "server/openai/responses_api.h"
#include "server/service/ranges.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr std::string_view kMessages = R"({"type": "array", "minItems": 1, "items": {
  "type": "object", "required": ["role"], "anyOf": [
    {"required": ["content"], "properties": {"content": {"type": ["string", "array"]}}},
    {"required": ["tool_calls"], "properties": {"tool_calls": {"type": "array", "minItems": 1}}}],
  "properties": {
    "role": {"type": "string", "minLength": 1},
    "content": {"anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": {
      "type": "object", "required": ["type"], "properties": {
        "cache_control": {"$ref": "#/components/schemas/CacheControl"}}, "anyOf": [
        {"required": ["text"], "properties": {
          "type": {"enum": ["text", "input_text", "output_text"]}, "text": {"type": "string"}}},
        {"required": ["refusal"], "properties": {
          "type": {"const": "refusal"}, "refusal": {"type": "string"}}}]}}]},
    "name": {"type": ["string", "null"]},
    "tool_call_id": {"type": ["string", "null"]},
    "tool_calls": {"type": ["array", "null"], "items": {
      "type": "object", "required": ["function"], "properties": {
        "cache_control": {"$ref": "#/components/schemas/CacheControl"},
        "id": {"type": ["string", "null"]},
        "function": {"type": "object", "required": ["name"], "properties": {
          "name": {"type": "string"}, "arguments": {"type": ["string", "object", "null"],
            "contentMediaType": "application/json", "contentSchema": {"type": "object"}}}}}}},
    "reasoning_content": {"type": ["string", "null"]}, "reasoning": {"type": ["string", "null"]},
    "audio": {"type": "null"}, "function_call": {"type": "null"},
    "cache_control": {"$ref": "#/components/schemas/CacheControl"}}}})";

constexpr std::string_view kResponseFormat = R"({"type": ["object", "null"],
  "required": ["type"], "properties": {
    "type": {"enum": ["text", "json_object", "json_schema"]},
    "json_schema": {"type": ["object", "null"], "required": ["schema"], "properties": {
      "name": {"type": ["string", "null"]}, "description": true, "schema": true,
      "strict": {"type": ["boolean", "null"]}}}}})";

constexpr std::string_view kForms = R"({"type": ["object", "null"], "properties": {
    "json": true, "regex": {"type": ["string", "null"]}, "grammar": {"type": ["string", "null"]},
    "choice": {"type": ["array", "null"], "minItems": 1,
      "items": {"type": "string", "minLength": 1}},
    "json_object": {"enum": [true, null]}}})";

constexpr std::string_view kResponsesMembers = R"({
  "input": {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1,
    "items": {"type": "object"}}]},
  "instructions": {"type": ["string", "null"]},
  "max_output_tokens": {"type": ["integer", "null"], "minimum": 0},
  "tools": {"type": ["array", "null"], "items": {"type": "object", "required": ["type", "name"],
    "properties": {"type": {"const": "function"}, "name": {"type": "string"}}}},
  "tool_choice": {"type": ["string", "object", "null"]},
  "parallel_tool_calls": {"type": ["boolean", "null"]},
  "text": {"type": ["object", "null"]}, "reasoning": {"type": ["object", "null"]},
  "chat_template_kwargs": {"type": ["object", "null"]}, "include": {"type": ["array", "null"]},
  "store": {"type": ["boolean", "null"]}, "truncation": {"enum": ["auto", "disabled", null]},
  "background": {"enum": [false, null]}, "stream_options": true, "conversation": {"type": "null"},
  "max_tool_calls": {"type": "null"}, "previous_response_id": {"type": "null"},
  "prompt": {"type": "null"}})";

constexpr std::string_view kMessagesMembers = R"({
  "messages": {"type": "array", "minItems": 1, "items": {"type": "object",
    "required": ["role", "content"], "properties": {
      "role": {"enum": ["user", "assistant", "system", "ctx", "msg"]},
      "content": {"type": ["string", "array"]}}}},
  "system": {"type": ["string", "array", "null"]},
  "tools": {"type": ["array", "null"], "items": {"type": "object", "required": ["name"],
    "properties": {"name": {"type": "string"}}}},
  "tool_choice": {"type": ["object", "null"]}, "thinking": {"type": ["object", "null"]},
  "output_config": {"type": ["object", "null"]}, "output_format": {"type": ["object", "null"]},
  "chat_template_kwargs": {"type": ["object", "null"]},
  "stop_sequences": {"type": ["array", "null"], "items": {"type": "string", "minLength": 1}},
  "metadata": {"type": ["object", "null"]}, "context_management": true,
  "cache_control": {"$ref": "#/components/schemas/CacheControl"},
  "service_tier": {"enum": ["auto", "standard_only", "default", null]},
  "container": {"type": "null"}, "inference_geo": {"type": "null"},
  "mcp_servers": {"enum": [[], null]}, "speed": {"enum": ["standard", null]}})";

// Makes schemas of the values that parameters take. Each of them may be null.
class Schemas {
 public:
  Schemas(const ServedModel& model, const ServerLimits& limits) : model_(model), limits_(limits) {}

  json::object of(std::string_view name, const std::optional<Integer>&) const {
    json::object schema = nullable("integer");
    const std::optional<IntegerRange> range = integer_range(name, model_, limits_);
    if (range) {
      schema["minimum"] = range->low;
      schema["maximum"] = range->high;
    }
    if (name == "truncate_prompt_tokens") schema["not"] = {{"const", 0}};
    return schema;
  }

  json::object of(std::string_view name, const std::optional<double>&) const {
    json::object schema = nullable("number");
    const std::optional<RealRange> range = real_range(name);
    if (range) {
      schema[range->low_is_outside ? "exclusiveMinimum" : "minimum"] = range->low;
      schema["maximum"] = range->high;
    }
    return schema;
  }

  json::object of(std::string_view, const std::optional<bool>&) const {
    return nullable("boolean");
  }

  json::object of(std::string_view name, const std::optional<std::string>&) const {
    json::object schema = nullable("string");
    if (name == "truncation_side") schema = {{"enum", json::array{"left", "right", nullptr}}};
    if (name == "cache_salt") schema["minLength"] = 1;
    return schema;
  }

  json::object of(std::string_view, const std::optional<std::vector<std::string>>&) const {
    const json::object text = {{"type", "string"}, {"minLength", 1}};
    json::object list = nullable("array");
    list["items"] = text;
    list["maxItems"] = limits_.stop_strings;
    return {{"anyOf", json::array{text, list}}};
  }

  json::object of(std::string_view, const std::optional<std::vector<Integer>>&) const {
    json::object schema = nullable("array");
    schema["items"] = token_id();
    schema["maxItems"] = limits_.stop_token_ids;
    return schema;
  }

  json::object of(std::string_view, const std::optional<LogitBias>&) const {
    json::object schema = nullable("object");
    schema["propertyNames"] = {{"pattern", "^[0-9]+$"}};
    schema["additionalProperties"] = {{"type", "number"}, {"minimum", -100}, {"maximum", 100}};
    schema["maxProperties"] = limits_.logit_bias_entries;
    return schema;
  }

  json::object of(std::string_view, const std::optional<StreamOptions>&) const {
    json::object members;
    for (const char* name : {"include_usage", "continuous_usage_stats", "include_obfuscation"}) {
      members[name] = nullable("boolean");
    }
    json::object schema = nullable("object");
    schema["properties"] = std::move(members);
    return schema;
  }

  json::object of(std::string_view, const std::optional<Metadata>&) const {
    json::object schema = nullable("object");
    schema["additionalProperties"] = {{"type", "string"}};
    schema["maxProperties"] = limits_.metadata_pairs;
    return schema;
  }

  json::object of(std::string_view, const std::optional<ResponseFormat>&) const {
    return json::parse(kResponseFormat).get_object();
  }

  json::object of(std::string_view, const std::optional<StructuredForms>&) const {
    return json::parse(kForms).get_object();
  }

  static json::object nullable(std::string_view type) {
    return {{"type", json::array{type, "null"}}};
  }

  json::object token_id() const {
    return {{"type", "integer"}, {"minimum", 0}, {"maximum", model_.vocab_size - 1}};
  }

  // Returns the schema of a prompt: a text, token ids, or a list of either.
  json::object prompt(int most) const {
    const json::object text = {{"type", "string"}};
    const json::object ids = {{"type", "array"}, {"minItems", 1}, {"items", token_id()}};
    const auto list_of = [&](const json::object& items) {
      return json::object{{"type", "array"}, {"minItems", 1}, {"maxItems", most}, {"items", items}};
    };
    return {{"anyOf", json::array{text, list_of(text), ids, list_of(ids)}}};
  }

 private:
  const ServedModel& model_;
  const ServerLimits& limits_;
};

// A member that is not described may only be null.
json::object object_of(json::object properties, json::array required) {
  return {{"type", "object"},
          {"required", std::move(required)},
          {"properties", std::move(properties)},
          {"additionalProperties", {{"type", "null"}}}};
}

// Adds the names that forms of answers have beside structured_outputs.
void add_forms(json::object* properties) {
  const json::value forms = json::parse(kForms).at("properties");
  for (const FormName& one : form_names()) (*properties)[one.name] = forms.at(one.form);
  (*properties)["guided_json_object"] = Schemas::nullable("boolean");
}

// Adds the parameters of which only some values are accepted.
void add_unserved(Interface interface, json::object* properties) {
  for (const UnservedParameter& one : unserved_parameters(interface)) {
    if (one.neutral == kAnyValue) {
      (*properties)[one.name] = json::object{};
      continue;
    }
    json::array values = neutral_values(one);
    values.emplace_back(nullptr);
    (*properties)[one.name] = {{"enum", std::move(values)}};
  }
}

void add_chat(const Schemas& schemas, json::object* properties) {
  for (const ParameterRule& rule : chat_prompt_rules()) (*properties)[rule.name] = json::object{};
  const ChatPrompt prompt;
  for_each_chat_parameter(prompt, [&](const ParameterNames& names, const auto& member) {
    (*properties)[names.chat] = schemas.of(names.chat, member);
  });
  (*properties)["tools"] = Schemas::nullable("array");
  (*properties)["chat_template_kwargs"] = Schemas::nullable("object");
  (*properties)["tools"].get_object()["items"] = {{"type", "object"}};
  (*properties)["tool_choice"] = {{"type", json::array{"string", "object", "null"}}};
  (*properties)["messages"] = json::parse(kMessages);
}

// Says that only one of two names of a member may be there.
json::object not_both(const RenamedMember& names) {
  const json::object given = {{"not", {{"type", "null"}}}};
  json::object both = {{"required", json::array{names.chat, names.own}}};
  both["properties"] = json::object{{names.chat, given}, {names.own, given}};
  return {{"not", std::move(both)}};
}

// Returns the schema of an API that is translated to a chat: its own members, and the parameters
// that it shares with a chat, some of which have an own name, too.
json::object turn_schema(std::string_view own, std::string_view required,
                         std::span<const RenamedMember> renamed, const ServedModel& model,
                         const ServerLimits& limits) {
  const Schemas schemas(model, limits);
  json::object properties;
  const Parameters parameters;
  for_each_parameter(parameters, [&](const ParameterNames& names, const auto& member) {
    if (!names.chat.empty()) properties[names.chat] = schemas.of(names.chat, member);
  });
  add_forms(&properties);
  add_unserved(Interface::kChat, &properties);
  for (const UnservedParameter& one : refused_of_turns()) {
    json::array values = neutral_values(one);
    values.emplace_back(nullptr);
    properties[one.name] = {{"enum", std::move(values)}};
  }
  json::object described = json::parse(own).get_object();
  for (auto& [name, schema] : described) properties[name] = std::move(schema);
  json::array once;
  for (const RenamedMember& one : renamed) {
    if (properties.contains(one.chat)) once.emplace_back(not_both(one));
  }
  json::object schema = object_of(std::move(properties), {required});
  schema["allOf"] = std::move(once);
  return schema;
}

}  // namespace

json::object generation_schema(Interface interface, const ServedModel& model,
                               const ServerLimits& limits) {
  const Schemas schemas(model, limits);
  json::object properties;
  const bool chat = interface == Interface::kChat;
  if (chat) {
    add_chat(schemas, &properties);
  } else {
    properties["prompt"] = schemas.prompt(limits.prompts);
  }
  const Parameters parameters;
  for_each_parameter(parameters, [&](const ParameterNames& names, const auto& member) {
    const std::string_view name = names.of(interface);
    if (!name.empty()) properties[name] = schemas.of(name, member);
  });
  add_forms(&properties);
  add_unserved(interface, &properties);
  return object_of(std::move(properties), {chat ? "messages" : "prompt"});
}

json::object embeddings_schema(const ServedModel& model, const ServerLimits& limits) {
  const Schemas schemas(model, limits);
  json::object properties;
  const Parameters parameters;
  for_each_parameter(parameters, [&](const ParameterNames& names, const auto& member) {
    const std::string_view name = names.embeddings;
    if (!name.empty()) properties[name] = schemas.of(name, member);
  });
  add_unserved(Interface::kEmbeddings, &properties);
  properties["input"] = schemas.prompt(limits.embedding_inputs);
  properties["encoding_format"] = {{"enum", json::array{"float", "base64", nullptr}}};
  return object_of(std::move(properties), {"input"});
}

json::object responses_schema(const ServedModel& model, const ServerLimits& limits) {
  return turn_schema(kResponsesMembers, "input", responses_names(), model, limits);
}

json::object messages_schema(const ServedModel& model, const ServerLimits& limits) {
  return turn_schema(kMessagesMembers, "messages", messages_names(), model, limits);
}

json::object tokenize_schema(const ServedModel& model, const ServerLimits& limits) {
  json::object properties;
  add_chat(Schemas(model, limits), &properties);
  properties["model"] = Schemas::nullable("string");
  properties["prompt"] = Schemas::nullable("string");
  properties["add_special_tokens"] = Schemas::nullable("boolean");
  properties["return_token_strs"] = Schemas::nullable("boolean");
  properties["split_special_tokens"] = Schemas::nullable("boolean");
  // A null member counts as absent, so the schema must allow both names.
  json::object& messages = properties.at("messages").as_object();
  messages["type"] = json::array{messages.at("type"), "null"};
  json::object schema = object_of(std::move(properties), {});
  const json::object text{{"type", "string"}}, list{{"type", "array"}};
  schema["anyOf"] =
      json::array{{{"required", json::array{"prompt"}}, {"properties", {{"prompt", text}}}},
                  {{"required", json::array{"messages"}}, {"properties", {{"messages", list}}}}};
  return schema;
}

json::object detokenize_schema(const ServedModel& model, const ServerLimits& limits) {
  const Schemas schemas(model, limits);
  json::object properties;
  properties["model"] = Schemas::nullable("string");
  properties["tokens"] = {{"type", "array"}, {"items", schemas.token_id()}};
  properties["skip_special_tokens"] = Schemas::nullable("boolean");
  return object_of(std::move(properties), {"tokens"});
}

json::object empty_schema(const ServedModel&, const ServerLimits&) {
  return object_of({}, {});
}

}  // namespace deltaserve
