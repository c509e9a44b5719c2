#include "server/openai/response.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_format.h"
#include "engine/sequence/text_emitter.h"
#include "models/base/text.h"

namespace deltaserve {
namespace {

// An error as HTTP and the OpenAI API report it.
struct ErrorForm {
  int status;
  std::string_view type;
  std::string_view code;  // empty = null
};

ErrorForm form_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalid: return {400, "invalid_request_error", ""};
    case ErrorKind::kUnauthenticated: return {401, "invalid_request_error", "invalid_api_key"};
    case ErrorKind::kModelNotFound: return {404, "invalid_request_error", "model_not_found"};
    case ErrorKind::kTooManyWrongKeys:
    case ErrorKind::kQueueFull: return {429, "rate_limit_error", "rate_limit_exceeded"};
    case ErrorKind::kOverloaded:
    case ErrorKind::kUnavailable: return {503, "service_unavailable_error", ""};
    case ErrorKind::kDeadline: return {504, "timeout_error", "deadline_exceeded"};
    case ErrorKind::kUnread: return {408, "timeout_error", "reply_not_read"};
    case ErrorKind::kInternal: break;
  }
  return {500, "server_error", ""};
}

void append_comma(std::string* out) {
  if (!out->empty()) out->push_back(',');
}

std::string_view or_null(std::string_view json) {
  return json.empty() ? std::string_view("null") : json;
}

// {"label": logprob, ..}: the most likely tokens and the chosen one. Different tokens may share a
// label; the more likely one keeps it.
void append_top(std::string* out, const TokenNames& names, const TokenLogprob& token,
                std::string_view label) {
  std::vector<std::string> labels;
  const auto append = [&](std::string_view name, float logprob) {
    for (const std::string& seen : labels) {
      if (seen == name) return;
    }
    if (!labels.empty()) out->push_back(',');
    append_json_string(out, name);
    out->push_back(':');
    append_json_number(out, logprob);
    labels.emplace_back(name);
  };
  out->push_back('{');
  for (const auto& [id, logprob] : token.top) append(token_label(names, id), logprob);
  append(label, token.logprob);
  out->push_back('}');
}

// Returns the bytes that a token adds to the text.
std::string_view bytes_of_token(const TokenNames& names, int32_t token) {
  if (names.model.tokenizer == nullptr) return {};
  const Vocabulary& vocabulary = names.model.tokenizer->vocabulary();
  const std::string_view bytes = vocabulary.bytes(token);
  return bytes.empty() && names.show_control_tokens ? vocabulary.name(token) : bytes;
}

// "token":..,"logprob":..,"bytes":[..] or null
void append_token(std::string* out, const TokenNames& names, int32_t token, float logprob) {
  out->append("\"token\":");
  append_json_string(out, token_label(names, token));
  out->append(",\"logprob\":");
  append_json_number(out, logprob);
  out->append(",\"bytes\":");
  const std::string_view bytes = bytes_of_token(names, token);
  if (bytes.empty()) {
    out->append("null");
    return;
  }
  char separator = '[';
  for (const char byte : bytes) {
    out->append(str_cat(std::string_view(&separator, 1), static_cast<unsigned char>(byte)));
    separator = ',';
  }
  out->push_back(']');
}

// Appends the members that every choice ends with.
void append_rest(std::string* out, const ChoicePart& choice) {
  out->append(",\"logprobs\":").append(or_null(choice.logprobs)).append(",\"finish_reason\":");
  switch (choice.finish) {
    case FinishReason::kStop:
      out->append(choice.stopped_for_calls ? "\"tool_calls\"" : "\"stop\"");
      break;
    case FinishReason::kLength: out->append("\"length\""); break;
    default: out->append("null");
  }
  out->append(",\"stop_reason\":").append(or_null(choice.stop_reason));
  if (!choice.token_ids.empty()) out->append(",\"token_ids\":").append(choice.token_ids);
  if (!choice.prompt_token_ids.empty()) {
    out->append(",\"prompt_token_ids\":").append(choice.prompt_token_ids);
  }
  if (!choice.prompt_logprobs.empty()) {
    out->append(",\"prompt_logprobs\":").append(choice.prompt_logprobs);
  }
  out->push_back('}');
}

// ,"reasoning_content":..,"reasoning":..
void append_reasoning(std::string* out, std::string_view reasoning) {
  for (const char* name : {",\"reasoning_content\":", ",\"reasoning\":"}) {
    out->append(name);
    append_json_string(out, reasoning);
  }
}

// "id":..,"type":"function","function":{"name":..,"arguments":..}}
void append_call(std::string* out, std::string_view id, std::string_view name,
                 std::string_view arguments) {
  out->append("\"id\":");
  append_json_string(out, id);
  out->append(R"(,"type":"function","function":{"name":)");
  append_json_string(out, name);
  out->append(",\"arguments\":");
  append_json_string(out, arguments);
  out->append("}}");
}

