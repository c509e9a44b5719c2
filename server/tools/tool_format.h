// A ToolFormat describes how a family of models writes tool calls. A published model has one
// format, which its chat template shows. The formats are instances of six syntaxes, and there is
// one reader and one grammar per syntax.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace deltaserve {

// The shape of a call between its markers. `~` means ToolFormat::gap.
enum class CallSyntax : uint8_t {
  kJsonObject,  // call_begin ~ {"name": NAME, arguments_key: JSON} ~ call_end, for each call
  kJsonList,    // section_begin ~ [OBJECT, OBJECT] ~ section_end, objects as above
  kBareJson,    // the object alone, perhaps with call_begin before it
  kHeader,      // call_begin name_open NAME id_open ID arguments_open JSON arguments_close call_end
  kTags,        // call_begin ~ name_open NAME name_close ~ ARGUMENT* arguments_close ~ call_end,
                // where ARGUMENT is key_open KEY key_close ~ value_open VALUE value_close ~
  kPythonCalls,  // section_begin NAME(KEY=VALUE, KEY=VALUE) section_end, VALUE in JSON
};

// CallIdShape says what ids of calls look like.
enum class CallIdShape : uint8_t {
  kAny,        // "call_" and 24 letters and digits
  kNine,       // nine letters and digits: templates of Mistral refuse others
  kFunctions,  // "functions.NAME:N", where N counts the calls of the conversation
};

// Markers are given without the white space around them. An empty text means that there is no such
// marker.
struct ToolFormat {
  std::string name = {};  // for --tool-format
  CallSyntax syntax = CallSyntax::kJsonObject;
  CallIdShape ids = CallIdShape::kAny;

  std::string section_begin = {};  // before the first call of an answer
  std::string section_end = {};    // after the last
  std::string call_begin = {};     // before each call
  std::string call_end = {};       // after each
  std::string between = {};        // what is written between two calls
  std::string gap = {};            // white space that is written inside the markers

  std::string arguments_key = "arguments";  // in JSON objects
  bool id_in_object = false;                // objects may have an "id" after the arguments
  int list_indent = -1;  // JSON is written in lines indented by this many spaces; -1: in one line
  bool indents_arguments = false;  // the objects of such a list are written in lines, too

  std::string name_open = {};
  std::string name_close = {};
  std::string id_open = {};
  std::string arguments_open = {};
  std::string arguments_close = {};
  std::string key_open = {};
  std::string key_close = {};
  std::string value_open = {};
  std::string value_close = {};
  bool value_in_lines = false;  // a VALUE has the gap on both sides, and it is no part of it

  // Other texts with which models of this format begin or end a call.
  std::vector<std::string> other_begins = {};
  std::vector<std::string> other_ends = {};
};

// Returns the names of all formats.
std::vector<std::string> tool_format_names();

// Returns the format of that name, or null.
const ToolFormat* find_tool_format(std::string_view name);

// Returns the format that the source of a chat template shows, or null.
const ToolFormat* recognise_tool_format(std::string_view template_source);

}  // namespace deltaserve
