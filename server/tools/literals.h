// Reads arguments that models do not write as JSON: literals in Python's spelling, or raw text
// whose type is in the tool's schema.
#pragma once
#include <boost/json/array.hpp>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace deltaserve {

// Returns the JSON of a literal in JSON or Python (strings in either quotation marks, True, None,
// lists, tuples, dictionaries); nullopt for anything else.
std::optional<std::string> literal_to_json(std::string_view text);

// The types that a schema allows for an argument.
struct ArgumentType {
  bool string = false;
  bool boolean = false;
  bool integer = false;
  bool number = false;
  bool null = false;
  bool object = false;
  bool array = false;

  // Returns true if the schema names no type.
  bool any() const { return *this == ArgumentType(); }
  // Returns true if every text is valid for the argument, unchanged.
  bool only_string() const { return *this == ArgumentType{.string = true}; }
  bool operator==(const ArgumentType&) const = default;
};

// Returns the JSON of an argument that was written as raw text: the text is read as JSON or Python
// if that fits the type, and is else a string.
std::string argument_to_json(const ArgumentType& type, std::string_view text);

// The types of the arguments of a request's tools, which readers of calls need.
class ToolArguments {
 public:
  ToolArguments() = default;
  // `tools` is the list of a request.
  explicit ToolArguments(const boost::json::array& tools);

  bool has_tool(std::string_view name) const { return tools_.find(name) != tools_.end(); }
  // Returns the type of an argument; any type if the schema does not have the argument.
  ArgumentType type_of(std::string_view tool, std::string_view argument) const;

 private:
  using Types = std::map<std::string, ArgumentType, std::less<>>;
  std::map<std::string, Types, std::less<>> tools_;
};

}  // namespace deltaserve