// ,"tool_calls":[..]
void append_calls(std::string* out, std::span<const ToolCall> calls) {
  out->append(",\"tool_calls\":");
  char separator = '[';
  for (const ToolCall& call : calls) {
    out->append({separator, '{'});
    append_call(out, call.id, call.name, call.arguments);
    separator = ',';
  }
  out->push_back(']');
}

// Appends the members of a delta of a chunk.
void append_delta_members(std::string* out, const AnswerDelta& delta) {
  switch (delta.kind) {
    case AnswerDelta::Kind::kContent:
      out->append("\"content\":");
      append_json_string(out, delta.text);
      break;
    case AnswerDelta::Kind::kReasoning: {
      std::string members;
      append_reasoning(&members, delta.text);
      out->append(members, 1);
      break;
    }
    case AnswerDelta::Kind::kCallBegin:
      out->append(str_cat("\"tool_calls\":[{\"index\":", delta.call, ","));
      append_call(out, delta.id, delta.text, "");
      out->push_back(']');
      break;
    case AnswerDelta::Kind::kArguments:
      out->append(
          str_cat("\"tool_calls\":[{\"index\":", delta.call, ",\"function\":{\"arguments\":"));
      append_json_string(out, delta.text);
      out->append("}}]");
      break;
    case AnswerDelta::Kind::kCallEnd: break;
  }
}

}  // namespace

std::string token_label(const TokenNames& names, int32_t token) {
  const Tokenizer* tokenizer = names.model.tokenizer;
  const bool has_name = tokenizer != nullptr && token >= 0 && token < tokenizer->size();
  if (names.ids || !has_name) return absl::StrCat("token_id:", token);
  const std::string_view bytes = bytes_of_token(names, token);
  if (is_valid_utf8(bytes)) return std::string(bytes);
  std::string label = "bytes:";
  for (const char c : bytes) {
    label.append("\\x");
    label.push_back(kHexDigits[static_cast<unsigned char>(c) >> 4]);
    label.push_back(kHexDigits[c & 15]);
  }
  return label;
}

void append_usage(std::string* out, const Usage& usage) {
  out->append(str_cat(
      "{\"prompt_tokens\":", usage.prompt_tokens, ",\"completion_tokens\":",
      usage.completion_tokens, ",\"total_tokens\":", usage.prompt_tokens + usage.completion_tokens,
      ",\"prompt_tokens_details\":{\"cached_tokens\":", usage.cached_prompt_tokens,
      "},\"completion_tokens_details\":{\"reasoning_tokens\":", usage.reasoning_tokens, "}}"));
}

void append_timings(std::string* out, const Timings& timings) {
  const auto append_ms = [out](std::optional<double> seconds) {
    if (seconds) {
      absl::StrAppendFormat(out, "%.3f", 1e3 * *seconds);
    } else {
      out->append("null");
    }
  };
  out->append("{\"time_to_first_token_ms\":");
  append_ms(timings.time_to_first_token);
  out->append(",\"decode_ms\":");
  append_ms(timings.decode);
  out->push_back('}');
}

void append_prompt_logprob(std::string* out, const TokenNames& names, const TokenLogprob& token,
                           int32_t most) {
  const auto append = [&](int32_t id, float logprob, std::string_view rank) {
    out->append(str_cat("\"", id, "\":{\"logprob\":"));
    append_json_number(out, logprob);
    out->append(str_cat(",\"rank\":", rank, ",\"decoded_token\":"));
    append_json_string(out, token_label(names, id));
    out->push_back('}');
  };
  std::string own_rank = "null";
  for (size_t i = 0; i < token.top.size(); ++i) {
    if (token.top[i].first == token.token) own_rank = absl::StrCat(i + 1);
  }
  out->push_back('{');
  append(token.token, token.logprob, own_rank);
  const size_t count = std::min(token.top.size(), static_cast<size_t>(std::max(most, 0)));
  for (size_t i = 0; i < count; ++i) {
    if (token.top[i].first == token.token) continue;
    out->push_back(',');
    append(token.top[i].first, token.top[i].second, absl::StrCat(i + 1));
  }
  out->push_back('}');
}

void CompletionLogprobs::set_prompt(const EchoedPrompt& prompt) {
  prompt_offsets_ = prompt.offsets;
  answer_ = OffsetCounter(utf8_characters(prompt.text));
}

void CompletionLogprobs::add(const TokenNames& names, const TokenLogprob& token, bool known) {
  const std::string label = token_label(names, token.token);
  if (names.model.tokenizer != nullptr) {
    answer_.replace_each(names.model.tokenizer->vocabulary().ill_formed());
  }
  append_comma(&tokens_);
  append_comma(&token_logprobs_);
  append_comma(&top_logprobs_);
  append_comma(&text_offsets_);
  append_json_string(&tokens_, label);
  const int64_t offset = num_added_ < prompt_offsets_.size()
                             ? prompt_offsets_[num_added_]
                             : answer_.next(bytes_of_token(names, token.token));
  ++num_added_;
  text_offsets_.append(absl::StrCat(offset));
  if (known) {
    append_json_number(&token_logprobs_, token.logprob);
    append_top(&top_logprobs_, names, token, label);
  } else {
    token_logprobs_.append("null");
    top_logprobs_.append("null");
  }
}

