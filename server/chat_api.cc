#include "server/chat_api.h"

#include <algorithm>
#include <array>
#include <memory>
#include <utility>

#include "models/text.h"
#include "server/chat_messages.h"
#include "server/openai_api.h"
#include "server/template/chat_template.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

constexpr ParameterRule kChatParameters[] = {
    {"max_tokens"},
    {"max_completion_tokens"},
    {"top_logprobs"},
    {"tool_choice", ParameterSize::kNested},
    {"parallel_tool_calls"},
    {"functions", ParameterSize::kNested},
    {"function_call", ParameterSize::kNested},
    {"modalities"},
    {"audio"},
    {"prediction", ParameterSize::kNested},
    {"reasoning_effort"},
    {"service_tier"},
    {"store"},
    {"verbosity"},
    {"web_search_options"},
};

// Variables that the request sets by parameters of their own, or that the model sets.
constexpr std::array<std::string_view, 5> kReservedVariables = {
    "messages", "tools", "add_generation_prompt", "bos_token", "eos_token"};

void read_variables(FieldReader& fields, json::object& body, ChatPrompt* out) {
  constexpr std::string_view kName = "chat_template_kwargs";
  if (fields.find(kName) == nullptr) return;
  json::value& value = body.at(kName);
  if (!value.is_object()) return fields.fail(kName, "must be an object");
  for (const std::string_view name : kReservedVariables) {
    if (value.get_object().contains(name)) {
      return fields.fail(kName, str_cat("must not have ", quoted(name)));
    }
  }
  out->variables = std::move(value.get_object());
}

void read_tools(FieldReader& fields, json::object& body, ChatPrompt* out) {
  if (fields.find("tools") == nullptr) return;
  json::value& tools = body.at("tools");
  if (!tools.is_array()) return fields.fail("tools", "must be a list");
  for (const json::value& tool : tools.get_array()) {
    if (!tool.is_object()) return fields.fail("tools", "must be a list of objects");
  }
  if (!tools.get_array().empty()) out->tools = std::move(tools);
}

void check_final_message(FieldReader& fields, const ChatPrompt& prompt) {
  constexpr std::string_view kName = "continue_final_message";
  if (!prompt.continue_final_message || fields.error()) return;
  const json::value* wanted = fields.find("add_generation_prompt");
  if (wanted != nullptr && wanted->is_bool() && wanted->get_bool()) {
    return fields.fail(kName, "and add_generation_prompt cannot both be true");
  }
  const json::object& last = prompt.messages.back().get_object();
  const json::value& content = last.at("content");
  if (last.at("role") != "assistant" || !content.is_string() || content.get_string().empty()) {
    fields.fail(kName, "needs a last message of the assistant with some content");
  }
}

void read_lengths(FieldReader& fields, const ServerLimits& limits, GenerateRequest* generate) {
  constexpr int64_t kNotGiven = -1;
  int64_t old_name = kNotGiven, new_name = kNotGiven;
  fields.integer("max_tokens", 0, limits.max_tokens, &old_name);
  fields.integer("max_completion_tokens", 0, limits.max_tokens, &new_name);
  if (old_name != kNotGiven && new_name != kNotGiven && old_name != new_name) {
    fields.fail("max_completion_tokens", "and max_tokens differ: give one of them");
  }
  generate->max_tokens = new_name != kNotGiven   ? new_name
                         : old_name != kNotGiven ? old_name
                                                 : limits.default_chat_max_tokens;
}

void read_logprobs(FieldReader& fields, const ServerLimits& limits, GenerateRequest* generate) {
  bool logprobs = false;
  fields.boolean("logprobs", &logprobs);
  int64_t top = 0;
  fields.integer("top_logprobs", 0, limits.logprobs, &top);
  if (!logprobs && top > 0) fields.fail("top_logprobs", "needs logprobs to be true");
  generate->logprobs = logprobs ? static_cast<int32_t>(top) : -1;
}

void read_unsupported(FieldReader& fields) {
  fields.only_neutral("tool_choice", "none");  // what a model writes is not parsed for calls
  fields.only_neutral("parallel_tool_calls", nullptr);
  fields.only_neutral("functions", nullptr);
  fields.only_neutral("function_call", nullptr);
  fields.only_neutral("modalities", json::array{"text"});
  fields.only_neutral("audio", nullptr);
  fields.only_neutral("prediction", nullptr);
  fields.only_neutral("reasoning_effort", nullptr);
  fields.only_neutral("service_tier", "auto");
  fields.only_neutral("store", false);
  fields.only_neutral("verbosity", nullptr);
  fields.only_neutral("web_search_options", nullptr);
}

