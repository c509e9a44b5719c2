#include "server/openai_response.h"

#include <charconv>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/text_emitter.h"

namespace deltaserve {
namespace {

constexpr char kHexDigits[] = "0123456789abcdef";

bool is_continuation(unsigned char byte) {
  return (byte & 0xc0) == 0x80;
}

// Length of the UTF-8 character that `text` begins with, 0 if it is not one.
size_t utf8_length(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if (!is_continuation(byte(i))) return 0;
  }
  // Overlong forms, surrogates, beyond U+10FFFF.
  if (first == 0xe0 && byte(1) < 0xa0) return 0;
  if (first == 0xed && byte(1) > 0x9f) return 0;
  if (first == 0xf0 && byte(1) < 0x90) return 0;
  if (first == 0xf4 && byte(1) > 0x8f) return 0;
  return length;
}

int64_t count_characters(std::string_view text) {
  int64_t count = 0;
  for (const char c : text) count += !is_continuation(static_cast<unsigned char>(c));
  return count;
}

void append_integer(std::string* out, int64_t value) {
  absl::StrAppend(out, value);
}

void append_comma(std::string* out) {
  if (!out->empty()) out->push_back(',');
}

void append_nullable_string(std::string* out, std::string_view text) {
  text.empty() ? static_cast<void>(out->append("null")) : append_json_string(out, text);
}

// {"label": logprob, ..}: the most likely tokens and the chosen one. Different tokens may share a
// label; the more likely one keeps it.
void append_top(std::string* out, const ServedModel& model, const TokenLogprob& token,
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
  for (const auto& [id, logprob] : token.top) append(token_label(model, id), logprob);
  append(label, token.logprob);
  out->push_back('}');
}

}  // namespace

void append_json_string(std::string* out, std::string_view text) {
  out->push_back('"');
  while (!text.empty()) {
    const char c = text.front();
    const size_t length = utf8_length(text);
    if (length == 0) {
      out->append("\xef\xbf\xbd");
      text.remove_prefix(1);
      continue;
    }
    switch (c) {
      case '"': out->append("\\\""); break;
      case '\\': out->append("\\\\"); break;
      case '\n': out->append("\\n"); break;
      case '\r': out->append("\\r"); break;
      case '\t': out->append("\\t"); break;
      default:
        if (length == 1 && (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)) {
          out->append("\\u00");
          out->push_back(kHexDigits[c >> 4]);
          out->push_back(kHexDigits[c & 15]);
        } else {
          out->append(text.substr(0, length));
        }
    }
    text.remove_prefix(length);
  }
  out->push_back('"');
}

void append_json_number(std::string* out, float value) {
  if (std::isnan(value) || std::isinf(value)) value = -9999;
  char digits[40];
  // As a double: a reader of JSON then has exactly the float.
  const auto end = std::to_chars(digits, digits + sizeof digits, static_cast<double>(value)).ptr;
  out->append(digits, end);
}

void append_json_ids(std::string* out, const std::vector<int32_t>& ids) {
  for (const int32_t id : ids) {
    append_comma(out);
    append_integer(out, id);
  }
}

std::string token_label(const ServedModel& model, int32_t token) {
  if (model.tokenizer == nullptr) return absl::StrCat("token_id:", token);
  const std::string_view bytes = model.tokenizer->vocabulary().bytes(token);
  if (bytes.empty()) {
    return token >= 0 && token < model.tokenizer->size() ? model.tokenizer->piece(token)
                                                         : absl::StrCat("token_id:", token);
  }
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
  absl::StrAppend(out, "{\"prompt_tokens\":", usage.prompt_tokens,
                  ",\"completion_tokens\":", usage.completion_tokens,
                  ",\"total_tokens\":", usage.prompt_tokens + usage.completion_tokens, "}");
}

void LogprobsBuilder::add(const ServedModel& model, const TokenLogprob& token, bool known) {
  const std::string label = token_label(model, token.token);
  append_comma(&tokens_);
  append_comma(&token_logprobs_);
  append_comma(&top_logprobs_);
  append_comma(&text_offsets_);
  append_json_string(&tokens_, label);
  append_integer(&text_offsets_, std::max<int64_t>(offset_, 0));
  if (known) {
    append_json_number(&token_logprobs_, token.logprob);
    append_top(&top_logprobs_, model, token, label);
  } else {
    token_logprobs_.append("null");
    top_logprobs_.append("null");
  }
  if (model.tokenizer != nullptr) {
    offset_ += count_characters(model.tokenizer->vocabulary().bytes(token.token));
  }
}

std::string LogprobsBuilder::take() {
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

void append_choice(std::string* out, const ChoicePart& choice) {
  absl::StrAppend(out, "{\"index\":", choice.index, ",\"text\":");
  append_json_string(out, choice.text);
  out->append(",\"logprobs\":");
  out->append(choice.logprobs.empty() ? std::string_view("null") : choice.logprobs);
  out->append(",\"finish_reason\":");
  switch (choice.finish) {
    case FinishReason::kStop: out->append("\"stop\""); break;
    case FinishReason::kLength: out->append("\"length\""); break;
    default: out->append("null");
  }
  out->append(",\"stop_reason\":");
  out->append(choice.stop_reason.empty() ? std::string_view("null") : choice.stop_reason);
  if (!choice.token_ids.empty()) out->append(",\"token_ids\":").append(choice.token_ids);
  if (!choice.prompt_token_ids.empty()) {
    out->append(",\"prompt_token_ids\":").append(choice.prompt_token_ids);
  }
  out->push_back('}');
}

std::string completion_prefix(std::string_view id, int64_t created, std::string_view model) {
  std::string out = "{\"id\":";
  append_json_string(&out, id);
  absl::StrAppend(&out, ",\"object\":\"text_completion\",\"created\":", created, ",\"model\":");
  append_json_string(&out, model);
  out.append(",\"choices\":[");
  return out;
}

std::string error_json(const ApiError& error) {
  std::string out = "{\"error\":{\"message\":";
  append_json_string(&out, error.message);
  out.append(",\"type\":");
  append_json_string(&out, error.type);
  out.append(",\"param\":");
  append_nullable_string(&out, error.param);
  out.append(",\"code\":");
  append_nullable_string(&out, error.code);
  out.append("}}");
  return out;
}

std::string model_json(const ServedModel& model) {
  std::string out = "{\"id\":";
  append_json_string(&out, model.name);
  absl::StrAppend(&out, ",\"object\":\"model\",\"created\":", model.created,
                  ",\"owned_by\":\"deltaserve\"}");
  return out;
}

std::string model_list_json(const ServedModel& model) {
  return "{\"object\":\"list\",\"data\":[" + model_json(model) + "]}";
}

}  // namespace deltaserve