std::string CompletionLogprobs::take() {
  std::string out;
  out.reserve(tokens_.size() + token_logprobs_.size() + top_logprobs_.size() +
              text_offsets_.size() + 80);
  out.append("{\"tokens\":[").append(tokens_);
  out.append("],\"token_logprobs\":[").append(token_logprobs_);
  out.append("],\"top_logprobs\":[").append(top_logprobs_);
  out.append("],\"text_offset\":[").append(text_offsets_).append("]}");
  for (std::string* part : {&tokens_, &token_logprobs_, &top_logprobs_, &text_offsets_}) {
    part->clear();
  }
  return out;
}

void ChatLogprobs::add(const TokenNames& names, const TokenLogprob& token, bool known) {
  if (!known) return;
  append_comma(&content_);
  content_.push_back('{');
  append_token(&content_, names, token.token, token.logprob);
  content_.append(",\"top_logprobs\":[");
  for (size_t i = 0; i < token.top.size(); ++i) {
    content_.append(i == 0 ? "{" : ",{");
    append_token(&content_, names, token.top[i].first, token.top[i].second);
    content_.push_back('}');
  }
  content_.append("]}");
}

std::string ChatLogprobs::take() {
  std::string out = str_cat("{\"content\":[", content_, "],\"refusal\":null}");
  content_.clear();
  return out;
}

void append_choice(std::string* out, const ChoicePart& choice) {
  out->append(str_cat("{\"index\":", choice.index, ",\"text\":"));
  ParsedAnswer answer;
  answer.add(choice.deltas);
  append_json_string(out, answer.content);
  append_rest(out, choice);
}

void append_chat_choice(std::string* out, const ChoicePart& choice) {
  out->append(
      str_cat("{\"index\":", choice.index, ",\"message\":{\"role\":\"assistant\",\"content\":"));
  ParsedAnswer answer;
  answer.add(choice.deltas);
  const bool says_nothing = answer.content.empty() && answer != ParsedAnswer();
  if (says_nothing) {
    out->append("null");
  } else {
    append_json_string(out, answer.content);
  }
  out->append(",\"refusal\":null");
  if (!answer.reasoning.empty()) append_reasoning(out, answer.reasoning);
  if (!answer.calls.empty()) append_calls(out, answer.calls);
  out->push_back('}');
  append_rest(out, choice);
}

void append_chat_delta(std::string* out, const ChoicePart& choice, bool first) {
  out->append(str_cat("{\"index\":", choice.index, ",\"delta\":{"));
  if (first) out->append(R"("role":"assistant","content":"")");
  if (first && !choice.deltas.empty()) out->push_back(',');
  if (!choice.deltas.empty()) append_delta_members(out, choice.deltas.front());
  out->push_back('}');
  append_rest(out, choice);
}

void append_reply_head(std::string* out, std::string_view id, std::string_view object,
                       int64_t created, const ServedModel& model) {
  out->append("{\"id\":");
  append_json_string(out, id);
  out->append(str_cat(",\"object\":\"", object, "\",\"created\":", created, ",\"model\":"));
  append_json_string(out, model.name);
  out->append(",\"system_fingerprint\":");
  append_nullable_string(out, model.fingerprint);
}

std::string reply_prefix(std::string_view id, std::string_view object, int64_t created,
                         const ServedModel& model) {
  std::string out;
  append_reply_head(&out, id, object, created, model);
  out.append(",\"choices\":[");
  return out;
}

int http_status(ErrorKind kind) {
  return form_of(kind).status;
}

std::string error_json(const ApiError& error) {
  const ErrorForm form = form_of(error.kind);
  std::string out = "{\"error\":{\"message\":";
  append_json_string(&out, error.message);
  out.append(",\"type\":");
  append_json_string(&out, form.type);
  out.append(",\"param\":");
  append_nullable_string(&out, error.param);
  out.append(",\"code\":");
  append_nullable_string(&out, form.code);
  out.append("}}");
  return out;
}

std::string model_json(const ServedModel& model) {
  std::string out = "{\"id\":";
  append_json_string(&out, model.name);
  out.append(str_cat(",\"object\":\"model\",\"created\":", model.created,
                     ",\"owned_by\":\"deltaserve\",\"state_bytes\":", model.state_bytes,
                     ",\"transformer_bytes_per_token\":", model.transformer_bytes_per_token,
                     ",\"slots\":", model.slots,
                     ",\"chat\":", model.chat_template != nullptr ? "true" : "false", "}"));
  return out;
}

std::string model_list_json(const ServedModel& model) {
  return "{\"object\":\"list\",\"data\":[" + model_json(model) + "]}";
}

}  // namespace deltaserve