// Cuts `parts` behind the last place where `content` stands.
absl::Status cut_behind(std::string_view content, std::vector<RenderedPart>* parts) {
  std::string whole;
  for (const RenderedPart& part : *parts) whole += part.text;
  size_t at = whole.rfind(content);
  if (at == std::string::npos) {
    // Templates may trim what they are given.
    const size_t first = content.find_first_not_of(" \t\r\n");
    const size_t last = content.find_last_not_of(" \t\r\n");
    if (first != std::string_view::npos) content = content.substr(first, last - first + 1);
    at = whole.rfind(content);
  }
  if (at == std::string::npos) {
    return invalid_argument(
        "continue_final_message: the template does not write the last message as it is");
  }
  size_t keep = at + content.size();
  for (RenderedPart& part : *parts) {
    const size_t kept = std::min(keep, part.text.size());
    part.text.resize(kept);
    keep -= kept;
  }
  return absl::OkStatus();
}

}  // namespace

const std::array<ParameterRule, 6> kChatPromptParameters = {{
    {"messages", ParameterSize::kMessages},
    {"tools", ParameterSize::kNested},
    {"chat_template_kwargs", ParameterSize::kNested},
    {"chat_template", ParameterSize::kNested},
    {"add_generation_prompt"},
    {"continue_final_message"},
}};

void read_chat_prompt(FieldReader& fields, json::object& body, const ServedModel& model,
                      ChatPrompt* out) {
  if (fields.find("messages") == nullptr) return fields.fail("messages", "is required");
  json::value& messages = body.at("messages");
  if (!messages.is_array()) return fields.fail("messages", "must be a list of objects");
  out->messages = std::move(messages.get_array());
  normalize_messages(fields, &out->messages);
  read_tools(fields, body, out);
  read_variables(fields, body, out);
  fields.string("chat_template", fields.limits().nested_string_bytes, &out->chat_template);
  if (!out->chat_template.empty() && !model.allow_request_template) {
    fields.fail("chat_template",
                "of a request is not accepted by this server (--allow-chat-template)");
  }
  fields.boolean("continue_final_message", &out->continue_final_message);
  fields.boolean("add_generation_prompt", &out->add_generation_prompt);
  check_final_message(fields, *out);
  if (out->continue_final_message) out->add_generation_prompt = false;
  if (model.tokenizer == nullptr) {
    fields.fail("messages", "need a tokenizer, and the model has none");
  } else if (model.chat_template == nullptr && out->chat_template.empty()) {
    fields.fail("messages",
                "need a chat template, and the model has none: use /v1/completions, or start the "
                "server with --chat-template FILE");
  }
}

std::optional<ApiError> parse_chat_request(std::string_view text, const ServedModel& model,
                                           const ServerLimits& limits, ChatRequest* request) {
  static const std::vector<ParameterRule> kOwn = [] {
    std::vector<ParameterRule> rules(kChatPromptParameters.begin(), kChatPromptParameters.end());
    rules.insert(rules.end(), std::begin(kChatParameters), std::end(kChatParameters));
    return rules;
  }();
  RequestBody body;
  const BodyRules rules{kGenerationParameters, kOwn, ""};
  if (std::optional<ApiError> error = read_request_body(text, rules, limits, &body)) return error;

  FieldReader fields(body.fields, limits);
  if (std::optional<ApiError> error = check_model_name(fields, model)) return error;
  read_generation_parameters(fields, model, &request->parameters);
  read_lengths(fields, limits, &request->parameters.generate);
  read_logprobs(fields, limits, &request->parameters.generate);
  read_unsupported(fields);
  check_generation_parameters(fields, request->parameters);
  read_chat_prompt(fields, body.fields, model, &request->prompt);
  return fields.error();
}

absl::StatusOr<std::vector<int32_t>> encode_chat(const ServedModel& model, ChatPrompt prompt) {
  std::unique_ptr<const ChatTemplate> own;
  if (!prompt.chat_template.empty()) {
    absl::StatusOr<std::unique_ptr<const ChatTemplate>> parsed =
        ChatTemplate::parse(prompt.chat_template);
    if (!parsed.ok()) return prefixed("chat_template", parsed.status());
    own = *std::move(parsed);
  }
  const ChatTemplate& chat_template = own != nullptr ? *own : *model.chat_template;
  std::string final_content;
  if (prompt.continue_final_message) {
    const json::string& content = prompt.messages.back().at("content").get_string();
    final_content.assign(content.data(), content.size());
  }
  json::object variables = std::move(prompt.variables);
  variables["messages"] = std::move(prompt.messages);
  if (!prompt.tools.is_null()) variables["tools"] = std::move(prompt.tools);
  variables["add_generation_prompt"] = prompt.add_generation_prompt;
  TrustedVariables trusted;
  trusted.texts = {{"bos_token", model.bos_token}, {"eos_token", model.eos_token}};
  absl::StatusOr<std::vector<RenderedPart>> parts = chat_template.render(variables, trusted);
  if (!parts.ok()) return prefixed("messages", parts.status());
  if (prompt.continue_final_message) {
    const absl::Status status = cut_behind(final_content, &*parts);
    if (!status.ok()) return status;
  }
  variables.clear();  // before the ids are made
  std::vector<TextPart> texts;
  for (const RenderedPart& part : *parts) texts.push_back({part.text, part.trusted});
  return model.tokenizer->encode_parts(texts);
}

}  // namespace deltaserve
