#include "server/service/chat_renderer.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "models/base/text.h"

namespace deltaserve {
namespace {

namespace json = boost::json;

// Cuts `parts` after the last occurrence of `content`.
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

// Returns a tool that no client has.
json::value made_up_tool() {
  const json::object parameters = {{"type", "object"}, {"properties", json::object()}};
  return {{"type", "function"},
          {"function", {{"name", "~"}, {"description", "~"}, {"parameters", parameters}}}};
}

json::object message_of(std::string_view role, std::string_view content) {
  json::object message;
  message["role"] = json::string(role.data(), role.size());
  message["content"] = json::string(content.data(), content.size());
  return message;
}

// Takes the elements from `size` on out of a list, and puts them back at its end.
class Shortened {
 public:
  Shortened(json::array* list, size_t size) : list_(*list) {
    const auto from = list_.begin() + static_cast<std::ptrdiff_t>(std::min(size, list_.size()));
    rest_.assign(std::make_move_iterator(from), std::make_move_iterator(list_.end()));
    list_.erase(from, list_.end());
    size_ = list_.size();
  }
  ~Shortened() {
    list_.erase(list_.begin() + static_cast<std::ptrdiff_t>(size_), list_.end());
    for (json::value& value : rest_) list_.push_back(std::move(value));
  }
  Shortened(const Shortened&) = delete;
  Shortened& operator=(const Shortened&) = delete;

 private:
  json::array& list_;
  std::vector<json::value> rest_;
  size_t size_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ChatRenderer>> ChatRenderer::make(const ServedModel& model,
                                                                 ChatPrompt prompt) {
  std::unique_ptr<ChatRenderer> made(new ChatRenderer(model));
  if (prompt.has_template()) {
    absl::StatusOr<std::unique_ptr<const ChatTemplate>> parsed =
        ChatTemplate::parse(*prompt.chat_template);
    if (!parsed.ok()) return prefixed("chat_template", parsed.status());
    made->own_template_ = *std::move(parsed);
  }
  made->continues_ = prompt.continues();
  made->generation_prompt_ = !prompt.continues() && prompt.add_generation_prompt.value_or(true);
  made->variables_ = std::move(prompt.variables);
  // All keys are there from now on: an insertion would move the messages while they are shortened.
  made->variables_["add_generation_prompt"] = made->generation_prompt_;
  made->variables_["messages"] = std::move(prompt.messages);
  // transformers gives both to every template, as none where a request has none.
  made->variables_["tools"] = std::move(prompt.tools);
  if (!made->variables_.contains("documents")) made->variables_["documents"] = nullptr;
  return made;
}

const ChatTemplate& ChatRenderer::chat_template() const {
  if (own_template_ != nullptr) return *own_template_;
  const bool for_tools = model_.tool_chat_template != nullptr && !variables_.at("tools").is_null();
  return for_tools ? *model_.tool_chat_template : *model_.chat_template;
}

absl::StatusOr<ChatRenderer::Parts> ChatRenderer::render_variables(bool generation_prompt) {
  variables_.at("add_generation_prompt") = generation_prompt;
  TrustedVariables trusted;
  trusted.texts.insert(model_.special_tokens.begin(), model_.special_tokens.end());
  if (!model_.additional_special_tokens.empty()) {
    trusted.lists["additional_special_tokens"] = model_.additional_special_tokens;
  }
  absl::StatusOr<Parts> parts = chat_template().render(variables_, trusted);
  if (!parts.ok()) return prefixed("messages", parts.status());
  text_bytes_ = 0;
  for (const RenderedPart& part : *parts) text_bytes_ += part.text.size();
  return parts;
}

absl::StatusOr<ChatRenderer::Parts> ChatRenderer::render() {
  absl::StatusOr<Parts> parts = render_variables(generation_prompt_);
  if (!parts.ok() || !continues_) return parts;
  const json::string& content = messages().back().at("content").get_string();
  const absl::Status status = cut_behind({content.data(), content.size()}, &*parts);
  if (!status.ok()) return status;
  return parts;
}

absl::StatusOr<ChatRenderer::Parts> ChatRenderer::render_without_generation_prompt() {
  return render_variables(false);
}

absl::StatusOr<ChatRenderer::Parts> ChatRenderer::render_first(
    size_t count, std::optional<size_t> content_bytes) {
  const Shortened shortened(&messages(), count);
  if (!content_bytes) return render_variables(false);
  json::string& content = messages().back().at("content").get_string();
  const json::string whole = content;
  content.resize(std::min(*content_bytes, content.size()));
  absl::StatusOr<Parts> parts = render_variables(false);
  content = whole;
  return parts;
}

absl::StatusOr<ChatRenderer::Parts> ChatRenderer::render_first_tools(size_t count) {
  json::array& tools = variables_.at("tools").get_array();
  const Shortened shortened(&tools, count);
  tools.push_back(made_up_tool());
  return render_variables(generation_prompt_);
}

void ChatRenderer::add_answer(std::string_view answer) {
  if (continues_) {
    messages().back().at("content").get_string().append(answer);
  } else {
    messages().push_back(message_of("assistant", answer));
  }
}

absl::StatusOr<ChatRenderer::Parts> ChatRenderer::render_with_next(std::string_view content) {
  const Shortened shortened(&messages(), messages().size());
  messages().push_back(message_of("user", content));
  return render_variables(false);
}

size_t ChatRenderer::num_system_messages() const {
  const auto is_other = [](const json::value& message) {
    const json::value& role = message.at("role");
    return role != "system" && role != "developer";
  };
  const auto first = std::find_if(messages().begin(), messages().end(), is_other);
  return static_cast<size_t>(first - messages().begin());
}

size_t ChatRenderer::num_tools() const {
  const json::value* tools = variables_.if_contains("tools");
  return tools != nullptr && tools->is_array() ? tools->get_array().size() : 0;
}

absl::StatusOr<std::vector<int32_t>> encode_parts(const Tokenizer& tokenizer,
                                                  const ChatRenderer::Parts& parts) {
  std::vector<TextPart> texts;
  for (const RenderedPart& part : parts) texts.push_back({part.text, part.trusted});
  return tokenizer.encode_parts(texts);
}

absl::StatusOr<std::vector<int32_t>> encode_chat(const ServedModel& model, ChatPrompt prompt) {
  auto renderer = ChatRenderer::make(model, std::move(prompt));
  if (!renderer.ok()) return renderer.status();
  const absl::StatusOr<ChatRenderer::Parts> parts = (*renderer)->render();
  if (!parts.ok()) return parts.status();
  renderer->reset();  // before the ids are made
  return encode_parts(*model.tokenizer, *parts);
}

}  // namespace deltaserve
