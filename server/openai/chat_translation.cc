#include "server/openai/chat_translation.h"

#include <utility>
#include <vector>

#include "models/base/text.h"
#include "server/openai/chat_api.h"
#include "server/openai/json_parameters.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

// The members of a chat whose results cannot be shown in the answer of a turn.
constexpr UnservedParameter kNotOfTurns[] = {
    {"n", "[1]"},        {"logprobs", "[false]"},         {"top_logprobs", "[0]"},
    {"prompt_logprobs"}, {"return_token_ids", "[false]"}, {"return_tokens_as_token_ids", "[false]"},
};

// Members of a chat for which turns have means of their own, or none; the last is vLLM's. Clients
// send their defaults.
constexpr UnservedParameter kNotAsked[] = {
    {"add_generation_prompt", "[true]"}, {"continue_final_message", "[false]"},
    {"include_reasoning", "[true]"},     {"stream_reasoning", "[true]"},
    {"separate_reasoning", "[true]"},    {"enable_response_messages", "[false]"},
};

// Replaces the chat's name of a member in an error by the API's own name.
ApiError renamed(ApiError error, std::span<const RenamedMember> names) {
  for (const RenamedMember& one : names) {
    if (error.param != one.chat) continue;
    error.param = one.own;
    if (error.message.starts_with(one.chat)) error.message.replace(0, one.chat.size(), one.own);
    break;
  }
  return error;
}

}  // namespace

std::optional<ApiError> read_translated_body(std::string_view text,
                                             std::span<const ParameterRule> own,
                                             const ServerLimits& limits, json::object* body) {
  static const std::vector<ParameterRule> kShared = [] {
    auto rules = parameter_rules(Interface::kChat, unserved_parameters(Interface::kChat));
    for (const UnservedParameter& one : kNotAsked) rules.push_back({one.name});
    return rules;
  }();
  RequestBody read;
  if (auto error = read_request_body(text, {own, kShared, ""}, limits, &read)) return error;
  *body = std::move(read.fields);
  FieldReader fields(*body, limits);
  for (const UnservedParameter& one : kNotAsked) {
    fields.only_neutral(one.name, neutral_values(one));
  }
  if (fields.error()) return fields.error();
  for (const UnservedParameter& one : kNotAsked) body->erase(one.name);
  return std::nullopt;
}

void refuse_two_names(FieldReader& fields, std::span<const RenamedMember> names) {
  for (const RenamedMember& member : names) {
    if (fields.find(member.chat) == nullptr || fields.find(member.own) == nullptr) continue;
    fields.fail(member.chat, str_cat("is a chat's name for ", member.own, ", which is there, too"));
  }
}

std::optional<ApiError> complete_translated_chat(json::object chat,
                                                 std::span<const RenamedMember> names,
                                                 const ServedModel& model,
                                                 const ServerLimits& limits,
                                                 GenerationRequest* request) {
  FieldReader fields(chat, limits);
  for (const UnservedParameter& one : kNotOfTurns) {
    fields.only_neutral(one.name, neutral_values(one));
  }
  if (fields.error()) return renamed(*fields.error(), names);
  for (const UnservedParameter& one : kNotOfTurns) chat.erase(one.name);
  auto error = complete_chat(chat, model, limits, request);
  if (!error) return std::nullopt;
  return renamed(*std::move(error), names);
}

std::span<const UnservedParameter> refused_of_turns() {
  static const std::vector<UnservedParameter> kAll = [] {
    std::vector<UnservedParameter> all(std::begin(kNotOfTurns), std::end(kNotOfTurns));
    all.insert(all.end(), std::begin(kNotAsked), std::end(kNotAsked));
    return all;
  }();
  return kAll;
}

std::string_view text_member(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_string() ? view(value->get_string()) : std::string_view();
}

bool has_text(const json::object& object, std::string_view name) {
  const json::value* value = object.if_contains(name);
  return value != nullptr && value->is_string();
}

json::value take_member(json::object* object, std::string_view name) {
  const auto found = object->find(name);
  if (found == object->end()) return nullptr;
  json::value value = std::move(found->value());
  object->erase(found);
  return value;
}

}  // namespace deltaserve
