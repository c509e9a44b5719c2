#include "server/tools/tool_list.h"

#include <algorithm>
#include <set>
#include <string_view>

#include "absl/strings/ascii.h"
#include "models/base/json_numbers.h"
#include "models/base/text.h"
#include "server/base/shown_value.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr size_t kMostNameBytes = 64;

std::string_view string_in(const json::value& value) {
  return {value.get_string().data(), value.get_string().size()};
}

bool is_tool_name(std::string_view name) {
  return !name.empty() && name.size() <= kMostNameBytes &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isalnum(c) || c == '_' || c == '-' || c == '.';
         });
}

// Returns a member that is there and not null.
const json::value* member(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains({key.data(), key.size()});
  return value == nullptr || value->is_null() ? nullptr : value;
}

std::string complaint_about_function(const json::object& function, const std::string& place,
                                     std::set<std::string_view>* names) {
  const json::value* name = member(function, "name");
  if (name == nullptr) return place + ".name is required";
  if (!name->is_string() || !is_tool_name(string_in(*name))) {
    return str_cat(place, ".name must have 1 to ", kMostNameBytes,
                   " letters, digits, underscores, dashes and dots",
                   name->is_string() ? str_cat(", not ", quoted(string_in(*name))) : "");
  }
  if (!names->insert(string_in(*name)).second) {
    return str_cat(place, ".name ", quoted(string_in(*name)), " is that of an earlier tool");
  }
  const json::value* description = member(function, "description");
  if (description != nullptr && !description->is_string()) {
    return str_cat(place, ".description must be a string, not ", shown(*description));
  }
  const json::value* parameters = member(function, "parameters");
  if (parameters != nullptr && !is_json_object(*parameters)) {
    return str_cat(place, ".parameters must be an object, a JSON schema, not ", shown(*parameters));
  }
  const json::value* strict = member(function, "strict");
  if (strict != nullptr && !strict->is_bool()) {
    return str_cat(place, ".strict must be true or false, not ", shown(*strict));
  }
  return "";
}

}  // namespace

std::string complaint_about_tools(const json::value& tools) {
  if (tools.is_null()) return "";
  std::set<std::string_view> names;
  for (size_t i = 0; i < tools.get_array().size(); ++i) {
    const std::string place = str_cat("tools[", i, "]");
    const json::value& tool = tools.get_array()[i];
    if (!is_json_object(tool)) return str_cat(place, " must be an object, not ", shown(tool));
    const json::value* type = member(tool.get_object(), "type");
    if (type != nullptr && *type != "function") {
      return str_cat(place, ".type must be \"function\", not ", shown(*type));
    }
    const json::value* function = member(tool.get_object(), "function");
    if (function == nullptr) return place + ".function is required";
    if (!is_json_object(*function)) {
      return str_cat(place, ".function must be an object, not ", shown(*function));
    }
    std::string complaint =
        complaint_about_function(function->get_object(), place + ".function", &names);
    if (!complaint.empty()) return complaint;
  }
  return "";
}

std::string complaint_about_choice(const ToolChoice& choice, const json::value& tools) {
  const bool forced =
      choice.mode == ToolChoice::Mode::kRequired || choice.mode == ToolChoice::Mode::kNamed;
  if (tools.is_null()) return forced ? "tool_choice needs tools, and the request has none" : "";
  for (const std::string& name : choice.names) {
    const auto is_it = [&](const json::value& tool) {
      return tool.at("function").at("name") == json::string_view(name);
    };
    if (std::none_of(tools.get_array().begin(), tools.get_array().end(), is_it)) {
      return str_cat("tool_choice names the function ", quoted(name), ", which is not in tools");
    }
  }
  return "";
}

}  // namespace deltaserve
