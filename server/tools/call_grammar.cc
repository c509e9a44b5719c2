#include "server/tools/call_grammar.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/grammar/grammar_parts.h"
#include "engine/grammar/json_rules.h"
#include "engine/grammar/json_schema.h"
#include "engine/grammar/regex_parser.h"
#include "models/base/text.h"

namespace deltaserve {
namespace {

namespace json = boost::json;
using grammar::ExprId;
using ExprOr = absl::StatusOr<ExprId>;
using Markers = std::vector<std::string>;

// A line break or a space, which models sometimes add and sometimes leave out.
constexpr std::string_view kGap = "(?:\\r?\\n| )?";
constexpr std::string_view kLead = "(?: |\\r?\\n){0,3}";
constexpr std::string_view kNineLettersOrDigits = "[A-Za-z0-9]{9}";

struct Tool {
  std::string name;
  json::value parameters;  // a schema of objects
  bool strict = false;
};

std::vector<Tool> tools_of(const json::array& list) {
  std::vector<Tool> tools;
  for (const json::value& value : list) {
    const json::object& function = value.at("function").get_object();
    Tool tool;
    tool.name = std::string(function.at("name").get_string());
    const json::value* strict = function.if_contains("strict");
    tool.strict = strict != nullptr && *strict == json::value(true);
    const json::value* parameters = function.if_contains("parameters");
    if (parameters == nullptr || parameters->is_null()) {
      tool.parameters = json::object{{"type", "object"}, {"additionalProperties", false}};
    } else {
      json::object schema = parameters->get_object();
      const bool names_types = schema.contains("type") || schema.contains("$ref");
      if (!names_types) schema["type"] = "object";
      tool.parameters = std::move(schema);
    }
    tools.push_back(std::move(tool));
  }
  return tools;
}

// Builds the expressions of one grammar.
class AnswerGrammar {
 public:
  // `any_arguments`: arguments are any objects.
  AnswerGrammar(const AnswerDemand& demand, bool any_arguments)
      : demand_(demand),
        markup_(*demand.markup),
        tools_(tools_of(demand.tools)),
        any_arguments_(any_arguments),
        json_(&rules_, space_of(demand)) {}

  ExprOr build(const AddForm& form) {
    std::optional<ExprId> content;
    if (form != nullptr) {
      ExprOr added = form(&rules_);
      if (!added.ok()) return added;
      content = *added;
    }
    if (tools_.empty()) return behind_reasoning({}, *content);
    ExprOr calls = all_calls();
    if (!calls.ok()) return calls;
    if (demand_.must_call) return behind_reasoning(*calls, std::nullopt);
    if (content) return behind_reasoning(*calls, content);
    return between_free_text(*calls);
  }

  grammar::RuleSet* rules() { return &rules_; }

 private:
  const ToolFormat& format() const { return *markup_.tools(); }

  ExprId joined(std::initializer_list<ExprId> parts) {
    return rules_.concat(std::vector<ExprId>(parts));
  }
  ExprId any_of(std::initializer_list<ExprId> choices) {
    return rules_.alternate(std::vector<ExprId>(choices));
  }
  ExprId marker(std::string_view text) { return rules_.literal(markup_.in_grammar(text)); }
  ExprId regex(std::string_view source) { return grammar::builtin_regex(source, &rules_); }
  ExprId gap() { return regex(kGap); }
  ExprId any_of_markers(const Markers& markers) {
    std::vector<ExprId> choices;
    for (const std::string& text : markers) choices.push_back(marker(text));
    return rules_.alternate(choices);
  }
  ExprId text_without(const Markers& markers) {
    Markers in_grammar;
    for (const std::string& text : markers) in_grammar.push_back(markup_.in_grammar(text));
    return grammar::add_free_text(in_grammar, &rules_);
  }

  static JsonSpace space_of(const AnswerDemand& demand) {
    return demand.must_call ? JsonSpace::kLines : JsonSpace::kLoose;
  }

  // ---- Answers

  ExprId between_free_text(ExprId calls) {
    const ExprId text = text_without(begins_);
    if (demand_.only_one) return joined({text, rules_.optional(calls)});
    return joined({text, rules_.repeat(joined({calls, text}), 0, grammar::kUnlimited)});
  }

