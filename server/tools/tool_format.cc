#include "server/tools/tool_format.h"

#include <algorithm>
#include <iterator>

namespace deltaserve {
namespace {

// The signs by which the source of a template shows a format: it contains all of `has`, none of
// `has_not` and, if `list_behind` is not empty, that text with `[` after it.
struct Signs {
  std::vector<std::string_view> has;
  std::vector<std::string_view> has_not = {};
  std::string_view list_behind = {};
};

struct KnownFormat {
  Signs signs;
  ToolFormat format;
};

bool contains(std::string_view source, std::string_view text) {
  return source.find(text) != std::string_view::npos;
}

// Returns true if `text` is followed by `[`, with white space or the escape of a newline between.
bool has_list_behind(std::string_view source, std::string_view text) {
  for (size_t at = source.find(text); at != source.npos; at = source.find(text, at + 1)) {
    size_t next = at + text.size();
    while (next < source.size()) {
      if (source.substr(next, 2) == "\\n") {
        next += 2;
      } else if (source[next] == ' ' || source[next] == '\n') {
        ++next;
      } else {
        break;
      }
    }
    if (next < source.size() && source[next] == '[') return true;
  }
  return false;
}

bool shows(std::string_view source, const Signs& signs) {
  const auto in_source = [&](std::string_view text) { return contains(source, text); };
  return std::all_of(signs.has.begin(), signs.has.end(), in_source) &&
         std::none_of(signs.has_not.begin(), signs.has_not.end(), in_source) &&
         (signs.list_behind.empty() || has_list_behind(source, signs.list_behind));
}

constexpr std::string_view kDeepSeekCalls = "<｜tool▁calls▁begin｜>";

std::vector<KnownFormat> header_formats() {
  const ToolFormat kimi = {.name = "kimi_k2",
                           .syntax = CallSyntax::kHeader,
                           .ids = CallIdShape::kFunctions,
                           .section_begin = "<|tool_calls_section_begin|>",
                           .section_end = "<|tool_calls_section_end|>",
                           .call_begin = "<|tool_call_begin|>",
                           .call_end = "<|tool_call_end|>",
                           .name_open = "functions.",
                           .id_open = ":",
                           .arguments_open = "<|tool_call_argument_begin|>"};
  const ToolFormat deepseek = {.name = "deepseek_v3_1",
                               .syntax = CallSyntax::kHeader,
                               .section_begin = std::string(kDeepSeekCalls),
                               .section_end = "<｜tool▁calls▁end｜>",
                               .call_begin = "<｜tool▁call▁begin｜>",
                               .call_end = "<｜tool▁call▁end｜>",
                               .arguments_open = "<｜tool▁sep｜>"};
  ToolFormat fenced = deepseek;
  fenced.name = "deepseek_v3";
  fenced.between = "\n";
  fenced.name_open = "function<｜tool▁sep｜>";
  fenced.arguments_open = "\n```json\n";
  fenced.arguments_close = "\n```";
  const ToolFormat mistral = {.name = "mistral_v13",
                              .syntax = CallSyntax::kHeader,
                              .ids = CallIdShape::kNine,
                              .call_begin = "[TOOL_CALLS]",
                              .arguments_open = "[ARGS]"};
  ToolFormat with_id = mistral;
  with_id.name = "mistral_v11";
  with_id.id_open = "[CALL_ID]";
  return {{{{"<|tool_calls_section_begin|>"}}, kimi},
          {{{kDeepSeekCalls, "```json"}}, fenced},
          {{{kDeepSeekCalls}}, deepseek},
          {{{"[TOOL_CALLS]", "[CALL_ID]"}}, with_id},
          {{{"[TOOL_CALLS]", "[ARGS]"}}, mistral}};
}

std::vector<KnownFormat> tag_formats() {
  const ToolFormat glm = {.name = "glm_4_7",
                          .syntax = CallSyntax::kTags,
                          .call_begin = "<tool_call>",
                          .call_end = "</tool_call>",
                          .key_open = "<arg_key>",
                          .key_close = "</arg_key>",
                          .value_open = "<arg_value>",
                          .value_close = "</arg_value>"};
  ToolFormat in_lines = glm;
  in_lines.name = "glm_4_5";
  in_lines.between = "\n";
  in_lines.gap = "\n";
  const ToolFormat coder = {.name = "qwen3_coder",
                            .syntax = CallSyntax::kTags,
                            .call_begin = "<tool_call>",
                            .call_end = "</tool_call>",
                            .between = "\n",
                            .gap = "\n",
                            .name_open = "<function=",
                            .name_close = ">",
                            .arguments_close = "</function>",
                            .key_open = "<parameter=",
                            .key_close = ">",
                            .value_close = "</parameter>",
                            .value_in_lines = true};
  return {{{{"<arg_key>", "</arg_key><arg_value>"}}, glm},
          {{{"<arg_key>", "'<tool_call>' + tc.name"}}, glm},
          {{{"<arg_key>"}}, in_lines},
          {{{"<function=", "<parameter="}}, coder}};
}

std::vector<KnownFormat> list_formats() {
  const ToolFormat mistral = {.name = "mistral_v3",
                              .syntax = CallSyntax::kJsonList,
                              .ids = CallIdShape::kNine,
                              .section_begin = "[TOOL_CALLS]",
                              .between = ", ",
                              .id_in_object = true};
  const ToolFormat granite = {.name = "granite_3",
                              .syntax = CallSyntax::kJsonList,
                              .section_begin = "<|tool_call|>",
                              .between = ", ",
                              .other_begins = {"<tool_call>"},
                              .other_ends = {"</tool_call>"}};
  const ToolFormat nemotron = {.name = "nemotron_nano_2",
                               .syntax = CallSyntax::kJsonList,
                               .section_begin = "<TOOLCALL>",
                               .section_end = "</TOOLCALL>",
                               .between = ", "};
  const ToolFormat jamba = {.name = "jamba",
                            .syntax = CallSyntax::kJsonList,
                            .section_begin = "<tool_calls>",
                            .section_end = "</tool_calls>",
                            .between = ",",
                            .list_indent = 4};
  const ToolFormat phi = {.name = "phi_4_mini",
                          .syntax = CallSyntax::kJsonList,
                          .section_begin = "functools",
                          .between = ", ",
                          .other_begins = {"<|tool_call|>"},
                          .other_ends = {"<|/tool_call|>"}};
  const ToolFormat falcon = {.name = "falcon_h1",
                             .syntax = CallSyntax::kJsonList,
                             .section_begin = "<tool_call>",
                             .section_end = "</tool_call>",
                             .between = ",",
                             .gap = "\n",
                             .list_indent = 2,
                             .indents_arguments = true};
  ToolFormat tags = phi;
  tags.name = "phi_4_mini_tags";
  tags.section_begin = "<|tool_call|>";
  tags.section_end = "<|/tool_call|>";
  tags.other_begins = {"functools"};
  tags.other_ends = {};
  return {{{{"[TOOL_CALLS]"}}, mistral},
          {{{"<|tool_call|>", "<|start_of_role|>"}}, granite},
          {{{"<TOOLCALL>"}}, nemotron},
          {{{"<tool_calls>"}, {"<tool_sep>"}}, jamba},
          {{{"functools["}}, phi},
          {{{"<|tool|>"}}, tags},
          {{{"<tool_call>", "tools|tojson(indent=2)"}}, falcon},
          {{{"<tool_call>"}, {}, "<tool_call>"}, falcon}};
}

std::vector<KnownFormat> other_formats() {
  const ToolFormat olmo = {.name = "olmo_3",
                           .syntax = CallSyntax::kPythonCalls,
                           .section_begin = "<function_calls>",
                           .section_end = "</function_calls>",
                           .between = "\n"};
  const ToolFormat hermes = {.name = "hermes",
                             .syntax = CallSyntax::kJsonObject,
                             .call_begin = "<tool_call>",
                             .call_end = "</tool_call>",
                             .between = "\n",
                             .gap = "\n"};
  const ToolFormat llama = {.name = "llama_3",
                            .syntax = CallSyntax::kBareJson,
                            .call_begin = "<|python_tag|>",
                            .between = "; ",
                            .arguments_key = "parameters"};
  return {{{{"<function_calls>"}}, olmo},
          {{{"<tool_call>"}}, hermes},
          {{{"<|start_header_id|>", "\"parameters"}}, llama}};
}

// The formats in the order in which a template is searched for them: the signs of later ones may
// be in templates of earlier ones, too. A format may have several signs.
const std::vector<KnownFormat>& known_formats() {
  static const std::vector<KnownFormat> kKnown = [] {
    std::vector<KnownFormat> known;
    for (const auto& formats : {header_formats, tag_formats, list_formats, other_formats}) {
      std::vector<KnownFormat> more = formats();
      std::move(more.begin(), more.end(), std::back_inserter(known));
    }
    return known;
  }();
  return kKnown;
}

}  // namespace

std::vector<std::string> tool_format_names() {
  std::vector<std::string> names;
  for (const KnownFormat& known : known_formats()) {
    if (std::find(names.begin(), names.end(), known.format.name) == names.end()) {
      names.push_back(known.format.name);
    }
  }
  return names;
}

const ToolFormat* find_tool_format(std::string_view name) {
  for (const KnownFormat& known : known_formats()) {
    if (known.format.name == name) return &known.format;
  }
  return nullptr;
}

const ToolFormat* recognise_tool_format(std::string_view template_source) {
  for (const KnownFormat& known : known_formats()) {
    if (shows(template_source, known.signs)) return &known.format;
  }
  return nullptr;
}

}  // namespace deltaserve
