// These functions are shared by the APIs that are translated to chats. An API builds the members of
// a chat, which are then checked like those of a chat, with the API's own names in the errors.
#pragma once
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/openai/field_reader.h"
#include "server/openai/unserved_parameters.h"
#include "server/service/generation_request.h"

namespace deltaserve {

// A member of a chat, and the API's own name for it.
struct RenamedMember {
  std::string_view chat;
  std::string_view own;
};

// Reads a body that may have the members `own`, and those of a chat that mean the same in every API
// ("temperature").
[[nodiscard]] std::optional<ApiError> read_translated_body(std::string_view text,
                                                           std::span<const ParameterRule> own,
                                                           const ServerLimits& limits,
                                                           boost::json::object* body);

// Refuses a member that has both of its names.
void refuse_two_names(FieldReader& fields, std::span<const RenamedMember> names);

// Completes the request of the chat with the members `chat`. Members that a turn cannot have
// (several choices, log-probabilities) are refused; errors have the API's own names.
[[nodiscard]] std::optional<ApiError> complete_translated_chat(boost::json::object chat,
                                                               std::span<const RenamedMember> names,
                                                               const ServedModel& model,
                                                               const ServerLimits& limits,
                                                               GenerationRequest* request);

// Returns the members of a chat that are refused there, unless they ask for nothing.
std::span<const UnservedParameter> refused_of_turns();

// Returns a string of an object; empty if it has none.
std::string_view text_member(const boost::json::object& object, std::string_view name);

// Whether a member of an object is a string.
bool has_text(const boost::json::object& object, std::string_view name);

// Takes a member out of an object; null if it is absent.
boost::json::value take_member(boost::json::object* object, std::string_view name);

}  // namespace deltaserve