  // Puts calls or the content after the reasoning, if there may be some. A call may also begin in
  // the reasoning and ends it.
  ExprId behind_reasoning(std::optional<ExprId> calls, std::optional<ExprId> content) {
    std::vector<ExprId> bodies;
    if (calls) bodies.push_back(joined({regex(kLead), *calls, gap()}));
    if (content) bodies.push_back(*content);
    const ExprId body = rules_.alternate(bodies);
    const auto& reasoning = markup_.reasoning();
    if (!demand_.reads_reasoning || !reasoning || demand_.start == ReasoningStart::kNone) {
      return body;
    }
    Markers ends = reasoning->closes;
    if (calls) ends.insert(ends.end(), begins_.begin(), begins_.end());
    std::vector<ExprId> after{joined({any_of_markers(reasoning->closes), regex(kLead), body})};
    if (calls) after.push_back(joined({*calls, gap()}));
    const ExprId block = joined({text_without(ends), rules_.alternate(after)});
    if (demand_.start == ReasoningStart::kOpen) return block;
    return any_of({body, joined({regex(kLead), any_of_markers(reasoning->opens), block})});
  }

  // ---- Calls

  ExprOr all_calls() {
    switch (format().syntax) {
      case CallSyntax::kJsonObject: return json_objects();
      case CallSyntax::kJsonList: return json_lists();
      case CallSyntax::kBareJson: return bare_json();
      case CallSyntax::kHeader: return headers();
      case CallSyntax::kTags: return tags();
      case CallSyntax::kPythonCalls: return python_calls();
    }
    return absl::InternalError("unknown syntax of calls");
  }

  // Returns one item, or several if the request permits them. If text between calls is free, the
  // next call begins with its own marker.
  ExprId one_or_more(ExprId item, ExprId separator) {
    if (demand_.only_one) return item;
    return joined({item, rules_.repeat(joined({separator, item}), 0, grammar::kUnlimited)});
  }
  bool has_several_markers() const { return demand_.must_call && !demand_.only_one; }

  bool is_lenient(const Tool& tool) const { return !demand_.must_call && !tool.strict; }

  SchemaOptions options_of(const Tool& tool) const {
    return {.space = space_of(demand_), .any_order = !tool.strict, .lenient = is_lenient(tool)};
  }

  static absl::Status at_tool(size_t index, const absl::Status& status) {
    return prefixed(str_cat("tools[", index, "].function.parameters"), status);
  }

  ExprOr arguments(size_t index) {
    const Tool& tool = tools_[index];
    if (any_arguments_ && is_lenient(tool)) return rules_.call(json_.any_object());
    absl::StatusOr<grammar::RuleId> rule =
        grammar::add_schema_rules(tool.parameters, options_of(tool), &rules_);
    if (!rule.ok()) return at_tool(index, rule.status());
    return rules_.call(*rule);
  }

  // Returns the alternative of one expression for each tool.
  template <class Build>
  ExprOr for_each_tool(const Build& build) {
    std::vector<ExprId> choices;
    for (size_t i = 0; i < tools_.size(); ++i) {
      ExprOr one = build(i);
      if (!one.ok()) return one;
      choices.push_back(*one);
    }
    return rules_.alternate(choices);
  }

  ExprId member(std::string_view name) {
    return joined({rules_.literal(grammar::json_quoted(name)), json_.colon()});
  }

  // Returns what follows the name of a tool in the object of a call.
  ExprOr behind_name(size_t tool) {
    ExprOr written = arguments(tool);
    if (!written.ok()) return written;
    ExprId key = member(format().arguments_key);
    if (!demand_.must_call) key = any_of({member("arguments"), member("parameters")});
    ExprId id = rules_.literal("");
    if (format().id_in_object) {
      const ExprId value =
          joined({rules_.literal("\""), regex(kNineLettersOrDigits), rules_.literal("\"")});
      id = rules_.optional(joined({json_.comma(), member("id"), value}));
    }
    return joined({json_.comma(), key, *written, id, json_.space(), rules_.literal("}")});
  }

  ExprId quoted_name(size_t tool) {
    return rules_.literal(grammar::json_quoted(tools_[tool].name));
  }

  ExprOr json_call() {
    ExprOr behind = for_each_tool([&](size_t tool) -> ExprOr {
      ExprOr rest = behind_name(tool);
      if (!rest.ok()) return rest;
      return joined({quoted_name(tool), *rest});
    });
    if (!behind.ok()) return behind;
    ExprId type = rules_.literal("");
    if (format().syntax == CallSyntax::kBareJson) {
      type =
          rules_.optional(joined({member("type"), rules_.literal("\"function\""), json_.comma()}));
    }
    return joined({rules_.literal("{"), json_.space(), type, member("name"), *behind});
  }

  ExprOr json_objects() {
    begins_ = {format().call_begin};
    ExprOr call = json_call();
    if (!call.ok()) return call;
    const ExprId marked =
        joined({marker(format().call_begin), gap(), *call, gap(), marker(format().call_end)});
    return has_several_markers() ? one_or_more(marked, gap()) : marked;
  }

  ExprOr json_lists() {
    ExprOr call = json_call();
    if (!call.ok()) return call;
    const ExprId list =
        joined({rules_.literal("["), json_.space(), one_or_more(*call, json_.comma()),
                json_.space(), rules_.literal("]")});
    begins_ = {format().section_begin};
    std::vector<ExprId> choices{
        joined({marker(format().section_begin), gap(), list, gap(), marker(format().section_end)})};
    if (!demand_.must_call) {
      begins_.insert(begins_.end(), format().other_begins.begin(), format().other_begins.end());
      for (const std::string& begin : format().other_begins) {
        choices.push_back(joined({marker(begin), gap(), list, gap()}));
      }
    }
    return rules_.alternate(choices);
  }

  // Returns the texts up to the arguments with which models begin a call of a tool.
  static Markers spelled_begins(const std::string& name) {
    struct Spelling {
      std::string_view open;
      std::string_view space;  // before keys but the first
      std::string_view behind_colon;
    };
    static constexpr Spelling kSpellings[] = {{"{", "", ""},
                                              {"{", " ", " "},
                                              {"{\n  ", "\n  ", " "},
                                              {"{\n    ", "\n    ", " "},
                                              {"{\"type\": \"function\", ", " ", " "}};
    Markers begins;
    for (const Spelling& s : kSpellings) {
      for (const char* key : {"parameters", "arguments"}) {
        begins.push_back(str_cat(s.open, "\"name\":", s.behind_colon, grammar::json_quoted(name),
                                 ",", s.space, grammar::json_quoted(key), ":", s.behind_colon));
      }
    }
    return begins;
  }

  // The text of an object that names a tool marks its call.
  ExprOr bare_json() {
    ExprOr call = json_call();
    if (!call.ok()) return call;
    const ExprId several = one_or_more(*call, marker(format().between));
    const ExprId marked = joined({marker(format().call_begin), gap(), several});
    if (demand_.must_call) return several;
    begins_ = {format().call_begin};
    ExprOr bare = for_each_tool([&](size_t tool) -> ExprOr {
      ExprOr written = arguments(tool);
      if (!written.ok()) return written;
      const Markers spellings = spelled_begins(tools_[tool].name);
      begins_.insert(begins_.end(), spellings.begin(), spellings.end());
      return joined({any_of_markers(spellings), *written, json_.space(), rules_.literal("}")});
    });
    if (!bare.ok()) return bare;
    const ExprId method = rules_.literal(".call");
    ExprOr python = for_each_tool([&](size_t tool) { return python_call(tool, method); });
    if (!python.ok()) return python;
    return any_of({marked, *bare, joined({marker(format().call_begin), *python})});
  }

  ExprOr headers() {
    const ToolFormat& f = format();
    ExprOr call = for_each_tool([&](size_t tool) -> ExprOr {
      ExprOr written = arguments(tool);
      if (!written.ok()) return written;
      return joined({rules_.literal(tools_[tool].name), call_id(), arguments_open(), gap(),
                     *written, marker(f.arguments_close)});
    });
    if (!call.ok()) return call;
    const ExprId one =
        joined({marker(f.call_begin), marker(f.name_open), *call, marker(f.call_end)});
    begins_ = {f.call_begin};
    if (f.section_begin.empty()) return has_several_markers() ? one_or_more(one, gap()) : one;
    const ExprId section = joined(
        {marker(f.section_begin), gap(), one_or_more(one, gap()), gap(), marker(f.section_end)});
    if (demand_.must_call) {
      begins_ = {f.section_begin};
      return section;
    }
    begins_.push_back(f.section_begin);
    return any_of(
        {section, joined({one, rules_.optional(joined({gap(), marker(f.section_end)}))})});
  }

  ExprId call_id() {
    const ToolFormat& f = format();
    if (f.id_open.empty()) return rules_.literal("");
    const bool is_number = f.ids == CallIdShape::kFunctions;
    return joined(
        {marker(f.id_open), regex(is_number ? "0|[1-9][0-9]{0,3}" : kNineLettersOrDigits)});
  }

  // Some models of Mistral leave out the marker before the arguments.
  ExprId arguments_open() {
    const ExprId open = marker(format().arguments_open);
    const bool may_lack = !demand_.must_call && format().ids == CallIdShape::kNine;
    return may_lack ? rules_.optional(open) : open;
  }

  ExprOr argument_list(size_t index, const grammar::ArgumentSyntax& syntax) {
    const Tool& tool = tools_[index];
    const json::value any = json::object{{"type", "object"}};
    const bool is_any = any_arguments_ && is_lenient(tool);
    ExprOr list = grammar::add_argument_rules(is_any ? any : tool.parameters, syntax,
                                              options_of(tool), &rules_);
    return list.ok() ? list : at_tool(index, list.status());
  }

  ExprOr tags() {
    const ToolFormat& f = format();
    grammar::ArgumentSyntax syntax;
    syntax.raw_strings = true;
    syntax.key_open = markup_.in_grammar(f.key_open);
    syntax.key_close = markup_.in_grammar(f.key_close) + f.gap + markup_.in_grammar(f.value_open);
    syntax.value_space = f.value_in_lines && f.value_open.empty() ? f.gap : "";
    syntax.value_close = markup_.in_grammar(f.value_close);
    syntax.behind_value = f.gap;
    syntax.end = markup_.in_grammar(f.arguments_close);
    const bool closes_arguments = !f.arguments_close.empty();
    if (!closes_arguments) syntax.end = markup_.in_grammar(f.call_end);
    ExprOr call = for_each_tool([&](size_t tool) -> ExprOr {
      ExprOr list = argument_list(tool, syntax);
      if (!list.ok()) return list;
      return joined(
          {rules_.literal(tools_[tool].name), marker(f.name_close), rules_.literal(f.gap), *list});
    });
    if (!call.ok()) return call;
    begins_ = {f.call_begin};
    const ExprId space = f.name_open.empty() ? rules_.literal("") : gap();
    ExprId named = joined({marker(f.name_open), *call});
    if (closes_arguments) named = joined({named, gap(), marker(f.call_end)});
    const ExprId one = joined({marker(f.call_begin), space, named});
    if (demand_.must_call) return has_several_markers() ? one_or_more(one, gap()) : one;
    if (f.name_open.empty()) return one;
    // Models sometimes leave out the first marker.
    begins_.push_back(f.name_open);
    const ExprId forgotten =
        joined({marker(f.name_open), *call, rules_.optional(joined({gap(), marker(f.call_end)}))});
    return any_of({one, forgotten});
  }

  ExprOr python_call(size_t tool, ExprId method) {
    const grammar::ArgumentSyntax syntax = {
        .key_close = "=", .separator = ", ", .end = ")", .python_values = !demand_.must_call};
    ExprOr list = argument_list(tool, syntax);
    if (!list.ok()) return list;
    return joined({rules_.literal(tools_[tool].name), method, rules_.literal("("), *list});
  }

  ExprOr python_calls() {
    const ExprId method = rules_.literal("");
    ExprOr call = for_each_tool([&](size_t tool) { return python_call(tool, method); });
    if (!call.ok()) return call;
    begins_ = {format().section_begin};
    return joined({marker(format().section_begin), gap(),
                   one_or_more(*call, rules_.literal(format().between)), gap(),
                   marker(format().section_end)});
  }

  const AnswerDemand& demand_;
  const AnswerMarkup& markup_;
  const std::vector<Tool> tools_;
  const bool any_arguments_;
  grammar::RuleSet rules_;
  grammar::JsonRules json_;
  Markers begins_;  // of calls, as the format has them
};

absl::StatusOr<std::shared_ptr<const CompiledGrammar>> compile_once(
    const AnswerDemand& demand, const AddForm& form, bool any_arguments,
    const std::shared_ptr<GrammarMemory>& memory) {
  AnswerGrammar answer(demand, any_arguments);
  ExprOr root = answer.build(form);
  if (!root.ok()) return root.status();
  return grammar::compile_rules(answer.rules(), *root, memory);
}

}  // namespace

std::string key_of(const AnswerDemand& demand) {
  std::string key = str_cat(demand.reads_reasoning, " ", static_cast<int>(demand.start), " ",
                            demand.must_call, " ", demand.only_one, " ");
  if (const auto& reasoning = demand.markup->reasoning()) key += reasoning->name;
  if (const auto& format = demand.markup->tools(); format && !demand.tools.empty()) {
    key += str_cat(" ", format->name, " ", json::serialize(demand.tools));
  }
  return key;
}

absl::StatusOr<std::shared_ptr<const CompiledGrammar>> compile_answer_grammar(
    const AnswerDemand& demand, const AddForm& form, const std::shared_ptr<GrammarMemory>& memory) {
  auto compiled = compile_once(demand, form, false, memory);
  const bool is_too_much = absl::IsInvalidArgument(compiled.status());
  if (!is_too_much || demand.must_call || demand.tools.empty()) return compiled;
  auto relaxed = compile_once(demand, form, true, memory);
  return relaxed.ok() ? std::move(relaxed) : std::move(compiled);
}

}  // namespace deltaserve
